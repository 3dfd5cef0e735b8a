"""ResNet-9 as PSREval uses it, with group norm (Usynin et al. 2022, arXiv 2205.02652)."""

import torch
from torch import Tensor, nn

from common.models.blocks import unit


class ResNet9(nn.Module):
    """Eight convolutions in two stages, each ending in a residual pair, and a linear layer.

    With width w: conv w, conv 2w + pool, residual (2w, 2w), conv 4w + pool, conv 4w + pool, residual (4w, 4w),
    adaptive max pool 2×2, linear 16w → classes. Images of any size from 16 pixels, [N, channels, H, W], normalised.
    At width 64 it has 2,447,946 parameters for 3 channels and 10 classes, as in the paper's own model.
    """

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(unit(channels, w, w), unit(w, 2 * w, w), nn.MaxPool2d(2))
        self.residual1 = nn.Sequential(unit(2 * w, 2 * w, w), unit(2 * w, 2 * w, w))
        self.body = nn.Sequential(unit(2 * w, 4 * w, w), nn.MaxPool2d(2), unit(4 * w, 4 * w, w), nn.MaxPool2d(2))
        self.residual2 = nn.Sequential(unit(4 * w, 4 * w, w), unit(4 * w, 4 * w, w))
        self.pool = nn.AdaptiveMaxPool2d(2)
        self.linear = nn.Linear(16 * w, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes]."""
        maps = self.stem(images)
        maps = maps + self.residual1(maps)
        maps = self.body(maps)
        maps = maps + self.residual2(maps)
        logits: Tensor = self.linear(torch.flatten(self.pool(maps), 1))
        return logits
