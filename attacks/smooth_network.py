"""A smooth copy of a network: its ReLU and max pooling turn sharp bit by bit, so that a search can follow it."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SOFTEST, SHARPEST = 2.0, 100.0
"""Sharpness at the beginning of a search and at its end."""


def smoothed(model: nn.Module) -> nn.Module:
    """Return a copy whose ReLU and max pooling are soft, with the same weights; other layers stay."""
    smooth = copy.deepcopy(model)
    for name, layer in list(smooth.named_modules()):
        soft: nn.Module | None = None
        if isinstance(layer, nn.ReLU):
            soft = _SoftReLU()
        elif isinstance(layer, nn.AdaptiveMaxPool2d) or (isinstance(layer, nn.MaxPool2d) and _in_blocks(layer)):
            soft = _SoftMaxPool(layer)
        if soft is not None and name:
            parent, _, child = name.rpartition(".")
            setattr(smooth.get_submodule(parent), child, soft)
    return smooth


def sharpen(smooth: nn.Module, sharpness: float) -> None:
    """Set how sharp the soft layers of a copy made by ``smoothed`` are, from ``SOFTEST`` on; above 0."""
    for layer in smooth.modules():
        if isinstance(layer, _Soft):
            layer.sharpness = sharpness


class _Soft(nn.Module):
    """A layer that becomes another one as ``sharpness`` grows."""

    sharpness = SOFTEST


class _SoftReLU(_Soft):
    def forward(self, maps: Tensor) -> Tensor:
        return F.softplus(maps, beta=self.sharpness)


class _SoftMaxPool(_Soft):
    """Means of blocks of pixels, in which the largest weighs most."""

    def __init__(self, layer: nn.MaxPool2d | nn.AdaptiveMaxPool2d) -> None:
        super().__init__()
        self._layer = layer

    def forward(self, maps: Tensor) -> Tensor:
        height, width = self._layer(maps.detach()).shape[2:]
        if isinstance(self._layer, nn.MaxPool2d):
            side = self._layer.kernel_size
            assert isinstance(side, int), "only such layers are replaced"
            maps = maps[..., : height * side, : width * side]
        if maps.shape[2] % height or maps.shape[3] % width:
            pooled: Tensor = self._layer(maps)
            return pooled
        rows, columns = maps.shape[2] // height, maps.shape[3] // width
        blocks = maps.reshape(*maps.shape[:2], height, rows, width, columns).transpose(3, 4).flatten(4)
        means: Tensor = (blocks * torch.softmax(self.sharpness * blocks, dim=-1)).sum(dim=-1)
        return means


def _in_blocks(layer: nn.MaxPool2d) -> bool:
    """Tell whether a layer pools square blocks that do not overlap."""
    return (
        isinstance(layer.kernel_size, int)
        and layer.stride == layer.kernel_size
        and layer.padding == 0
        and layer.dilation == 1
        and not layer.return_indices
        and not layer.ceil_mode
    )
