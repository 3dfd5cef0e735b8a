"""The square attack (Andriushchenko et al. 2020, arXiv 1912.00049) on segmentation: random squares, scores only.

torchattacks has it for one class an image; where each pixel has one, what an image loses is its soft Dice.
"""

import math

import torch
from torch import Tensor, nn

from common.seeds import torch_generator
from common.task import soft_dice

_FIRST_SHARE = 0.8
"""Share of an image's pixels that the first square covers."""
_HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the queries after which that share is halved; the paper's, for 10,000 queries."""


def square(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, queries: int, seed: int, targeted: bool = False
) -> Tensor:
    """Return the images with stripes and squares of ``eps`` that, tried in turn, lowered the soft Dice most.

    Each query changes one square of an image to +eps or -eps in every channel, and keeps it if the image's soft Dice
    falls. One forward a query and image; no gradient.

    Args:
        model: logits [N, classes, H, W] from images; in eval mode.
        images: float32 [N, C, H, W] in [0, 1].
        labels: int64 masks [N, H, W]; the masks to leave, or with ``targeted`` those to reach.
        eps: largest change of a value, in units of [0, 1].
        queries: forward passes for each image, at least 1.
        seed: of stripes and squares.
        targeted: see ``labels``.
    """
    generator = torch_generator(seed, "square")
    number, channels, height, width = images.shape

    def signs(*shape: int) -> Tensor:
        return (torch.randint(0, 2, shape, generator=generator) * 2.0 - 1).to(images)

    def places(most: int) -> Tensor:
        return torch.randint(0, most + 1, (number, 1, 1, 1), generator=generator).to(images.device)

    def measured(changed: Tensor) -> Tensor:
        with torch.no_grad():
            dice = soft_dice(model(changed), labels)
        return -dice if targeted else dice

    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    best = (images + eps * signs(number, channels, 1, width)).clamp_(0, 1)
    lowest = measured(best)
    for query in range(1, queries):
        side = _side(query / queries, height, width)
        top, left = places(height - side), places(width - side)
        inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        tried = torch.where(inside, (images + eps * signs(number, channels, 1, 1)).clamp_(0, 1), best)
        found = measured(tried)
        better = found < lowest
        best = torch.where(better.view(-1, 1, 1, 1), tried, best)
        lowest = torch.where(better, found, lowest)
    return best


def _side(spent: float, height: int, width: int) -> int:
    """Return the side of the squares once a share of the queries is ``spent``, in pixels; at least 1."""
    share: float = _FIRST_SHARE * 0.5 ** sum(spent > end for end in _HALVED_AT)
    return max(1, min(round(math.sqrt(share * height * width)), height, width))
