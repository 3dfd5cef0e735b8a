"""The DP-SGD step: book-keeping against Opacus' hooks and against the step without privacy.

All three sides take the same 64 records and the same optimiser; Opacus is as its users have it, with noise from torch's
generator. Peak memory is of two steps, each side in a process of its own.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import nn

from common.clipped_gradients import add_clipped_gradients, book_keeping_fit
from common.clipping import Sums
from common.code import ROOT
from common.description import Model, Training
from common.models import build, seeded_weights
from common.noise import Noise
from common.privacy import Plan
from common.private_training import noisy_step
from common.records import Task
from common.task import loss
from common.training import build_optimizer
from experiments.bench.findings import Finding, compared, interleaved, times_as_fast, times_the_cost
from experiments.bench.subjects import one_thread

NADAM = Training()
SGD = Training(optimizer="sgd", momentum=0)
"""It keeps nothing and makes no copies, so that what is left of the memory is what the gradients take."""
SIDES = ("ours", "opacus", "plain")
PLAN = Plan(
    noise_multiplier=1.0, sampling_rate=1.0, batch_size=64, records=64, steps_per_round=1, clip_norm=1.0,
    accountant="rdp", delta=1e-5, epsilon=1.0,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network, its images, and what was to be reached against Opacus (time, memory) and the plain step (cost)."""

    path: str
    name: str
    width: int
    size: int
    faster: float
    smaller: float | None = None
    cost: float | None = None
    records: int = 64
    task: Task = "classification"


CASES = (
    Case("ResNet-18 width 64", "resnet18", 64, 32, 7.0, 18.0, 1.45),
    Case("ResNet-9 width 64", "resnet9", 64, 32, 1.4, 2.0),
    Case("ResNet-9 width 16", "resnet9", 16, 32, 1.4, 2.0),
    Case("U-Net width 16, 64×64", "unet", 16, 64, 1.0, task="segmentation"),
    Case("a model of one's own: two convolutions, one linear layer", "", 8, 32, 1.0),
)


def find(repeats: int) -> list[Finding]:
    """Compare the steps of all cases, then their memory."""
    one_thread()
    return [finding for case in CASES for finding in (*steps(case, repeats), *memory(case, repeats))]


def steps(case: Case, repeats: int) -> list[Finding]:
    """Compare the CPU seconds of a step, of its gradients alone, and tell what the noise alone takes."""
    whole = interleaved({side: step(case, side) for side in SIDES}, repeats)
    gradients = interleaved({side: step(case, side, gradients_only=True) for side in ("ours", "plain")}, repeats)
    path = f"DP-SGD step, {case.path}, {case.records} records"
    cost = None if case.cost is None else times_the_cost(case.cost)
    model = network(case)
    drawn = interleaved({"noise": partial(_draw, model, Noise(1, secure=False))}, repeats)
    return [
        compared(path, "Opacus' hooks", whole["ours"], whole["opacus"], times_as_fast(case.faster))[0],
        compared(path, "the step without privacy", whole["ours"], whole["plain"], cost)[0],
        compared(f"{path}: clipped sums alone", "gradients without privacy", gradients["ours"], gradients["plain"])[0],
        Finding(f"{path}: noise alone", "", "CPU s", [taken.cpu for taken in drawn["noise"]], []),
    ]


def memory(case: Case, repeats: int) -> list[Finding]:
    """Compare how far the peak of memory grows in two steps, with plain SGD and where there is a target with NAdam."""
    smaller = times_as_fast(case.smaller) if case.smaller else None
    found = []
    for training in (SGD, NADAM) if smaller else (SGD,):
        grown: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(repeats):
            for side in SIDES:
                grown[side].append(_grown(case, side, training))
        path = f"peak memory of DP-SGD steps with {training.optimizer}, {case.path}, {case.records} records"
        found += [
            Finding(path, "Opacus' hooks", "MiB", grown["ours"], grown["opacus"], smaller),
            Finding(path, "the step without privacy", "MiB", grown["ours"], grown["plain"]),
        ]
    return found


def network(case: Case) -> nn.Module:
    """Return the case's network, for grey images and four classes."""
    if case.name:
        settings = Model(name=case.name, width=case.width)
        return build(settings, 1, 4, [0.5], [0.3], seed=1, image_size=case.size, task=case.task).train()
    with seeded_weights(1):
        w = case.width
        return nn.Sequential(
            nn.Conv2d(1, w, 3, padding=1), nn.GroupNorm(2, w), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(w, 2 * w, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * w, 4),
        )  # fmt: skip


def step(case: Case, side: str, *, gradients_only: bool = False, training: Training = NADAM) -> Callable[[], object]:
    """Return a step of one side on made-up records.

    Args:
        case: network and images.
        side: of ``SIDES``.
        training: the optimiser.
        gradients_only: neither noise nor optimiser; the step then returns gradients or clipped sums by name.
    """
    model = network(case)
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(case.records, 1, case.size, case.size, generator=draw)
    sides = () if case.task == "classification" else (case.size, case.size)
    labels = torch.randint(0, 4, (case.records, *sides), generator=draw)
    optimizer = build_optimizer(model, training)

    def plain() -> object:
        optimizer.zero_grad()
        loss(model(images), labels).backward()  # type: ignore[no-untyped-call]
        if not gradients_only:
            optimizer.step()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    if side == "plain":
        return plain
    if side == "ours":
        layers, _ = book_keeping_fit(model, images[0])
        noise = Noise(1, secure=False)

        def ours() -> object:
            sums: Sums = {}
            add_clipped_gradients(model, layers, PLAN.clip_norm, images, labels, sums)
            if not gradients_only:
                noisy_step(optimizer, sums, noise, PLAN)
            return {name: sums.get(parameter) for name, parameter in model.named_parameters()}

        return ours
    GradSampleHooks(model, loss_reduction="mean")
    private = DPOptimizer(optimizer, noise_multiplier=1.0, max_grad_norm=PLAN.clip_norm, expected_batch_size=64)

    def opacus() -> object:
        private.zero_grad()
        loss(model(images), labels).backward()  # type: ignore[no-untyped-call]
        if not gradients_only:
            return private.step()
        private.clip_and_accumulate()
        return {name: parameter.summed_grad for name, parameter in model.named_parameters()}  # type: ignore[attr-defined]

    return opacus


def _draw(model: nn.Module, noise: Noise) -> None:
    for parameter in model.parameters():
        noise.like(parameter, 1.0)


def _grown(case: Case, side: str, training: Training) -> float:
    asked = f"{json.dumps(case.path)}, {side!r}, {case.records}, Training(**{training.model_dump()!r})"
    code = f"from experiments.bench.private import *; print(growth({asked}))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(told.stdout.splitlines()[-1])


def growth(path: str, side: str, records: int, training: Training = SGD) -> float:
    """Return by how many MiB the peak of this process' memory grows in two steps of a side."""
    one_thread()
    case = next(case for case in CASES if case.path == path)
    step(replace(CASES[-1], size=8), side, training=training)()  # loads what libraries load at their first use
    work = step(replace(case, records=records), side, training=training)
    # What the preparation, such as a trial of the model, has freed must not pass for memory that the steps do not take.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory("VmRSS")
    for _ in range(2):
        work()
    return _memory("VmHWM") - before


def _memory(kind: str) -> float:
    # Not getrusage: its peak outlives exec, so that a child would start with its parent's.
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(kind)) / 1024
