"""``attacks``: images attacked per CPU second, ours beside torchattacks', and full PGD beside a bare matrix product.

The attacked models are trained here until they classify well what ordinary training learns easily and an attacker
removes as easily: patterns fainter than the images around them, as good as all of which PGD-10 of 8/255 fools.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from attacks.cascade import cascade
from attacks.craft import craft
from attacks.guard import undisturbed
from attacks.layout import laid_out
from attacks.pgd import pgd
from attacks.predict import predict
from common.description import Model, Training
from common.models import build
from common.records import Records, as_float
from common.seeds import torch_generator
from common.training import train
from experiments.bench.findings import Finding, Target, at_least, compared, interleaved, times_as_fast
from experiments.bench.subjects import one_thread
from experiments.bench.traces import CLEAN, Traces, in_words, traced

EPS, STEP, STEPS, BATCH = 8 / 255, 2 / 255, 10, 128
SMALL_EPS = 2 / 255
"""The budget of the cascade: at 8/255 PGD would leave nobody to FAB."""
CLASSES, SIDE = 10, 32
PRODUCT = 2048
"""Rows and columns of the matrices whose product is the peak."""


@dataclass(frozen=True)
class Subject:
    """A network, and how long it learns."""

    name: str
    width: int
    epochs: int
    images: int = 512


EARLY = (Subject("resnet18", 64, 10), Subject("resnet9", 16, 6))
FULL = Subject("resnet9", 64, 0, BATCH)
FAB = Subject("resnet9", 16, 6, BATCH)


def find(repeats: int) -> list[Finding]:
    """Compare PGD until an image is fooled, PGD with all its steps, and FAB alone and after PGD."""
    one_thread()
    findings: list[Finding] = []
    for subject in EARLY:
        model = trained(subject)
        findings += early(subject, model, repeats)
    findings += full(FULL, trained(FULL), repeats)
    return findings + fab(FAB, model, repeats)


def records(number: int, seed: int) -> Records:
    """Return so many images of ten classes, each a faint pattern of its own over a random, smooth background."""

    def smooth(generator: torch.Generator, *shape: int) -> Tensor:
        return F.interpolate(torch.rand(shape, generator=generator), size=SIDE, mode="bilinear")

    generator = torch_generator(seed, "backgrounds")
    patterns = smooth(torch_generator(0, "patterns"), CLASSES, 3, 8, 8) - 0.5
    labels = torch.arange(number) % CLASSES
    noise = torch.randn(number, 3, SIDE, SIDE, generator=generator)
    images = 0.2 + 0.6 * smooth(generator, number, 3, 4, 4) + 0.2 * patterns[labels] + 0.03 * noise
    return Records((images.clamp(0, 1) * 255).round().to(torch.uint8), labels)


def trained(subject: Subject, number: int = 2000) -> nn.Module:
    """Return the network after its epochs over so many images, in eval mode."""
    described = Model(name=subject.name, width=subject.width)
    model = build(described, 3, CLASSES, [0.47] * 3, [0.25] * 3, seed=1)
    for epoch in range(subject.epochs):
        train(model, records(number, 1), Training(), seed=epoch, device="cpu")
    return model.eval()


def early(subject: Subject, model: nn.Module, repeats: int) -> list[Finding]:
    """Compare PGD-10 that leaves an image alone once it fools the model with torchattacks', which takes all steps."""
    images, labels = _attacked(subject)
    ours = partial(craft, "pgd", model, images, labels, step_size=STEP, steps=STEPS, seed=1, stop_when_fooled=True)
    other = partial(_torchattacks_pgd, model, images, labels, EPS)
    path = f"robust accuracy under PGD-10, {_named(subject)}"
    times = interleaved({"ours": partial(ours, eps=EPS), "other": other}, repeats)
    note, equal = fooled_by_both(model, images, labels)
    rates = [f"{len(images) / median(taken.cpu for taken in times[side]):.0f}" for side in ("other", "ours")]
    note += f"; {rates[0]} and {rates[1]} images per CPU second"
    findings = compared(path, _OTHER, times["ours"], times["other"], times_as_fast(5), note, equal=equal)
    nobody = 0.01 / 255
    times = interleaved({"ours": partial(ours, eps=nobody), "other": other}, repeats, warm_up=False)
    note = "each image takes all steps, and one forward more"
    return (
        findings + compared(f"{path}, a budget that fools nobody", _OTHER, times["ours"], times["other"], note=note)[:1]
    )


