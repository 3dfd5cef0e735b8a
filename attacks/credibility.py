"""Is the evaluation to be believed? Checks that flag an attack which failed rather than a model which resisted.

Every function but ``measure_gradients`` is pure: measured numbers in, findings out; an empty tuple says that nothing is
amiss. Accuracies are robust accuracies, fractions in [0, 1], over the same ``n`` images. They may be mean Dice instead,
with ``score="dice"``: a score in [0, 1] scatters no more than right and wrong of the same mean, so that the tests, made
for these, flag less of it and never more. Sources: Athalye et al. 2018
(arXiv 1802.00420), Carlini et al. 2019 (arXiv 1902.06705), Croce & Hein 2020 (arXiv 2003.01690), Pintor et al. 2022
(arXiv 2106.09947).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb, sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from attacks.batches import batch_size, device_of
from attacks.gradients import input_gradient
from attacks.guard import undisturbed
from common.intervals import Z95, wilson
from common.records import as_float

CHANCE = 0.025
"""A difference counts as more than chance if luck alone would show it in fewer than this share of evaluations."""
ZERO_SHARE = 0.05
"""Gradients vanish if they are exactly zero for at least this share of the images."""
SURVIVORS_SHARE = 0.01
"""An unbounded attack leaves accuracy if, beyond chance, more than this share of the images survives it."""

UNBOUNDED = {"eps": 1.0, "step_size": 0.1, "steps": 25}
"""Options with which ``pgd`` can reach any image from any other; 10 steps of 2/255 could not, whatever the budget."""


@dataclass(frozen=True)
class Finding:
    """Something that a reader must know before believing the numbers.

    Attributes:
        severity: ``unreliable``: the robust accuracies are not to be believed; ``note``: they are, with this in mind.
        sentence: one full sentence, with the numbers.
    """

    severity: Literal["unreliable", "note"]
    sentence: str


@dataclass(frozen=True)
class Gradients:
    """What the input gradients of a model look like over ``n`` images.

    Attributes:
        zero_images: share of images whose whole gradient is exactly zero.
        zero_values: share of single gradient values that are exactly zero.
        broken_images: share of images whose gradient is not finite.
        n: number of images.
    """

    zero_images: float
    zero_values: float
    broken_images: float
    n: int


def is_credible(findings: Sequence[Finding]) -> bool:
    """Tell whether none of the findings makes the evaluation unreliable."""
    return all(finding.severity != "unreliable" for finding in findings)


def check_weaker_threat(
    threat: str,
    accuracy: float,
    white_box: float,
    n: int,
    *,
    target: str = "",
    only: tuple[int, int] | None = None,
    score: str = "accuracy",
) -> tuple[Finding, ...]:
    """Flag a query or transfer attack that beats white-box: whoever holds the model can do all that others can.

    ``white_box`` must come from gradients alone; a worst case that includes queries cannot be beaten by them.

    Args:
        threat: ``query`` or ``transfer``, for the sentence.
        accuracy: under that threat.
        white_box: under white-box gradients.
        n: images that both were measured on.
        target: ``fp32`` or ``int8``, for the sentence.
        only: images fooled by ``threat`` alone and by white-box alone, or more by the one than by the other. Where
            known the test is exact and paired (McNemar's, the sign test); otherwise the two accuracies are compared as
            if independent, which flags less.
        score: what an accuracy is called, for the sentence.
    """
    beaten = _more_often(*only) if only is not None else _lower(accuracy, white_box, n)
    if not beaten:
        return ()
    return _unreliable(
        f"{_of(target)}a {threat} attack leaves {_share(accuracy, score)} where white-box gradients leave "
        f"{_percent(white_box)} {_over(score)} the same {n} images: the white-box attack is not the worst case"
    )


def check_single_step(
    pgd: float, fgsm: float, n: int, *, target: str = "", only: tuple[int, int] | None = None
) -> tuple[Finding, ...]:
    """Flag PGD that is weaker than FGSM beyond chance, at one budget on the same ``n`` images.

    ``only``: images that FGSM alone and PGD alone fools, or one more than the other; as for ``check_weaker_threat``.
    """
    if not (_more_often(*only) if only is not None else _lower(fgsm, pgd, n)):
        return ()
    return _unreliable(
        f"{_of(target)}many small steps (PGD, {_percent(pgd)}) hurt less than a single one (FGSM, {_percent(fgsm)}; "
        f"n = {n}): the gradients lead astray"
    )


def check_budgets(accuracies: Sequence[tuple[float, float]], n: int, *, target: str = "") -> tuple[Finding, ...]:
    """Flag a larger budget that does not hurt more.

    Unreliable: the accuracy rises beyond chance from one budget to the next, or the largest budget, at least twice
    the smallest, leaves no less than that. A note: the accuracy stands still or rises within chance on the way.

    Args:
        accuracies: (eps, robust accuracy) pairs in any order, of one attack on the same ``n`` images, whose steps
            can cross the largest budget.
        n: number of images.
        target: ``fp32`` or ``int8``, for the sentence.
    """
    ordered = sorted(accuracies)
    # Three survivors or fewer are within chance of none (the rule of three): nothing is left to hurt.
    pairs = [pair for pair in pairwise(ordered) if pair[0][1] * n > 3 and pair[1][1] >= pair[0][1]]
    for (small, before), (large, after) in pairs:
        if _lower(before, after, n):
            return _unreliable(_no_worse(target, small, before, large, after, n))
    if len(ordered) > 1:
        (small, before), (large, after) = ordered[0], ordered[-1]
        if large >= 2 * small and after >= before and before * n > 3:
            return _unreliable(_no_worse(target, small, before, large, after, n))
    return tuple(
        Finding("note", _no_worse(target, small, before, large, after, n)) for (small, before), (large, after) in pairs
    )


def check_unbounded(accuracy: float, n: int, *, target: str = "", score: str = "accuracy") -> tuple[Finding, ...]:
    """Flag accuracy that survives an unbounded attack (``UNBOUNDED``), which can turn any image into any other.

    ``score``: what it is called, for the sentence.
    """
    if wilson(accuracy, n)[0] <= SURVIVORS_SHARE:
        return ()
    return _unreliable(
        f"{_of(target)}an unbounded attack (eps = 1) leaves {_share(accuracy, score)} {_over(score)} {n} images: "
        "the attack fails, not the model resists"
    )


def check_gradients(gradients: Gradients, *, target: str = "") -> tuple[Finding, ...]:
    """Flag gradients that vanish or are not numbers; note the first zero ones."""
    lost = gradients.zero_images + gradients.broken_images
    if lost == 0:
        return ()
    sentence = (
        f"{_of(target)}the input gradient is exactly zero for {_percent(gradients.zero_images)} and not a number for "
        f"{_percent(gradients.broken_images)} of {gradients.n} images, so gradient attacks are blind there"
    )
    return _unreliable(sentence) if lost >= ZERO_SHARE else (Finding("note", sentence),)


def measure_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Gradients:
    """Measure the input gradients of the cross-entropy at the clean images; leaves no trace on the model.

    Args:
        model: logits [N, classes], or [N, classes, H, W], from images in [0, 1].
        images: [N, C, H, W], uint8 or float in [0, 1], at least one.
        labels: int64 [N], the true classes, or masks [N, H, W].

    Raises:
        UserError: the model's output has no gradient.
    """
    device = device_of(model, images)
    zero_images = zero_values = broken = 0.0
    with undisturbed(model):
        size = batch_size(model, as_float(images[:1]).to(device))
        for begin in range(0, len(images), size):
            batch = as_float(images[begin : begin + size]).to(device)
            gradient, _ = input_gradient(model, batch, labels[begin : begin + size].to(device))
            flat = gradient.flatten(1)
            zero_images += float((flat == 0).all(dim=1).sum())
            zero_values += float((flat == 0).float().mean(dim=1).sum())
            broken += float((~torch.isfinite(flat)).any(dim=1).sum())
    n = len(images)
    return Gradients(zero_images / n, zero_values / n, broken / n, n)


def _no_worse(target: str, small: float, before: float, large: float, after: float, n: int) -> str:
    return (
        f"{_of(target)}the budget {_grey(large)} leaves {_percent(after)} and the smaller {_grey(small)} "
        f"{_percent(before)} (n = {n}): a larger budget does not hurt more"
    )


def _lower(below: float, above: float, n: int) -> bool:
    """Tell whether ``below`` is lower than ``above`` by more than chance: two proportions over ``n``, one-sided."""
    if n <= 0 or below >= above:
        return False
    pooled = (below + above) / 2
    return above - below > Z95 * sqrt(2 * pooled * (1 - pooled) / n)


def _more_often(first: int, second: int) -> bool:
    """Tell whether ``first`` of first + second fair coin tosses is too many for chance (exact binomial tail)."""
    tosses = first + second
    tail: float = sum(comb(tosses, heads) for heads in range(first, tosses + 1)) / 2**tosses
    return tail < CHANCE


def _unreliable(sentence: str) -> tuple[Finding, ...]:
    return (Finding("unreliable", sentence),)


def _of(target: str) -> str:
    return f"{target}: " if target else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _share(value: float, score: str) -> str:
    return _percent(value) if score == "accuracy" else f"a {score.capitalize()} of {_percent(value)}"


def _over(score: str) -> str:
    return "of" if score == "accuracy" else "on"


def _grey(eps: float) -> str:
    return f"{eps * 255:.3g}/255"
