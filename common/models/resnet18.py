"""ResNet-18 (He et al. 2016, arXiv 1512.03385) with group norm in the place of batch norm."""

import torch
from torch import Tensor, nn

from common.models.blocks import convolution, norm


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, inside: int, outside: int, stride: int, width: int) -> None:
        super().__init__()
        self.conv1 = convolution(inside, outside, stride=stride)
        self.norm1 = norm(outside, width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(outside, outside)
        self.norm2 = norm(outside, width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(convolution(inside, outside, size=1, stride=stride), norm(outside, width))
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps [N, outside, H / stride, W / stride]."""
        inner = self.relu1(self.norm1(self.conv1(maps)))
        result: Tensor = self.relu2(self.norm2(self.conv2(inner)) + self.shortcut(maps))
        return result


class ResNet18(nn.Module):
    """The ImageNet ResNet-18: 7×7/2 stem and max pool, four stages of two blocks of w, 2w, 4w, 8w channels.

    Images [N, channels, H, W], normalised, from 28 pixels. At width 64 it has 11,181,642 parameters for 3 channels
    and 10 classes and equals torchvision's with GroupNorm(gcd(32, C)).
    """

    def __init__(self, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        w = width
        self.conv = convolution(channels, w, size=7, stride=2)
        self.norm = norm(w, w)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        blocks: list[nn.Module] = []
        inside = w
        for stage, outside in enumerate((w, 2 * w, 4 * w, 8 * w)):
            blocks += [Block(inside, outside, 1 if stage == 0 else 2, w), Block(outside, outside, 1, w)]
            inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(8 * w, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes]."""
        maps = self.pool(self.relu(self.norm(self.conv(images))))
        logits: Tensor = self.linear(torch.flatten(self.mean(self.blocks(maps)), 1))
        return logits
