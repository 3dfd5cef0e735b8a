"""What FAB (Croce & Hein 2020, arXiv 1907.02044) needs of a model: each other class's lead, and its gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

UNREACHABLE = 1e10
"""The lead that stands for the image's own class, to which no step leads."""


def leads(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each class's logit lies above the label's, [N, classes], and its gradient [N, classes, C, H, W].

    One forward and classes - 1 backwards: the difference of two logits is a single one. torchattacks takes one for
    each class and subtracts.

    Args:
        model: logits [N, classes] from images.
        images: [N, C, H, W].
        labels: int64 [N]; their own entries are ``UNREACHABLE`` and 0.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
    classes, rows = logits.shape[1], torch.arange(len(images), device=images.device)
    gradients = images.new_zeros(len(images), classes, *images.shape[1:])
    for shift in range(1, classes):
        other = (labels + shift) % classes
        difference = torch.zeros_like(logits)
        difference[rows, other], difference[rows, labels] = 1, -1
        again = shift < classes - 1
        (gradients[rows, other],) = torch.autograd.grad(logits, images, difference, retain_graph=again)
    logits = logits.detach()
    above = logits - logits[rows, labels].unsqueeze(1)
    above[rows, labels] = UNREACHABLE
    return above, gradients
