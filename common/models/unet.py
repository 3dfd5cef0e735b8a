"""A small U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with group norm: a class for every pixel."""

import torch
from torch import Tensor, nn

from common.models.blocks import unit

STEP = 8
"""A side must be a multiple of it: three times the maps are halved, and doubled again."""
SMALLEST = 16
"""Side in pixels below which the innermost map would be a single point."""


class UNet(nn.Module):
    """Three times down and up again, two 3×3 convolutions at each size, each map handed across to its own size.

    With width w the maps have w, 2w, 4w and innermost 8w channels; pooling halves them, and repeating pixels before a
    convolution doubles them, which int8 and every ONNX runtime have. Images [N, channels, H, W], normalised; H and W
    multiples of 8, from 16. At width 16 it has 536,406 parameters for 1 channel and 6 classes.
    """

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        w = width
        self.down1 = _pair(channels, w, w)
        self.down2 = _pair(w, 2 * w, w)
        self.down3 = _pair(2 * w, 4 * w, w)
        self.inner = _pair(4 * w, 8 * w, w)
        self.grow3, self.up3 = _grow(8 * w, 4 * w, w), _pair(8 * w, 4 * w, w)
        self.grow2, self.up2 = _grow(4 * w, 2 * w, w), _pair(4 * w, 2 * w, w)
        self.grow1, self.up1 = _grow(2 * w, w, w), _pair(2 * w, w, w)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(w, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.head:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes, H, W]."""
        first = self.down1(images)
        second = self.down2(self.pool(first))
        third = self.down3(self.pool(second))
        maps = self.inner(self.pool(third))
        maps = self.up3(torch.cat([third, self.grow3(maps)], dim=1))
        maps = self.up2(torch.cat([second, self.grow2(maps)], dim=1))
        maps = self.up1(torch.cat([first, self.grow1(maps)], dim=1))
        logits: Tensor = self.head(maps)
        return logits


def _pair(inside: int, outside: int, width: int) -> nn.Sequential:
    return nn.Sequential(unit(inside, outside, width), unit(outside, outside, width))


def _grow(inside: int, outside: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), unit(inside, outside, width))
