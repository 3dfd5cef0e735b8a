"""Sums of clipped gradients by book-keeping with mixed ghost norms: close to the cost of the plain gradient.

A backward pass computes no weight gradient. Each layer's input is kept, and when the loss's gradient by the layer's
output comes along, the records' norms are found the cheaper way: from Gram matrices, and input and gradient are kept;
or from the records' own gradients, and these are kept. Once all norms are known, a layer's clipped sum is one ordinary
weight gradient with the records' factors in it, or the weighted sum of what was kept. One forward, one backward pass
(Bu, Wang, Zha & Karypis 2023, Differentially Private Optimization on Large Model at Small Cost, arXiv 2210.00038,
section 2; the choice layer by layer: Bu, Mao & Xu 2022, arXiv 2205.10683).

A server may send weights crafted to gain from rounding. What it meets:

* A record that overflows counts as zero (``common.clipping``). As 0 · inf is NaN, its rows are set to zero on both
  sides of every product before anything is summed.
* Gram matrices tell nothing of a norm where positions cancel. Their norm comes with S, a bound that knows of no
  cancellation; the square is off by at most (d + p + T²) u S², u = 2^-53, d and p being the layer's sides and T its
  positions. A record with S > 64 max(norm, clip norm) in any layer is taken out, and its whole gradient is computed,
  measured, clipped and added by itself.
* Gradients are clipped before they meet inputs. An input above 1e18 may lift what has fallen below float32's smallest
  numbers, so such a record is added by itself, too.
* For all others S <= 64 max(norm, clip norm), so a norm is under-estimated by at most 2048 (d + p + T²) u times that
  maximum: 2e-9 for the largest layers of the built-in networks, 1e-5 for a layer of 10^8 weights. A record's part of
  the sum has at most the clip norm, up to this.
* A record that is added by itself takes time, so under crafted weights the time of a training tells something of the
  records. Whoever may be that server's spy must not see when an update is ready.
* The sum over n records is rounded like every sum of floating-point numbers, u = 2^-24 for float32. Of gradients that
  were kept, or added alone, it sums n numbers, each within its record's clip norm, and is off by at most n u times the
  sum of the clipped norms. Where Gram matrices were used it sums n T products, and is off by at most n T u times the
  sum of the records' factor · S <= 64 clip norms. These are worst cases: independent roundings give the square root of
  n T in place of n T (Higham & Mary 2019, doi 10.1137/18M1226312), and S is rarely above 16 norms.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from common.clipping import LARGEST, Sums, add, add_weighted, clip_factors, row_norms, total_norms
from common.errors import UserError
from common.layer_gradients import (
    Layer,
    LinearMap,
    bias_gradients,
    ghost_norms,
    has_ghost_norm,
    record_gradients,
    trainable,
    weight_sum,
)
from common.layer_uses import UnfitError, check_uses, try_out, uses_of, watched
from common.task import loss

_CANCELLED = 64.0
"""How many times the norm the bound without cancellation may be, for Gram matrices to be believed."""


@dataclass
class _Part:
    """What a backward pass left of one layer, for n records.

    Attributes:
        rows: gradients by the parameters that were computed record by record, [n, *shape].
        norms: of the gradients by every trainable parameter, each float64 [n].
        ghost: of a layer whose weight has a ghost norm; None: the weight is among the rows.
    """

    rows: dict[str, Tensor]
    norms: list[Tensor]
    ghost: "_Ghost | None" = None


@dataclass
class _Ghost:
    """What gives the weighted sum of a weight's gradients: the layer, its input, and its output's gradient.

    ``bound`` is of the norms of the records' gradients, without cancellation, float64 [n]; ``extreme``, bool [n], tells
    whose input is so large that the gradient, clipped before they meet, may fall below the smallest numbers.
    """

    layer: LinearMap
    inputs: Tensor
    gradients: Tensor
    bound: Tensor
    extreme: Tensor
    versions: tuple[int, int]

    def unchanged(self) -> bool:
        """Tell whether nobody has written to what was measured, which autograd hands on to others."""
        return self.versions == (self.inputs._version, self.gradients._version)


def book_keeping_fit(model: nn.Module, example: Tensor) -> tuple[dict[str, Layer], int]:
    """Return the layers to train, and how many numbers of records' gradients are held at once for each record.

    Args:
        model: in the mode and with the random state that a trial may use.
        example: a made-up image, [C, H, W], where the model is; the records' own are not needed.

    Raises:
        UnfitError: the model is not made of layers with a formula, each used once for all records; the text says why.
    """
    rows: dict[str, int] = {}
    own = cast(dict[str, Layer], dict(model.named_modules()))

    def count(name: str, inputs: Tensor, gradients: Tensor) -> None:
        kept = trainable(own[name])
        if has_ghost_norm(own[name], inputs.shape, gradients.shape):
            kept.pop("weight")
        rows[name] = sum(parameter.numel() for parameter in kept.values())
        with torch.no_grad():  # what the layer's formulas cannot do shall show now
            part = _measured(own[name], inputs, gradients)
            if part.ghost is not None:
                _weighted(part.ghost, torch.ones(len(inputs), device=inputs.device))
                record_gradients(own[name], inputs[:1], gradients[:1])

    layers = try_out(model, example, count)
    return layers, sum(rows.values())


def add_clipped_gradients(
    model: nn.Module, layers: Mapping[str, Layer], clip_norm: float, images: Tensor, labels: Tensor, sums: Sums
) -> None:
    """Add each record's gradient of ``common.task.loss``, clipped to ``clip_norm`` over all parameters, to ``sums``.

    Nothing is left on the model: no hook, no gradient.

    Args:
        model: without in-place activations.
        layers: of ``book_keeping_fit``.
        clip_norm: positive.
        images: [n, C, H, W], n at least 1; ``labels`` int64 [n], or [n, H, W].
        sums: changed in place.

    Raises:
        UserError: the output does not depend on a layer, or uses it otherwise than in the trial.
    """
    parts: dict[str, _Part] = {}
    taken: dict[str, tuple[torch.Size, torch.Size]] = {}

    def measure(name: str, inputs: Tensor, gradients: Tensor) -> None:
        taken[name] = inputs.shape, gradients.shape
        parts[name] = _measured(layers[name], inputs, gradients)

    try:
        with watched(layers, measure) as leaf:
            output = model(images)
            uses = uses_of(output)
            torch.autograd.grad(loss(output, labels, reduction="sum"), leaf, allow_unused=True)
        for name, layer in layers.items():
            if name not in parts:
                raise no_gradient(f"{name}.{next(iter(trainable(layer)))}")
        check_uses(layers, taken, uses, len(images))
    except UnfitError as error:
        raise UserError(f"privacy.enabled: the model changes from batch to batch: {error}") from error
    with torch.no_grad():
        _add_clipped(layers, parts, clip_norm, sums)


def no_gradient(parameter: str) -> UserError:
    """Return the error of a trainable parameter on which the output does not depend."""
    return UserError(
        f"privacy.enabled: the model's output does not depend on its parameter '{parameter}', so DP-SGD has no "
        "gradient to clip; remove the parameter, or freeze it with requires_grad_(False)"
    )


def _measured(layer: Layer, inputs: Tensor, gradients: Tensor) -> _Part:
    if not has_ghost_norm(layer, inputs.shape, gradients.shape):
        rows = record_gradients(layer, inputs, gradients)
        return _Part(rows, [row_norms(row) for row in rows.values()])
    rows = bias_gradients(layer, gradients)
    norm, bound = ghost_norms(layer, inputs, gradients)
    extreme = torch.linalg.vector_norm(inputs.flatten(1), ord=math.inf, dim=1) > LARGEST
    ghost = _Ghost(layer, inputs, gradients, bound, extreme, (inputs._version, gradients._version))
    return _Part(rows, [norm, *(row_norms(row) for row in rows.values())], ghost)


def _add_clipped(layers: Mapping[str, Layer], parts: dict[str, _Part], clip_norm: float, sums: Sums) -> None:
    norms = torch.stack([norm for part in parts.values() for norm in part.norms], dim=1)
    factors = clip_factors(norms, clip_norm)
    believed = _CANCELLED * total_norms(norms).clamp(min=clip_norm)
    alone = torch.zeros_like(factors, dtype=torch.bool)
    for name, part in parts.items():
        if part.ghost is not None:
            if not part.ghost.unchanged():
                raise UserError(
                    f"privacy.enabled: the gradient by what layer '{name}' gives is changed in place in the backward "
                    "pass, after it was measured; let hooks of the model return other tensors instead"
                )
            alone |= (part.ghost.bound > believed) | part.ghost.extreme
    alone &= factors > 0
    for record in alone.nonzero().flatten().tolist():
        _add_alone(layers, parts, record, clip_norm, sums)
    factors[alone] = 0
    for name in list(parts):
        part = parts.pop(name)  # lets go of it as soon as it is summed
        own = trainable(layers[name])
        for kind, rows in part.rows.items():
            add_weighted(sums, own[kind], rows, factors)
        if part.ghost is not None:
            add(sums, own["weight"], _weighted(part.ghost, factors))


def _weighted(ghost: _Ghost, factors: Tensor) -> Tensor:
    """Return the sum over the records of factor times weight gradient, where those of factor 0 may be NaN."""
    inputs, gradients, gone = ghost.inputs, ghost.gradients, factors == 0
    gradients = gradients * _along(gradients, factors.to(gradients.dtype))
    if bool(gone.any()):
        inputs, gradients = (side.masked_fill(_along(side, gone), 0) for side in (inputs, gradients))
    with exact_products(gradients.device):
        return weight_sum(ghost.layer, inputs, gradients)


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Let a GPU multiply numbers as they are: TF32, cuDNN's default, keeps 10 bits, and norms are of whole numbers."""
    if device.type != "cuda":
        yield
        return
    backends: Any = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def _along(side: Tensor, numbers: Tensor) -> Tensor:
    """Return numbers [n] in the shape in which each meets its record."""
    return numbers.view(-1, *[1] * (side.ndim - 1))


def _add_alone(
    layers: Mapping[str, Layer], parts: Mapping[str, _Part], record: int, clip_norm: float, sums: Sums
) -> None:
    """Add one record's gradient, clipped by the norm of the very numbers that are added."""
    this = slice(record, record + 1)
    rows: Sums = {}
    for name, part in parts.items():
        found = {kind: row[this].clone() for kind, row in part.rows.items()}
        if part.ghost is not None:
            found |= record_gradients(layers[name], part.ghost.inputs[this], part.ghost.gradients[this])
        own = trainable(layers[name])
        rows |= {own[kind]: row for kind, row in found.items()}
    factor = clip_factors(torch.stack([row_norms(row) for row in rows.values()], dim=1), clip_norm)
    for parameter, row in rows.items():
        add_weighted(sums, parameter, row, factor)
