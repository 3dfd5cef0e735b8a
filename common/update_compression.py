"""int8 compression of what clients send, with error feedback: a quarter of the bytes.

What travels is the update, sent minus received weights, rounded to whole steps from -127 to 127; one step is the 127th
part of the tensor's largest number. What the rounding lost, the residual, stays with the client and is added to its
next update, so that over many rounds the server misses no more than the last residual (Seide et al. 2014, "1-bit
stochastic gradient descent"; Karimireddy et al. 2019, arXiv 1901.09847).

Privacy: the sent weights and earlier results of this module are all that goes in. Where the sent weights are private,
compression and residual are post-processing and cost nothing; the residual then tells no more than what was sent.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STEPS, SCALES = "int8", "scales"
"""The two arrays of a compressed update: all weights in steps, int8 [N], and each tensor's step, float32 [T]. Tensors
follow each other in the order of their sorted names."""
_LARGEST = 127  # not 128: the steps are symmetric around zero


def compress(
    sent: Mapping[str, Tensor], received: Mapping[str, Tensor], residual: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Compress the update of one client in one round.

    Nothing is drawn: equal arguments give equal bits.

    Args:
        sent: the weights that the client would send, name → floating tensor of any shape, on the CPU.
        received: the round's global weights, of the same names, shapes and types.
        residual: what was lost in the client's last update that counted, as returned then; empty: nothing.

    Returns:
        The compressed update, for ``decompress``: N + 4T bytes for N weights in T tensors.
        The new residual, float32, of the same names and shapes: sent weights and old residual, minus what
        ``decompress`` gives. Each number is at most half a step, beside the rounding of the weights' own type.

    Raises:
        ValueError: names or shapes differ, a type is not floating, or a number is not finite or is so large that what
            arrives would not be.
    """
    _check_weights(sent, received)
    if residual:
        _check_weights(residual, received)
    targets = {name: _target(sent[name], residual.get(name)) for name in sorted(received)}
    updates = [target - received[name].double() for name, target in targets.items()]
    scales = torch.stack([_scale(update) for update in updates])
    steps = [_whole_steps(update, scale).flatten() for update, scale in zip(updates, scales, strict=True)]
    compressed = {STEPS: torch.cat(steps), SCALES: scales}
    # By the server's own arithmetic, so that the residual holds its rounding, too.
    arrived = decompress(compressed, received)
    if not all(bool(torch.isfinite(array).all()) for array in arrived.values()):
        raise ValueError("an update so large cannot be compressed: its weights would arrive as infinity")
    return compressed, {name: (targets[name] - arrived[name].double()).float() for name in received}


def decompress(compressed: Mapping[str, Tensor], received: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that a compressed update stands for: names, order, shapes and types of ``received``.

    Absurd scales make them infinite or NaN; check them like any weights.

    Args:
        compressed: as ``template`` describes it.
        received: the global weights that the client was sent.

    Raises:
        ValueError: arrays other than ``template`` describes.
    """
    _check_compressed(compressed, template(received))
    steps = torch.split(compressed[STEPS], [received[name].numel() for name in sorted(received)])
    arrays = {}
    for name, whole, scale in zip(sorted(received), steps, compressed[SCALES], strict=True):
        base = received[name]
        arrays[name] = (base.double() + whole.double().reshape(base.shape) * scale.double()).to(base.dtype)
    return {name: arrays[name] for name in received}


def template(received: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a compressed update of zeros: the names, shapes and types that one for these weights must have."""
    weights = sum(base.numel() for base in received.values())
    return {STEPS: torch.zeros(weights, dtype=torch.int8), SCALES: torch.zeros(len(received), dtype=torch.float32)}


def _target(sent: Tensor, residual: Tensor | None) -> Tensor:
    """Return what the weights should be at the server, float64."""
    target = sent.double() if residual is None else sent.double() + residual.double()
    if not bool(torch.isfinite(target).all()):
        raise ValueError("an update that is not finite cannot be compressed")
    return target


def _scale(update: Tensor) -> Tensor:
    """Return one step, float32: the largest number's 127th part, rounded up, so that 127 steps reach it."""
    if not update.numel():
        return torch.tensor(0.0)
    largest = update.abs().max()
    scale = (largest / _LARGEST).float()
    return torch.nextafter(scale, torch.tensor(torch.inf)) if scale.double() * _LARGEST < largest else scale


def _whole_steps(update: Tensor, scale: Tensor) -> Tensor:
    return torch.round(update / (scale.double() if scale else 1.0)).to(torch.int8)


def _check_weights(arrays: Mapping[str, Tensor], received: Mapping[str, Tensor]) -> None:
    _check_shapes(arrays, received)
    for name in received:
        if not (arrays[name].is_floating_point() and received[name].is_floating_point()):
            raise ValueError(f"{name} has type {arrays[name].dtype}; only floating types can be compressed")


def _check_compressed(arrays: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    _check_shapes(arrays, wanted)
    for name, array in wanted.items():
        if arrays[name].dtype != array.dtype:
            raise ValueError(f"{name} has type {arrays[name].dtype} instead of {array.dtype}")


def _check_shapes(arrays: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if arrays.keys() != wanted.keys():
        raise ValueError(f"arrays are named {sorted(arrays)} instead of {sorted(wanted)}")
    for name, array in wanted.items():
        if arrays[name].shape != array.shape:
            raise ValueError(f"{name} has shape {tuple(arrays[name].shape)} instead of {tuple(array.shape)}")