def fooled_by_both(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[str, bool]:
    """Return, from the same random starts, whom torchattacks fools and whom ours does, in a sentence; and whether ours
    misses nobody.

    Within the budget of the comparison, and within one that some images resist: where all are fooled, few are missed.
    """
    told, missed = [], 0
    for eps in (EPS, SMALL_EPS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            starts = [torch.empty_like(part).uniform_(-eps, eps) for part in torch.split(images, BATCH)]
        theirs = predict(model, _torchattacks_pgd(model, images, labels, eps)) != labels
        with undisturbed(model), laid_out(model, image=images[:1]):
            changed = pgd(
                model,
                images,
                labels,
                eps=eps,
                step_size=eps / 4,  # as theirs
                steps=STEPS,
                start=torch.cat(starts),
                stop_when_fooled=True,
                batch_size=64,
            )
        ours = predict(model, changed) != labels
        missed += int((theirs & ~ours).sum())
        told.append(
            f"within {255 * eps:g}/255 torchattacks fools {int(theirs.sum())} of {len(images)}, ours {int(ours.sum())} "
            f"and misses {int((theirs & ~ours).sum())} of those"
        )
    right = float((predict(model, images) == labels).float().mean())
    return f"{right:.0%} right when clean; from the same starts, {'; '.join(told)}", missed == 0


def full(subject: Subject, model: nn.Module, repeats: int) -> list[Finding]:
    """Compare PGD-10 with all its steps with torchattacks', and with the peak of a matrix product."""
    images, labels = _attacked(subject)
    multiply, products = _product()
    times = interleaved(
        {
            "ours": partial(craft, "pgd", model, images, labels, eps=EPS, step_size=STEP, steps=STEPS, seed=1),
            "other": partial(_torchattacks_pgd, model, images, labels, EPS),
            "product": multiply,
        },
        repeats,
    )
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        model(images[:1])
    work = 2 * forward.get_total_flops() * STEPS * len(images)  # the gradient of the input takes as many again
    rates = [work / taken.cpu for taken in times["ours"]]
    peaks = [products * 2 * PRODUCT**3 / taken.cpu for taken in times["product"]]
    path = f"full PGD-10, {_named(subject)}"
    share = [100 * rate / peak for rate, peak in zip(rates, peaks, strict=True)]
    step = work / STEPS / len(images) / 1e9
    note = f"peak {max(peaks) / 1e9:.0f} GFLOP/s, {PRODUCT}³ float32 by oneDNN; {step:.2f} GFLOP a step and image"
    return [
        *compared(path, _OTHER, times["ours"], times["other"], times_as_fast(1.6)),
        Finding(path, "", "% of the matrix-product peak", share, [], at_least(80), note),
    ]


def fab(subject: Subject, model: nn.Module, repeats: int) -> list[Finding]:
    """Compare FAB, and the worst case over PGD and FAB, with torchattacks' as shipped."""
    images, labels = _attacked(subject)
    order: dict[str, Any] = {"eps": SMALL_EPS, "step_size": SMALL_EPS / 4, "steps": STEPS, "seed": 1}
    ours = partial(craft, "fab", model, images, labels, **order)
    worst = partial(cascade, ("pgd", "fab"), model, images, labels, **order)
    return [
        *_fab("FAB", subject, model, ours, times_as_fast(2), repeats, pgd=False),
        *_fab("worst case of PGD-10 and FAB", subject, model, worst, times_as_fast(2), repeats, pgd=True),
    ]


def _fab(
    path: str,
    subject: Subject,
    model: nn.Module,
    attack: Callable[[], Tensor],
    target: Target,
    repeats: int,
    *,
    pgd: bool,
) -> list[Finding]:
    """Compare an attack of ours with torchattacks' FAB, or with its PGD and its FAB; ours must leave no traces."""
    images, labels = _attacked(subject)
    fooled: dict[str, Tensor] = {}
    left: dict[str, Traces] = {}

    def ours() -> Tensor:
        return predict(model, attack()) != labels

    def other() -> Tensor:
        attacks = [_pgd_of(model, SMALL_EPS)] * pgd + [_fab_of(model)]
        each = [predict(model, _in_batches(one, images, labels)) != labels for one in attacks]
        return torch.stack(each).any(dim=0)

    def side(name: str, work: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            fooled[name], left[name] = traced(model, work)

        return run

    times = interleaved({"ours": side("ours", ours), "other": side("other", other)}, repeats, warm_up=False)
    note = (
        f"within 2/255 torchattacks fools {int(fooled['other'].sum())} of {len(images)}, "
        f"ours {int(fooled['ours'].sum())}; {in_words(left['other'], left['ours'])}"
    )
    against = "torchattacks FAB as shipped" + (" and PGD" if pgd else "")
    path, clean = f"{path}, {_named(subject)}", left["ours"] == CLEAN
    return compared(path, against, times["ours"], times["other"], target, note, equal=clean)


_OTHER = "torchattacks PGD, batch 128"


def _named(subject: Subject) -> str:
    name = {"resnet9": "ResNet-9", "resnet18": "ResNet-18"}[subject.name]
    return f"{name} width {subject.width}, {subject.images} images"


def _attacked(subject: Subject) -> tuple[Tensor, Tensor]:
    held = records(subject.images, 1)
    return as_float(held.images), held.labels


def _torchattacks_pgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return _in_batches(_pgd_of(model, eps), images, labels)


def _pgd_of(model: nn.Module, eps: float) -> Callable[[Tensor, Tensor], Tensor]:
    attack: Callable[[Tensor, Tensor], Tensor] = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=STEPS)
    return attack


def _fab_of(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    attack: Callable[[Tensor, Tensor], Tensor] = torchattacks.FAB(model, eps=SMALL_EPS, steps=STEPS, n_classes=CLASSES)
    return attack


def _in_batches(attack: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    parts = zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True)
    return torch.cat([attack(*part) for part in parts])


def _product(products: int = 8) -> tuple[Callable[[], None], int]:
    """Return a function that multiplies two matrices so many times, and how many.

    oneDNN multiplies, which also computes the convolutions: torch.mm takes MKL, and MKL half the vector width of some
    processors of other makers than its own.
    """
    left, right = torch.rand(2, PRODUCT, PRODUCT)

    def multiply() -> None:
        with torch.no_grad():
            for _ in range(products):
                torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")

    return multiply, products
