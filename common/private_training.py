"""One client's local training in one round by DP-SGD (Abadi et al. 2016, arXiv 1607.00133).

Opacus computes and clips each record's gradient; the batches and the noise are drawn here, from generators that nothing
else can reach: an attack that reseeds torch's global generator leaves the noise as it was.
"""

import hashlib
import math
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from common.description import Privacy, Training
from common.errors import UserError
from common.optimizer_state import KeptOptimizer
from common.privacy import Entry, Ledger, Plan
from common.progress import track
from common.records import Records
from common.seeds import derive, numpy_generator
from common.task import loss
from common.training import build_optimizer, check_finite, own_random_state, to_device, training_mode

_GRADIENTS_LIMIT = 2**28
"""Numbers held in per-record gradients at once (1 GiB), whatever ``physical_batch_size`` allows."""
_LARGEST = 1e18
"""Largest norm of a parameter's gradient with which a record counts; far below what overflows."""


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
        Metrics that say nothing of the records (``noise-multiplier``, ``private-steps``: a training loss would be
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
    model.to(device)
    release = "" if privacy.secure_noise else _release(model, seed, kept)
    entry = Entry(round, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round, release)
    if ledger is not None:
        ledger.spend(entry)
    sampler = _generator(derive(seed, "sampling", release), privacy.secure_noise)
    noise = Noise(derive(seed, "noise", release), secure=privacy.secure_noise, device=device)
    plain = build_optimizer(model, training)
    if kept is not None:
        kept.give(plain, model)
    optimizer = _NoisyOptimizer(
        plain,
        noise=noise,
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.clip_norm,
        expected_batch_size=plan.batch_size,
    )
    at_once = max(1, min(privacy.physical_batch_size, _GRADIENTS_LIMIT // sum(p.numel() for p in optimizer.params)))
    steps = range(plan.steps_per_round)
    with training_mode(model), own_random_state(derive(seed, "layers"), device), _per_record_gradients(model):
        for _ in track(steps, title, len(steps)) if title else steps:
            drawn = torch.from_numpy(np.flatnonzero(sampler.random(len(records)) < plan.sampling_rate))
            _step(model, records, drawn, optimizer, at_once, device)
    check_finite(model, training)
    if kept is not None:
        kept.take(plain, model)
    return {"noise-multiplier": plan.noise_multiplier, "private-steps": float(plan.steps_per_round)}, entry


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


def _step(
    model: nn.Module,
    records: Records,
    drawn: Tensor,
    optimizer: "_NoisyOptimizer",
    at_once: int,
    device: str | torch.device,
) -> None:
    """Do one step on the drawn records (int64 [M], M may be 0), ``at_once`` records at a time."""
    parts = [drawn[begin : begin + at_once] for begin in range(0, max(1, len(drawn)), at_once)]
    for number, part in enumerate(parts):
        if len(part) > 0:
            images, labels = to_device(records, part, device)
            loss(model(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        else:
            for parameter in optimizer.params:
                parameter.grad_sample = parameter.new_zeros(0, *parameter.shape)
        if any(parameter.grad_sample is None for parameter in optimizer.params):
            idle = next(name for name, p in model.named_parameters() if p.requires_grad and p.grad_sample is None)  # type: ignore[attr-defined]
            raise UserError(
                f"privacy.enabled: the model's output does not depend on its parameter '{idle}', so DP-SGD has no "
                "gradient to clip; remove the parameter, or freeze it with requires_grad_(False)"
            )
        optimizer.signal_skip_step(do_skip=number < len(parts) - 1)
        optimizer.step()
        optimizer.zero_grad()


class Noise:
    """Normal noise from a generator of its own."""

    def __init__(self, seed: int, *, secure: bool, device: str | torch.device = "cpu") -> None:
        """Draw from ``seed``, or with ``secure`` from the operating system's entropy."""
        self._draws = 4 if secure else 1
        self._cuda: torch.Generator | None = None
        if torch.device(device).type == "cuda":
            self._cuda = torch.Generator(device).manual_seed(secrets.randbits(63) if secure else seed)
        else:
            # Not torch's CPU generator: it heeds 32 bits of its seed, so that two releases could share their noise.
            self._numpy = _generator(seed, secure)

    def like(self, tensor: Tensor, std: float) -> Tensor:
        """Return noise of the tensor's shape, type and device."""
        # Half the sum of four draws is as normal as one, and its rounding does not tell the draws.
        total = self._normal(tensor)
        for _ in range(self._draws - 1):
            total = total + self._normal(tensor)
        return total.mul(std / math.sqrt(self._draws)).to(tensor.dtype)

    def _normal(self, tensor: Tensor) -> Tensor:
        if self._cuda is not None:
            kind = torch.float64 if self._draws > 1 else tensor.dtype
            return torch.randn(tensor.shape, generator=self._cuda, device=tensor.device, dtype=kind)
        if self._draws > 1 or tensor.dtype != torch.float32:
            return torch.from_numpy(self._numpy.standard_normal(tensor.shape))
        return torch.from_numpy(self._numpy.standard_normal(tensor.shape, dtype=np.float32))


class _NoisyOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' optimiser with our noise in place of torch's generator, and sums that no record can make infinite."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, noise: Noise, **settings: float) -> None:
        super().__init__(optimizer, **settings)
        self._noise = noise

    def clip_and_accumulate(self) -> None:
        # Clipping turns an infinite gradient into NaN. A server that sends weights under which a single record
        # overflows would then learn, from a training that fails, exactly whether the record is there, at any epsilon.
        # A contribution of zero is within the clip norm, so what is promised of the sum holds.
        gradients = self.grad_samples
        if len(gradients[0]) > 0:
            largest = torch.stack([gradient.reshape(len(gradient), -1).norm(2, dim=1) for gradient in gradients]).amax(
                0
            )
            for parameter in self.params:
                parameter.grad_sample[~(largest <= _LARGEST)] = 0  # the comparison is false for NaN as well
        super().clip_and_accumulate()

    def add_noise(self) -> None:
        std = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            noise = self._noise.like(parameter.summed_grad, std)
            parameter.grad = (parameter.summed_grad + noise).view_as(parameter)


@contextmanager
def _per_record_gradients(model: nn.Module) -> Iterator[None]:
    """Hook the model so that ``backward`` of a summed loss fills ``parameter.grad_sample``; leave no trace after."""
    in_place = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    for module in in_place:  # an in-place activation would overwrite what the hooks keep
        setattr(module, "inplace", False)  # noqa: B010 - nn.Module types its attributes as tensors and modules
    hooks = GradSampleHooks(model, loss_reduction="sum")
    try:
        with warnings.catch_warnings():
            # The first layer's input, the image, needs no gradient.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield
    finally:
        hooks.cleanup()
        for module in in_place:
            setattr(module, "inplace", True)  # noqa: B010
        for module in model.modules():
            for trace in ("activations", "max_batch_len"):
                module.__dict__.pop(trace, None)
        for parameter in model.parameters():
            parameter.__dict__.pop("summed_grad", None)
            parameter.grad = None


def _generator(seed: int, secure: bool) -> np.random.Generator:
    return np.random.default_rng(secrets.randbits(256)) if secure else numpy_generator(seed)


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
