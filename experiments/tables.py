"""The table of results: one measure a row, read from ``results.csv``."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from common.errors import UserError
from common.intervals import wilson
from common.task_names import SCORES
from server.measures import PROPORTIONS, Measure

COLUMNS = tuple(field.name for field in fields(Measure))
TARGETS = ("fp32", "int8")
THREATS = ("clean", "white-box", "insider", "transfer", "query", "all")
"""In the order of a report; ``all`` is the worst case, image by image, over every threat."""


def read_measures(path: Path) -> tuple[Measure, ...]:
    """Read ``results.csv``.

    Raises:
        UserError: the file is missing or truncated, a column is missing, or a value is out of range; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} could not be read: {error}") from None
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path} is not a table of results: column '{missing[0]}' is missing")
        measures = tuple(_measure(row, f"{path}, line {reader.line_num}") for row in reader)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
    if not measures:
        raise UserError(f"{path} holds no measures; delete it and run the experiment again to evaluate anew")
    return measures


def select(
    measures: Iterable[Measure],
    *,
    target: str | None = None,
    threat: str | None = None,
    attack: str | None = None,
    generator: str | None = None,
    metric: str | None = None,
) -> tuple[Measure, ...]:
    """Return the measures that have every given value; None asks for nothing."""
    wanted = {"target": target, "threat": threat, "attack": attack, "generator": generator, "metric": metric}
    asked = {name: value for name, value in wanted.items() if value is not None}
    return tuple(one for one in measures if all(getattr(one, name) == value for name, value in asked.items()))


def score(measures: Iterable[Measure]) -> str:
    """Return the metric that a run is judged by: ``dice`` where it was measured, else ``accuracy``."""
    dice = SCORES["segmentation"]
    return dice if any(one.metric == dice for one in measures) else SCORES["classification"]


def clean(measures: Iterable[Measure], target: str, metric: str | None = None) -> Measure | None:
    """Return the target's measure on unchanged images, or None if it was not taken; without a metric the score."""
    rows = select(measures, target=target, threat="clean")
    return next(iter(select(rows, metric=metric or score(rows))), None)


def worst(
    measures: Iterable[Measure], target: str, threat: str, metric: str | None = None, generator: str | None = None
) -> Measure | None:
    """Return the target's measure under the strongest attack of a threat, or None if it was not taken.

    Without a metric it is the score, accuracy or Dice. The row ``attack = worst`` is taken where there is one (over all
    generators before one generator's); otherwise the attack that does most harm. With ``generator``, only what that
    one crafted counts.
    """
    rows = select(measures, target=target, threat=threat, generator=generator)
    rows = select(rows, metric=metric or score(rows))
    joint = select(rows, attack="worst")
    rows = select(joint, generator="") or joint or rows
    harm = -1.0 if metric == "attack_success" else 1.0
    return min(rows, key=lambda measure: harm * measure.value, default=None)


def threats(measures: Iterable[Measure]) -> tuple[str, ...]:
    """Return the threats measured (``clean`` not among them), in the order of ``THREATS``, then by first appearance."""
    found = dict.fromkeys(measure.threat for measure in measures)
    known = [threat for threat in THREATS if threat in found]
    return tuple(threat for threat in [*known, *(t for t in found if t not in THREATS)] if threat != "clean")


def targets(measures: Iterable[Measure]) -> tuple[str, ...]:
    """Return the targets measured, fp32 first."""
    found = dict.fromkeys(measure.target for measure in measures)
    return tuple([target for target in TARGETS if target in found] + [t for t in found if t not in TARGETS])


@dataclass(frozen=True)
class Summary:
    """Repeats of one attack as one measure: their mean, and the lowest and highest value seen."""

    mean: Measure
    repeats: int
    lowest: float
    highest: float


def over_repeats(measures: Iterable[Measure]) -> tuple[Summary, ...]:
    """Return one summary for all rows that differ in ``repeat`` only, in order of first appearance.

    A row stored without a repeat is the mean or the worst already and stands for itself; otherwise the mean is
    taken here, with the Wilson interval of one pass over ``n`` records (repeats re-attack the same images).
    """
    groups: dict[tuple[object, ...], list[Measure]] = {}
    for one in measures:
        key = (one.target, one.threat, one.attack, one.generator, one.eps, one.step_size, one.steps, one.metric)
        groups.setdefault(key, []).append(one)
    return tuple(_summary(rows) for rows in groups.values())


def _summary(rows: Sequence[Measure]) -> Summary:
    singles = [row for row in rows if row.repeat is not None]
    values = [row.value for row in singles] or [row.value for row in rows]
    joint = next((row for row in rows if row.repeat is None), None)
    if joint is None:
        first = rows[0]
        if len(rows) == 1:
            return Summary(first, 1, first.value, first.value)
        value = math.fsum(values) / len(values)
        low, high = wilson(value, first.n) if first.metric in PROPORTIONS else (None, None)
        fields = {column: getattr(first, column) for column in COLUMNS}
        joint = Measure(**{**fields, "repeat": None, "value": value, "low": low, "high": high})
    return Summary(joint, len(singles), min(values), max(values))


def _measure(row: dict[str, str | None], place: str) -> Measure:
    cells = {column: row.get(column) for column in COLUMNS}
    if None in row or None in cells.values():
        raise UserError(f"{place}: has not {len(COLUMNS)} cells; the file is damaged, delete it to evaluate anew")

    def number(column: str, *, required: bool = False, top: float = 1.0) -> float | None:
        cell = cells[column]
        if not cell:
            if required:
                raise UserError(f"{place}: {column} is empty; it must be a number")
            return None
        try:
            value = float(cell)
        except ValueError:
            raise UserError(f"{place}: {column} = '{cell}' is not a number") from None
        if not 0 <= value <= top:  # also false for NaN
            raise UserError(f"{place}: {column} = '{cell}' is not in [0, {top:g}]")
        return value

    def whole(column: str, *, required: bool = False) -> int | None:
        value = number(column, required=required, top=1e12)
        if value is not None and not value.is_integer():
            raise UserError(f"{place}: {column} = '{cells[column]}' is not a whole number")
        return None if value is None else int(value)

    return Measure(
        target=cells["target"] or "",
        threat=cells["threat"] or "",
        attack=cells["attack"] or "",
        generator=cells["generator"] or "",
        eps=number("eps"),
        step_size=number("step_size"),
        steps=whole("steps"),
        repeat=whole("repeat"),
        metric=cells["metric"] or "",
        value=number("value", required=True) or 0.0,
        n=whole("n", required=True) or 0,
        low=number("low"),
        high=number("high"),
    )
