"""What is learnt and how well: the loss to train by and the score to judge by, of a class an image or one a pixel.

Segmentation is told by the labels' shape: [N, H, W] instead of [N]. Its score is Dice's coefficient of a structure,
2 |A ∩ B| / (|A| + |B|) of the pixels found and the true ones (Dice 1945, doi 10.2307/1932409), averaged over the
structures of an image; class 0, what belongs to none, is not among them.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from common.task_names import SCORES as SCORES

_SMOOTH = 1.0
"""Pixels added to both sides of the soft fraction, so that a structure that is not there has a gradient, too."""


def loss(logits: Tensor, labels: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Return the training loss over a batch: cross-entropy in nats; for segmentation plus 1 - soft Dice.

    A record's loss follows from that record alone, so that its gradient can be clipped; an image's cross-entropy is the
    mean over its pixels.

    Args:
        logits: [N, K], or [N, K, H, W].
        labels: int64 [N], or [N, H, W].
        reduction: over the records.
    """
    if labels.ndim == 1:
        return cross_entropy(logits, labels, reduction=reduction)
    each = cross_entropy(logits, labels, reduction="none").mean(dim=(1, 2)) + 1 - soft_dice(logits, labels)
    return each.mean() if reduction == "mean" else each.sum()


def soft_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each image's Dice with probabilities in place of answers, the mean over the structures: [N] in [0, 1].

    Differentiable (Milletari et al. 2016, arXiv 1606.04797). ``logits`` [N, K, H, W], ``labels`` int64 [N, H, W].
    """
    found = torch.softmax(logits, dim=1)[:, 1:]
    true = one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2)[:, 1:].to(found.dtype)
    both = (found * true).sum(dim=(2, 3))
    return ((2 * both + _SMOOTH) / (found.sum(dim=(2, 3)) + true.sum(dim=(2, 3)) + _SMOOTH)).mean(dim=1)


def scores(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return each record's score, float64 [N] in [0, 1]: 1 for the right class, else 0; for segmentation mean Dice.

    Args:
        predicted: int64 class numbers, as ``labels``.
        labels: int64 [N], or [N, H, W].
        classes: number of classes, K.
    """
    if labels.ndim == 1:
        return (predicted == labels).to(torch.float64)
    return mean_dice(structure_dice(predicted, labels, classes))


def structure_dice(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the Dice of each class in each image, float64 [N, K]; NaN where the class is neither there nor found.

    Args:
        predicted: int64 [N, H, W], from 0 to K - 1.
        labels: likewise.
        classes: K.
    """
    images = len(labels)
    first = torch.arange(images, device=labels.device).view(-1, 1, 1) * classes

    def pixels(numbers: Tensor) -> Tensor:
        return torch.bincount(numbers.flatten(), minlength=images * classes).view(images, classes).double()

    both = pixels((labels + first)[predicted == labels])
    found, true = pixels(predicted + first), pixels(labels + first)
    return 2 * both / (found + true)


def mean_dice(structures: Tensor) -> Tensor:
    """Return the mean over the structures that are there or found, [N], of Dice [N, K]; 1 where there is none at all.

    Class 0 does not count.
    """
    return structures[:, 1:].nanmean(dim=1).nan_to_num(nan=1.0)
