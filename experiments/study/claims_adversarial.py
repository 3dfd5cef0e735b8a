"""What adversarial training data cost and gain: the measurements behind the paper's claims on them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import mean

from common.intervals import wilson
from experiments.study.deciding import average, largest
from experiments.study.evidence import (
    TRAINED,
    Evidence,
    Finding,
    Numbers,
    Part,
    attacked_groups,
    clean,
    clean_groups,
    label,
    minus,
    under,
    without_data,
)
from experiments.study.results import Estimate, Result, estimated
from experiments.study.setting import Setting
from experiments.study.trial import Trial
from experiments.wording import percent

BEST = 0.2
"""The share of adversarial data that the paper finds usually best."""


def clean_cost(evidence: Evidence) -> Finding:
    """Return the largest loss of clean accuracy by adversarial training, FAB aside."""
    parts = []
    for setting, group, base in _trained(evidence.results):
        numbers = minus(clean(base, "fp32"), clean(group, "fp32"))
        if numbers and not _fab(setting):
            beside = {"without": clean(base, "fp32"), "with": clean(group, "fp32")}
            parts.append(Part(label(setting), numbers, beside, (*group, *base)))
    return Finding(largest([list(part.numbers.values()) for part in parts]), tuple(parts))


def fab_accuracy(evidence: Evidence, limit: float) -> Finding:
    """Return the mean clean accuracy of models trained on FAB's images.

    Args:
        evidence: finished cells.
        limit: below it a federation without adversarial data shows nothing, either.
    """
    parts, bases = [], []
    groups = clean_groups(evidence.results)
    for setting, group, base in _trained(evidence.results):
        if not _fab(setting):
            continue
        numbers, before = clean(group, "fp32"), clean(base, "fp32")
        beside = {"no adversarial data": before, "PGD": clean(groups.get(replace(setting, attack="pgd"), ()), "fp32")}
        parts.append(Part(label(setting), numbers, beside, (*group, *base)))
        bases.append(before)
    ours, base_line = average([part.numbers for part in parts]), average(bases)
    undecided = ""
    if ours is not None and (base_line is None or base_line.low is None or base_line.low <= limit):
        told = "was not measured twice" if base_line is None else f"is at {percent(base_line.mean)}"
        undecided = f"clean accuracy without adversarial data {told}, so a low accuracy with FAB is not FAB's doing"
    return Finding(ours, tuple(parts), undecided)


def best_share(evidence: Evidence) -> Finding:
    """Return in which share of comparisons 20 % of adversarial data gives the highest robust accuracy under transfer.

    A comparison is one attack in one repeat: the same federation with each share. A tie counts as a part of one. The
    interval is Wilson's over the comparisons, as if they were independent.
    """
    families: dict[tuple[Setting, Trial], dict[float, tuple[Result, ...]]] = {}
    for (setting, trial), group in attacked_groups(evidence.results).items():
        if setting.use == TRAINED and setting.share is not None:
            families.setdefault((replace(setting, share=None), trial), {})[setting.share] = group
    parts = []
    for (setting, _), by_share in families.items():
        robust = {share: under(group, "fp32", "transfer") for share, group in sorted(by_share.items())}
        numbers = _won(robust)
        if numbers:
            beside = {f"robust at {percent(share, 0)}": found for share, found in robust.items()}
            parts.append(
                Part(label(setting), numbers, beside, tuple(one for group in by_share.values() for one in group))
            )
    comparisons = [number for part in parts for number in part.numbers.values()]
    if not comparisons:
        return Finding(None)
    share = mean(comparisons)
    return Finding(Estimate(share, *wilson(share, len(comparisons)), tuple(comparisons)), tuple(parts))


def time_ratio(evidence: Evidence, above: str, below: str) -> Finding:
    """Return how many times the CPU seconds of one attack those of another are, on the same images."""
    seconds = evidence.facts.get("attack_seconds", {})
    ratios = _ratios(seconds.get(above, ()), seconds.get(below, ()))
    other = "pgd" if "pgd" not in (above, below) else ""
    against = estimated(_ratios(seconds.get(above, ()), seconds.get(other, ())))
    notes = (f"Against {other.upper()} it is {against.mean:.1f} times.",) if against is not None else ()
    parts = (Part(f"{above.upper()} / {below.upper()}", dict(enumerate(ratios))),) if ratios else ()
    return Finding(estimated(ratios), parts, notes=notes)


def _won(robust: dict[float, Numbers]) -> Numbers:
    """Return repeat → whether 20 % won, over the repeats that every share has; nothing without another share."""
    if BEST not in robust or len(robust) < 2:
        return {}
    won = {}
    for repeat in sorted(set.intersection(*(set(numbers) for numbers in robust.values()))):
        top = max(numbers[repeat] for numbers in robust.values())
        winners = [share for share, numbers in robust.items() if numbers[repeat] == top]
        won[repeat] = 1 / len(winners) if BEST in winners else 0.0
    return won


def _trained(results: Iterable[Result]) -> list[tuple[Setting, tuple[Result, ...], tuple[Result, ...]]]:
    """Return the settings with adversarial training, their cells, and the cells without any adversarial data."""
    groups = clean_groups(results)
    return [
        (setting, group, groups.get(without_data(setting), ()))
        for setting, group in groups.items()
        if setting.use == TRAINED
    ]


def _fab(setting: Setting) -> bool:
    return "fab" in (setting.attack or "").lower()


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=False) if other > 0]
