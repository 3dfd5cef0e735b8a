"""The gradient of a convolution over images of one channel, such as X-rays, with respect to the images."""

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GreyConvolution(torch.autograd.Function):
    """A convolution whose backward is one matrix product and a sum of shifted maps.

    torch's own backward is made for many channels, and slow for the single one that comes out here (the 7×7 stem of
    ResNet-18 over X-rays). Only the input gets a gradient, and that none of its own.
    """

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> Tensor:
        """Return the maps [N, C, H', W'] of images [N, 1, H, W] under weights [C, 1, h, w]."""
        context.save_for_backward(weight)
        context.size, context.stride, context.padding = images.shape[2:], stride, padding
        return F.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient [N, 1, H, W] from that of the maps."""
        (weight,) = context.saved_tensors
        windows = weight.flatten(1).t() @ gradient.contiguous().flatten(2)
        folded = F.fold(windows, context.size, weight.shape[2:], padding=context.padding, stride=context.stride)
        return folded, None, None, None, None


def is_grey(convolution: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Tell whether this is a plain convolution over one channel; a subclass or a forward of its own may be anything."""
    return (
        type(convolution) is nn.Conv2d
        and "forward" not in vars(convolution)
        and convolution.in_channels == 1
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
        and convolution.dilation == (1, 1)
    )


def convolved(convolution: nn.Conv2d, images: Tensor) -> Tensor:
    """Return what ``convolution`` makes of images [N, 1, H, W]."""
    if images.ndim != 4:
        return nn.Conv2d.forward(convolution, images)
    chosen = (convolution.weight, convolution.bias, convolution.stride, convolution.padding)
    maps: Tensor = GreyConvolution.apply(images, *chosen)  # type: ignore[no-untyped-call]
    return maps
