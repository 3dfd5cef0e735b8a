"""The worst case of several models side by side: over the adversaries that all of them met, or it compares nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.tables import TARGETS, select, threats, worst
from experiments.wording import listed
from server.measures import Measure

ALL = "all"
SAME = "same privacy"
"""Stands for the transfer generator that was trained as privately as its target."""
_QUERIES = "with queries"
Adversary = tuple[str, str]
"""Threat, and which of that threat: the generator of a transfer attack; whether queries are among a white-box's."""


def comparable(results: Sequence[Result]) -> list[Result]:
    """Return the results with worst cases that may stand side by side.

    Where all targets met the same adversaries, nothing changes: their worst case is taken image by image. Otherwise it
    becomes the lowest accuracy under any adversary that every target met: an upper bound of what is left image by
    image. Without a common adversary there is no worst case. Cells that nobody attacked do not count.

    A transfer generator is the same adversary for two targets if it has the same name, or if each is as private as its
    target. The insider holds the fp32 weights, so against fp32 it is the white-box adversary.
    """
    met = [one for result in results for target in TARGETS if (one := _met(result, target))]
    if not met or not any(select(result.measures, threat=ALL) for result in results):
        return list(results)
    shared = set.intersection(*(set(one) for one in met))
    if all(("transfer", same_privacy(result.setting)) in shared for result in results):
        shared.discard(("transfer", SAME))  # said already
    if all(_within(result, target, shared) for result in results for target in TARGETS):
        return list(results)
    told = _told(shared)
    return [_levelled(result, shared, told) for result in results]


def bounded_by(results: Iterable[Result], target: str) -> str:
    """Return which adversaries the worst cases of ``comparable`` are of, as a sentence; empty if image by image."""
    rows = (worst(result.measures, target, ALL) for result in results)
    told = next((row.generator for row in rows if row is not None and row.generator), "")
    if not told:
        return ""
    return f"Worst case: the lowest under {told}, which all of these met; an upper bound, not taken image by image."


def same_privacy(setting: Setting) -> str:
    """Return the name of the transfer generator that was trained as this setting: ``private`` or ``non-private``."""
    return "non-private" if setting.epsilon is None else "private"


def _met(result: Result, target: str) -> Mapping[Adversary, Measure]:
    """Return what each adversary left of a target; the generator of its own privacy is there under both names."""
    found: dict[Adversary, Measure] = {}
    queried = _QUERIES if select(result.measures, threat="query") else ""
    for threat in threats(select(result.measures, target=target, metric="accuracy")):
        if threat == ALL:
            continue
        names = ("",) if threat != "transfer" else _generators(result, target)
        for name in names:
            row = worst(result.measures, target, threat, generator=name or None)
            if row is None:
                continue
            found[threat, queried if threat == "white-box" else name] = row
            if threat == "white-box" and target == "fp32":
                found["insider", ""] = row
            if name and name == same_privacy(result.setting):
                found[threat, SAME] = row
    return found


def _generators(result: Result, target: str) -> tuple[str, ...]:
    rows = select(result.measures, target=target, threat="transfer", metric="accuracy")
    return tuple(dict.fromkeys(row.generator for row in rows))


def _within(result: Result, target: str, shared: set[Adversary]) -> bool:
    """Tell whether all that a target met, all others met as well."""
    own = ("transfer", same_privacy(result.setting))
    alike = {own} if ("transfer", SAME) in shared else set()
    mirrored = {("insider", "")} if target == "fp32" else set()
    return all(one in shared | alike | mirrored for one in _met(result, target) if one != ("transfer", SAME))


def _levelled(result: Result, shared: set[Adversary], told: str) -> Result:
    kept = [one for one in result.measures if one.threat != ALL]
    for target in TARGETS:
        left = [row for one, row in _met(result, target).items() if one in shared]
        if left and select(result.measures, target=target, threat=ALL):
            lowest = min(left, key=lambda row: row.value)
            kept.append(replace(lowest, threat=ALL, attack="worst", generator=told, repeat=None))
    return replace(result, measures=tuple(kept))


def _told(shared: set[Adversary]) -> str:
    """Return adversaries in words: ``insider, white-box and transfer (same privacy)``."""
    generators = sorted(name for threat, name in shared if threat == "transfer" and name != SAME)
    if ("transfer", SAME) in shared:
        generators.append(SAME)
    words = [f"{threat} {name}".strip() for threat, name in sorted(shared) if threat != "transfer"]
    return listed([*words, *([f"transfer ({', '.join(generators)})".replace(" ()", "")] if generators else [])])
