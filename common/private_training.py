"""One client's local training in one round by DP-SGD (Abadi et al. 2016, arXiv 1607.00133).

The sum of the records' clipped gradients comes from ``common.clipped_gradients`` where the model allows it, else from
Opacus' hooks (``common.opacus_gradients``), which need the time and memory for every record's own gradient. The batches
and the noise are drawn here, from generators that nothing else can reach: an attack that reseeds torch's global
generator leaves the noise as it was.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from common.allocator import keep_freed_memory
from common.clipped_gradients import add_clipped_gradients, book_keeping_fit
from common.clipping import Sums
from common.description import Privacy, Training
from common.errors import UserError
from common.layer_gradients import Layer
from common.layer_uses import MixedRecordsError, UnfitError
from common.noise import Noise, own_generator
from common.opacus_gradients import mixed_records, opacus_gradients, refuse_wrong_gradients, try_hooks
from common.optimizer_state import KeptOptimizer
from common.privacy import Entry, Ledger, Plan
from common.progress import tell, track
from common.records import Records
from common.seeds import derive
from common.training import build_optimizer, check_finite, own_random_state, to_device, training_mode

_GRADIENTS_LIMIT = 2**28
"""Numbers held in per-record gradients at once (1 GiB), whatever ``physical_batch_size`` allows."""
Add = Callable[[Tensor, Tensor, Sums], None]
"""Adds the clipped gradients of images and labels to sums."""


def train_privately(
    model: nn.Module,
    records: Records,
    training: Training,
    privacy: Privacy,
    plan: Plan,
    *,
    round: int,
    seed: int,
    device: str | torch.device = "cpu",
    ledger: Ledger | None = None,
    kept: KeptOptimizer | None = None,
    title: str = "",
) -> tuple[dict[str, float], Entry]:
    """Train the model in place for ``plan.steps_per_round`` steps of DP-SGD.

    Each step draws every record with probability ``plan.sampling_rate`` (Poisson), clips each drawn record's gradient
    over all parameters to ``plan.clip_norm``, adds normal noise of standard deviation ``noise_multiplier * clip_norm``
    to their sum, and divides by the *expected* batch size. A step that draws nobody is still a step: noise alone.
    One record's data thus moves a step's sum by at most ``clip_norm``, provided that no two of ``records`` stem from
    the same original: a changed copy must replace its record. A record whose gradient is not finite, or close to
    overflow, counts as zero in that step.

    With ``privacy.secure_noise`` batches and noise come from 256 bits of the operating system's entropy, and the noise
    is summed from four draws in double precision (Holohan & Braghin 2021, arXiv 2107.10138). Without it they follow
    from ``seed`` and the weights that came in, so that a run can be repeated bit for bit; ε then holds only against
    those who do not know the seed.

    Args:
        model: logits [N, classes], or for segmentation [N, classes, H, W], from images in [0, 1]; returned without
            hooks or gradients, in its own mode.
        records: at most ``plan.records``.
        training, privacy: of the description; ``plan``: what ``common.privacy.calibrate`` made of it.
        round: for the ledger's entry, from 1.
        seed: of this client's batches and noise in this round.
        device: where to train; the model stays there.
        ledger: where the release is entered, before the first step: whatever ends the training, it is not forgotten.
            None leaves that to the caller.
        kept: as for ``common.training.train``; it holds what the noisy gradients left, which costs no privacy.
        title: shown as progress; empty shows nothing.

    Returns:
        Metrics that say nothing of the records (``noise-multiplier``, ``private-steps``, and ``book-keeping``: 1 if the
        clipped sums came from ``common.clipped_gradients``, 0 if from Opacus' hooks; a training loss would be
        released without noise), and the ledger's entry. Without ``ledger`` it must be spent before anything leaves the
        client.

    Raises:
        UserError: batch norm or another layer that mixes records; parameters without gradients; too many records;
            received weights that are not finite, of which nothing is entered in the ledger.
        TrainingError: a parameter is not finite any more.
    """
    if len(records) > plan.records:
        raise UserError(
            f"a client trains privately on {len(records)} records, but its privacy was planned for {plan.records}; "
            "replace records instead of adding any, since copies of a record multiply its influence"
        )
    refuse_mixing_layers(model)
    _refuse_infinite_weights(model)
    keep_freed_memory()
    model.to(device)
    layers, numbers = _fit(model, records, seed, device)
    at_once = max(1, min(privacy.physical_batch_size, _GRADIENTS_LIMIT // max(1, numbers)))
    release = "" if privacy.secure_noise else _release(model, seed, kept)
    entry = Entry(round, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round, release)
    if ledger is not None:
        ledger.spend(entry)
    sampler = own_generator(derive(seed, "sampling", release), privacy.secure_noise)
    noise = Noise(derive(seed, "noise", release), secure=privacy.secure_noise, device=device)
    optimizer = build_optimizer(model, training)
    if kept is not None:
        kept.give(optimizer, model)
    steps = range(plan.steps_per_round)
    with _ready(model, derive(seed, "layers"), device), _adding(model, plan.clip_norm, layers) as add:
        for _ in track(steps, title, len(steps)) if title else steps:
            drawn = torch.from_numpy(np.flatnonzero(sampler.random(len(records)) < plan.sampling_rate))
            noisy_step(optimizer, _clipped_sums(records, drawn, add, at_once, device), noise, plan)
    check_finite(model, training)
    if kept is not None:
        kept.take(optimizer, model)
    metrics = {
        "noise-multiplier": plan.noise_multiplier,
        "private-steps": float(plan.steps_per_round),
        "book-keeping": float(layers is not None),
    }
    return metrics, entry


def refuse_mixing_layers(model: nn.Module) -> None:
    """Raise UserError if a layer of the model mixes the records of a batch or keeps statistics of them."""
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and (
            not isinstance(module, nn.modules.instancenorm._InstanceNorm) or module.track_running_stats
        ):
            raise UserError(
                f"privacy.enabled: layer '{name}' of the model is {type(module).__name__}, which mixes the records of "
                "a batch, so no record's influence can be bounded; use torch.nn.GroupNorm instead"
            )
    from opacus.validators import ModuleValidator  # here and not above: the import takes a second

    with training_mode(model):
        problems = ModuleValidator.validate(model, strict=False)
    if problems:
        raise UserError(f"privacy.enabled: the model cannot be trained by DP-SGD: {problems[0]}")


def _refuse_infinite_weights(model: nn.Module) -> None:
    for name, array in model.state_dict().items():
        if not bool(torch.isfinite(array).all()):
            raise UserError(
                f"privacy.enabled: '{name}' of the received weights is not finite, so every record would count as "
                "zero and the privacy be spent on noise; let the server send finite weights"
            )


def _fit(
    model: nn.Module, records: Records, seed: int, device: str | torch.device
) -> tuple[dict[str, Layer] | None, int]:
    """Return the layers for book-keeping, None for Opacus' hooks; and the numbers held for each record at once."""
    example = torch.zeros(records.images.shape[1:], device=device)
    try:
        with _trial(model, seed, device):
            return book_keeping_fit(model, example)
    except MixedRecordsError as mixed:
        raise mixed_records(str(mixed)) from mixed
    except UnfitError as unfit:
        _note_once(
            "DP-SGD goes by Opacus' hooks, which take more time and memory than book-keeping, since of the model "
            f"{type(model).__name__} {unfit}"
        )
        refuse_wrong_gradients(model)
        with _trial(model, seed, device):
            try_hooks(model, example)
        return None, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@contextmanager
