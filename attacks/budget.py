"""The budget: what an attack may change, and the check that it changed no more."""

from typing import Literal

import torch
from torch import Tensor

from common.errors import UserError

Norm = Literal["linf", "l2"]
"""How a change is measured: the largest change of any value, or the Euclidean length of the whole change."""

TOLERANCE = 1e-6
"""Rounding that a result may be off by, in units of [0, 1]; for ``l2`` relative to lengths above 1."""


class BudgetError(UserError):
    """An attack returned images outside its threat model; its result must not be used."""


def distance(clean: Tensor, changed: Tensor, norm: Norm) -> Tensor:
    """Return how far each of ``changed`` [N, C, H, W] is from ``clean``: float [N], in units of [0, 1]."""
    change = (changed - clean).flatten(1)
    if change.shape[1] == 0:
        return change.new_zeros(len(change))
    return change.abs().amax(dim=1) if norm == "linf" else torch.linalg.vector_norm(change, dim=1)


def allowed(eps: float, norm: Norm) -> float:
    """Return the largest distance that counts as within ``eps``."""
    return eps + (TOLERANCE if norm == "linf" else TOLERANCE * max(1.0, eps))


def project(clean: Tensor, changed: Tensor, eps: float, norm: Norm) -> Tensor:
    """Return the images of ``changed`` moved into the ball of ``eps`` around ``clean`` and into [0, 1]."""
    change = changed - clean
    if norm == "linf":
        change = change.clamp(-eps, eps)
    else:
        scale = (eps / distance(clean, changed, norm).clamp_min(1e-12)).clamp_max(1.0)
        change = change * scale.view(-1, *[1] * (change.ndim - 1))
    return (clean + change).clamp(0, 1)


def check(clean: Tensor, changed: object, eps: float, norm: Norm | None, attack: str) -> Tensor:
    """Return ``changed`` if it is a legal result of ``attack`` on ``clean``.

    Args:
        clean: images [N, C, H, W] in [0, 1].
        changed: what the attack returned.
        eps: the budget; not looked at where ``norm`` is None.
        norm: how the change is measured; None for an attack without a budget.
        attack: its name, for the message.

    Raises:
        BudgetError: not a float tensor, another shape, values that are not finite, outside [0, 1] or over budget.
    """
    said = f"attack '{attack}' returned"
    if not isinstance(changed, Tensor):
        raise BudgetError(f"{said} a {type(changed).__name__}; it must return a float tensor of images")
    if changed.shape != clean.shape:
        raise BudgetError(
            f"{said} shape {tuple(changed.shape)} for images of shape {tuple(clean.shape)}; keep the shape"
        )
    if not changed.is_floating_point():
        raise BudgetError(f"{said} {changed.dtype}; it must return float images in [0, 1]")
    changed = changed.detach().to(clean)
    if changed.numel() == 0:
        return changed
    if not bool(torch.isfinite(changed).all()):
        share = float((~torch.isfinite(changed)).flatten(1).any(dim=1).float().mean())
        raise BudgetError(f"{said} values that are NaN or infinite in {share:.0%} of the images")
    low, high = float(changed.min()), float(changed.max())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise BudgetError(f"{said} values from {low:.6g} to {high:.6g}; images live in [0, 1]")
    if norm is not None:
        far = float(distance(clean, changed, norm).max())
        if far > allowed(eps, norm):
            kind = "a value by" if norm == "linf" else "an image by an L2 length of"
            raise BudgetError(f"{said} images that change {kind} {far:.6g}, over the budget eps = {eps:.6g}")
    return changed.clamp(0, 1)
