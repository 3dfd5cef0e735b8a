"""Points: the numbers that a figure draws and its table prints, each with where it was measured and on what."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.study.results import Estimate, Result, by_setting, estimate
from experiments.study.setting import Setting
from experiments.study.worst_case import bounded_by
from experiments.tables import TARGETS, clean, worst
from experiments.wording import grey_levels
from server.measures import Measure

Value = str | float | None
Taken = tuple[float, int] | None
"""A value of one cell and the test images behind it; None: not measured."""
BOUNDS = {
    "accuracy": (0.0, 1.0),
    "Dice": (0.0, 1.0),
    "attack success": (0.0, 1.0),
    "accuracy loss": (-1.0, 1.0),
    "accuracy of own models": (0.0, 1.0),
    "Dice of own models": (0.0, 1.0),
}
"""Metric → what it can be at all: an interval that reaches beyond is cut there, which loses no coverage."""


@dataclass(frozen=True)
class Point:
    """One number of a figure.

    Attributes:
        where: column → value there (data, model, epsilon, use, … target, threat, generator, metric); None: none.
        estimate: mean over the repeats with its interval; None: expected, but not measured.
        images: how many test images are behind each repeat; several numbers where the repeats differ.
        note: a sentence that belongs beside the number; empty: none.
    """

    where: Mapping[str, Value]
    estimate: Estimate | None
    images: tuple[int, ...] = ()
    note: str = ""


def place(setting: Setting) -> dict[str, Value]:
    """Return the columns that say where a setting lies."""
    return {
        "data": setting.data,
        "model": setting.model,
        "epsilon": setting.epsilon,
        "use": setting.use,
        "training attack": setting.attack,
        "share": setting.share,
        "budget": setting.budget,
    }


def taken(result: Result, target: str, threat: str, generator: str | None = None, metric: str = "accuracy") -> Taken:
    """Return a cell's measure under a threat, the worst over attacks image by image, or None.

    Args:
        result: the cell.
        target: ``fp32`` or ``int8``.
        threat: ``clean`` or a threat.
        generator: of a transfer attack; None: the worst of all.
        metric: ``accuracy``, or ``attack success`` among the images that the target had right.
    """
    column = metric.replace(" ", "_")
    found: Measure | None
    if threat == "clean":
        found = clean(result.measures, target, column)
    else:
        found = worst(result.measures, target, threat, column, generator)
    return None if found is None else (found.value, found.n)


def clean_of_attacked(result: Result, target: str, threat: str, generator: str | None = None) -> float | None:
    """Return a cell's accuracy on those test images that were attacked, before the attack, or None.

    Success is measured among the images that were right, accuracy on all that were attacked: the share is theirs.
    Without any right image there is no success to measure.
    """
    attacked = worst(result.measures, target, threat, "accuracy", generator)
    right = worst(result.measures, target, threat, "attack_success", generator)
    return None if attacked is None or not attacked.n else (right.n if right is not None else 0) / attacked.n


def point(results: Iterable[Result], where: Mapping[str, Value], take: Callable[[Result], Taken]) -> Point:
    """Return the mean over the repeats of some cells of one setting, its interval kept within what is possible."""
    results = tuple(results)

    def value(result: Result) -> float | None:
        one = take(result)
        return None if one is None else one[0]

    images = {one[1] for result in results if (one := take(result)) is not None}
    found = estimate(results, value)
    low, high = BOUNDS.get(str(where.get("metric")), (0.0, float("inf")))
    if found is not None and found.low is not None and found.high is not None:
        found = replace(found, low=max(low, found.low), high=min(high, found.high))
    note = bounded_by(results, str(where.get("target"))) if where.get("threat") == "all" else ""
    return Point(where, found, tuple(sorted(images)), note)


def scored(
    setting: Setting,
    cells: Iterable[Result],
    target: str,
    threat: str,
    generator: str | None = None,
    metric: str = "accuracy",
    *,
    called: str = "",
) -> Point:
    """Return a setting's mean under a threat, see ``taken``; ``called`` is written for the generator's name."""
    where = {**place(setting), "target": target, "threat": threat, "generator": called or generator or "",
             "metric": metric}  # fmt: skip
    return point(cells, where, lambda one: taken(one, target, threat, generator, metric))


def known(points: Iterable[Point]) -> list[tuple[Point, Estimate]]:
    """Return the points that were measured, with their estimates."""
    return [(one, one.estimate) for one in points if one.estimate is not None]


def at(points: Iterable[Point], **where: Value) -> list[Point]:
    """Return the points that lie there; ``training_attack`` stands for the column ``training attack``."""
    asked = {column.replace("_", " "): value for column, value in where.items()}
    return [one for one in points if all(one.where.get(column) == value for column, value in asked.items())]


def seen(points: Iterable[Point], column: str) -> list[Value]:
    """Return the different values of a column, in order of first appearance."""
    return list(dict.fromkeys(one.where.get(column) for one in points))


def privacies(values: Iterable[float | None]) -> list[float | None]:
    """Return every different ε once, without privacy first, then from the weakest guarantee to the strongest."""
    return sorted(set(values), key=lambda epsilon: -float("inf") if epsilon is None else -epsilon)


def threats_measured(results: Iterable[Result]) -> list[str]:
    """Return the threats that any cell was attacked under, in the order of a report, ``all`` last."""
    return in_order(measure.threat for result in results for measure in result.measures if measure.threat != "clean")


def in_order(threats: Iterable[str]) -> list[str]:
    """Return different threats in the order of a report: ``clean`` first, ``all`` last, unknown ones before it."""
    order = ("clean", "white-box", "insider", "transfer", "query")
    return sorted(set(threats), key=lambda one: (one == "all", order.index(one) if one in order else len(order), one))


def concerns(threat: str, target: str) -> bool:
    """Tell whether a threat is one to this target: an insider holds the fp32 weights, so fp32 has white-box only."""
    return not (threat == "insider" and target == "fp32")


def by_target(results: Sequence[Result]) -> list[tuple[Setting, tuple[Result, ...], str]]:
    """Return every setting with its cells, once for each target."""
    return [(setting, cells, target) for setting, cells in by_setting(results).items() for target in TARGETS]


@dataclass(frozen=True)
class Family:
    """Results that belong into one figure.

    Attributes:
        suffix: for a file's name, empty if there is one family only.
        subtitle: what they have in common, for people.
        results: theirs.
    """

    suffix: str
    subtitle: str
    results: tuple[Result, ...]


def families(results: Sequence[Result], columns: Sequence[str]) -> list[Family]:
    """Return the results split by columns of ``place``, in order of first appearance."""
    groups: dict[tuple[Value, ...], list[Result]] = {}
    for result in results:
        where = place(result.setting)
        groups.setdefault(tuple(where[column] for column in columns), []).append(result)
    differing = [number for number in range(len(columns)) if len({key[number] for key in groups}) > 1]
    found: list[Family] = []
    for key, members in groups.items():
        suffix = slug("-".join(words(columns[number], key[number]) for number in differing))
        taken_already = sum(one.suffix == suffix or one.suffix.startswith(f"{suffix}~") for one in found)
        parts = [("attacks within eps = " if column == "budget" else "") + words(column, value)
                 for column, value in zip(columns, key, strict=True)]  # fmt: skip
        found.append(Family(suffix + f"~{taken_already + 1}" * bool(taken_already), ", ".join(parts), tuple(members)))
    return [replace(one, suffix=one.suffix.replace("~", "-")) for one in found]


def words(column: str, value: Value) -> str:
    """Return a value of a column as people read it: ``ε = 1.7``, ``20 %``, ``8/255``, ``FGSM``."""
    if column == "epsilon":
        return "non-private" if value is None else f"ε = {value:g}"
    if value is None or value == "":
        return ""
    if column == "share" and isinstance(value, float | int):
        return f"{100 * value:g} %"
    if column == "budget" and isinstance(value, float | int):
        return grey_levels(value)
    if column in ("training attack", "attack"):
        return attack_name(str(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def threat_name(threat: str) -> str:
    """Return a threat within a sentence: ``no adversary``, ``white-box``, ``worst case`` for all of them together."""
    return {"clean": "no adversary", "all": "worst case"}.get(threat, threat)


def attack_name(attack: str) -> str:
    """Return ``FGSM`` for ``fgsm``; the short names are abbreviations, others stay."""
    return attack.upper() if attack in ("fgsm", "pgd", "fab") else attack.capitalize() if attack == "square" else attack


def slug(text: str) -> str:
    """Return words as a part of a file's name: small letters, figures, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("ε = ", "epsilon-")).strip("-.")