def _trial(model: nn.Module, seed: int, device: str | torch.device) -> Iterator[None]:
    """Make the model ready for a trial, after which its buffers are as they were, too."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with _ready(model, derive(seed, "trial"), device):
            yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)


@cache
def _note_once(sentence: str) -> None:
    tell(sentence)


def _clipped_sums(records: Records, drawn: Tensor, add: Add, at_once: int, device: str | torch.device) -> Sums:
    """Return the sums of the drawn records' clipped gradients, ``at_once`` at a time; drawn int64 [M], M may be 0."""
    sums: Sums = {}
    for part in torch.split(drawn, at_once) if len(drawn) > 0 else ():
        add(*to_device(records, part, device), sums)
    return sums


def noisy_step(optimizer: torch.optim.Optimizer, sums: Sums, noise: Noise, plan: Plan) -> None:
    """Let the optimiser step by (sum + noise) / expected batch size."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            gradient = noise.like(parameter, plan.noise_multiplier * plan.clip_norm)
            if parameter in sums:
                gradient += sums.pop(parameter)
            parameter.grad = gradient.div_(plan.batch_size)
    optimizer.step()
    optimizer.zero_grad()


@contextmanager
def _adding(model: nn.Module, clip_norm: float, layers: dict[str, Layer] | None) -> Iterator[Add]:
    """Yield what adds clipped gradients to sums: book-keeping of these layers, or without any Opacus' hooks."""
    if layers is not None:
        yield partial(add_clipped_gradients, model, layers, clip_norm)
    else:
        with opacus_gradients(model, clip_norm) as add:
            yield add


@contextmanager
def _ready(model: nn.Module, seed: int, device: str | torch.device) -> Iterator[None]:
    """Put the model in training mode, its random layers drawing from ``seed``; it comes back as it was.

    In-place activations are ordinary ones meanwhile: they would overwrite what a layer gave.
    """
    in_place = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    try:
        for module in in_place:
            setattr(module, "inplace", False)  # noqa: B010 - nn.Module types its attributes as tensors and modules
        with training_mode(model), own_random_state(seed, device):
            yield
    finally:
        for module in in_place:
            setattr(module, "inplace", True)  # noqa: B010
        model.zero_grad()


def _release(model: nn.Module, seed: int, kept: KeptOptimizer | None) -> str:
    """Return a name for what is released: it depends on all that the release depends on.

    The received weights are among it: whoever sends a client other weights for the same round gets other noise, and
    the ledger counts both. With the same noise twice, the difference of the two updates would lay the gradients bare.
    So is a kept optimiser, which decides where the second step starts.
    """
    digest = hashlib.sha256(str(seed).encode())
    moments = {} if kept is None else dict(sorted(kept.tensors.items()))  # read back, they come in another order
    for name, array in {**model.state_dict(), **moments}.items():
        digest.update(name.encode())
        digest.update(array.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
