"""What int8 costs and gains: the measurements behind the paper's claims on compression."""

from collections.abc import Iterable
from typing import Any

from experiments.study.deciding import average, exact, farthest, largest
from experiments.study.evidence import (
    Evidence,
    Finding,
    Part,
    attacked_groups,
    clean,
    clean_groups,
    label,
    minus,
    success,
    under,
    unique,
)
from experiments.wording import percent, size

NOTHING = 0.0005
"""Robust accuracies below it are printed as 0.0 %."""


def reduction(evidence: Evidence, model: str) -> Finding:
    """Return how much smaller int8 makes a network of the paper's width, counted as the paper counts if possible."""
    facts: Any = evidence.facts.get("sizes", {}).get(model)
    if not facts:
        return Finding(None)
    file, state = float(facts["reduction"]), facts.get("state_dict_reduction")
    notes = [
        f"As deployed: {size(facts['fp32_bytes'])} of fp32 weights, {size(facts['int8_bytes'])} as int8 ONNX, "
        f"−{percent(file)}."
    ]
    own = sorted(
        {
            round(float(result.evaluation["compression"]["size_reduction"]), 3)
            for result in unique(evidence.results)
            if result.setting.model == model
        }
    )
    if own:
        seen = percent(own[0]) if len(own) == 1 else f"{percent(own[0])} to {percent(own[-1])}"
        notes.append(f"The narrower networks of the cells below save {seen}.")
    return Finding(exact(file if state is None else float(state)), notes=tuple(notes))


def accuracy_on_average(evidence: Evidence) -> Finding:
    """Return the mean change of clean accuracy by int8 over all settings."""
    parts = _changes(evidence)
    return Finding(average([part.numbers for part in parts]), parts)


def accuracy_everywhere(evidence: Evidence) -> Finding:
    """Return the largest change of clean accuracy by int8, up or down, of any setting."""
    parts = _changes(evidence)
    return Finding(farthest(_lists(parts)), parts)


def largest_gain(evidence: Evidence, threat: str, model: str | None = None) -> Finding:
    """Return the largest gain of robust accuracy by int8 over settings where anything is kept."""
    parts, notes, undecided = _off_the_floor(gains(evidence, threat, model))
    return Finding(largest(_lists(parts)), parts, undecided, notes)


def mean_gain(evidence: Evidence, threat: str) -> Finding:
    """Return the mean gain of robust accuracy by int8 over settings where anything is kept."""
    parts, notes, undecided = _off_the_floor(gains(evidence, threat))
    return Finding(average([part.numbers for part in parts]), parts, undecided, notes)


def gains(evidence: Evidence, threat: str, model: str | None = None) -> tuple[Part, ...]:
    """Return what int8 gains over fp32 in each setting, repeat by repeat.

    The insider crafts on the fp32 model, so what it leaves of int8 is set against what the same images leave of fp32:
    fp32's white-box accuracy.
    """
    parts = []
    for (setting, _), group in attacked_groups(evidence.results).items():
        against = "white-box" if threat == "insider" else threat
        numbers = minus(under(group, "int8", threat), under(group, "fp32", against))
        if numbers and model in (None, setting.model):
            beside = {
                "fp32": under(group, "fp32", against),
                "int8": under(group, "int8", threat),
                "attack success": minus(success(group, "int8", threat), success(group, "fp32", against)),
            }
            parts.append(Part(label(setting), numbers, beside, group, frozenset({"attack success"})))
    return tuple(parts)


def _off_the_floor(parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], tuple[str, ...], str]:
    """Return the settings in which fp32 or int8 keeps anything, how many others there are, and what that leaves open.

    Where the attack takes everything from both, a gain of 0 − 0 says nothing. Where int8 alone keeps some, it does.
    """
    kept = tuple(part for part in parts if any(max(part.beside[name].values()) >= NOTHING for name in ("fp32", "int8")))
    left_out = len(parts) - len(kept)
    if not left_out:
        return kept, (), ""
    if not kept:
        return kept, (), "in every setting the attack takes everything from fp32 and from int8, and 0 − 0 says nothing"
    told = f"{left_out} of {len(parts)} settings left out: neither fp32 nor int8 keeps anything (0.0 %), and 0 − 0"
    return kept, (f"{told} says nothing.",), ""


def _changes(evidence: Evidence) -> tuple[Part, ...]:
    parts = []
    for setting, group in clean_groups(evidence.results).items():
        before, after = clean(group, "fp32"), clean(group, "int8")
        if numbers := minus(after, before):
            parts.append(Part(label(setting), numbers, {"fp32": before, "int8": after}, group))
    return tuple(parts)


def _lists(parts: Iterable[Part]) -> list[list[float]]:
    return [list(part.numbers.values()) for part in parts]
