"""How near reconstructed images are to the true ones: PSNR, SSIM, and whether the true image is recognised."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_SIDE, _SPREAD = 11, 1.5
"""SSIM's window: pixels a side, and the standard deviation of its weights."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of some reconstructions, each against the true image that it is assigned to.

    Attributes:
        psnr: [N] in dB.
        ssim: [N], at most 1.
        rank: int64 [N]: the true image's place among all images of the pool, by likeness to the reconstruction; 1:
            recognised.
        which: int64 [N], the true images' numbers.
    """

    psnr: Tensor
    ssim: Tensor
    rank: Tensor
    which: Tensor


def score(found: Tensor, true: Tensor, pool: Tensor) -> Scores:
    """Assign each reconstruction to one true image, so that all errors together are least, and score it.

    The assignment favours the attacker, the more so the more true images there are: compare with a guess that is scored
    in the same way.

    Args:
        found: [N, C, H, W] in [0, 1].
        true: [M, C, H, W], M ≥ N: the images that went into the update.
        pool: [P, C, H, W]: all images that the attacker may have had in mind, the true ones among them, bit for bit.
    """
    errors = (found[:, None] - true[None]).square().flatten(2).mean(dim=2)
    rows, columns = linear_sum_assignment(errors.numpy())
    which = torch.from_numpy(columns)
    assert (rows == range(len(found))).all(), "there are at least as many true images as reconstructions"
    matched = true[which]
    return Scores(psnr(found, matched), ssim(found, matched), ranks(found, matched, pool), which)


def psnr(found: Tensor, true: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of images in [0, 1], dB: [N]; at most 160, which equal images have."""
    return -10 * (found - true).double().square().flatten(1).mean(dim=1).clamp(min=1e-16).log10()


def ssim(found: Tensor, true: Tensor) -> Tensor:
    """Return the structural similarity of images in [0, 1] (Wang et al. 2004, doi 10.1109/TIP.2003.819861): [N].

    With the paper's window and constants, the mean over all places where the window fits, and over channels.

    Args:
        found: [N, C, H, W], at least 11 pixels a side.
        true: likewise.
    """
    offsets = torch.arange(_SIDE, dtype=torch.float64) - _SIDE // 2
    line = torch.exp(-0.5 * (offsets / _SPREAD) ** 2)
    window = (line[:, None] * line[None]) / line.sum() ** 2
    one, other = (images.double().flatten(0, 1)[:, None] for images in (found, true))

    def local(images: Tensor) -> Tensor:
        return F.conv2d(images, window[None, None])

    mean, other_mean = local(one), local(other)
    variance, other_variance = local(one * one) - mean**2, local(other * other) - other_mean**2
    covariance = local(one * other) - mean * other_mean
    small, large = 0.01**2, 0.03**2
    likeness = (2 * mean * other_mean + small) * (2 * covariance + large)
    likeness = likeness / ((mean**2 + other_mean**2 + small) * (variance + other_variance + large))
    return likeness.flatten(1).mean(dim=1).reshape(found.shape[:2]).mean(dim=1)


def ranks(found: Tensor, true: Tensor, pool: Tensor) -> Tensor:
    """Return each true image's place, from 1, when a pool is sorted by correlation with the reconstruction: [N].

    The correlation over pixels heeds neither brightness nor contrast, which an attack may well get wrong.
    """
    mine, right, all_images = (_standardised(images) for images in (found, true, pool))
    own = (mine * right).sum(dim=1)
    return ((mine @ all_images.T) > own[:, None] + 1e-9).sum(dim=1) + 1


def _standardised(images: Tensor) -> Tensor:
    flat = images.double().flatten(1)
    return F.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)
