"""Test scores under poisoners and under who cheats in aggregating, protocol beside protocol, with every repeat."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.drawing import INK, RULE, styled
from experiments.study.marks import level
from experiments.study.outcome import DICE, OWN, Trained, own_score, score, trained
from experiments.study.points import Point, at, known, point, seen, slug, taken
from experiments.study.results import Estimate, Result
from experiments.study.sheet import (
    SMALL,
    TEXT,
    Heading,
    Margins,
    counted,
    nothing,
    panel_title,
    percent_axis,
    sheet,
    whole_range,
    width_of,
    wrapped,
)
from experiments.study.style import Look, line_key
from experiments.study.way import NOBODY
from experiments.study.way_looks import method_looks

LEAST, MOST = "lowest ", "highest "
"""Before a score's name: of all repeats."""
ATTACKED = "white-box"
_ROW, _LANE, _LINE, _LABEL = 0.1, 0.115, 0.15, 1.75
"""Inches of a row beside what is in it, of a lane, of a line of its name, and of the widest such line."""


def cheater_points(results: Sequence[Result]) -> list[Point]:
    """Return every cell's clean test score with the lowest and the highest of its repeats, the mean of the honest
    peers' own models, and what is left of fp32 and int8 under white-box attacks, as far as these were measured."""
    return [one for cell in trained(results) for one in _points(cell)]


def draw_cheaters(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw a row an attack, a mark a method: clean, and if measured int8 under white-box attacks.

    A figure a split and number of peers.
    """
    places = list(dict.fromkeys((one.where["split"], one.where["peers"]) for one in points))
    return [
        (slug(f"{split} {peers} peers") if number else "", _sheet(at(points, split=split, peers=peers), heading))
        for number, (split, peers) in enumerate(places)
    ]


def _points(cell: Trained) -> list[Point]:
    where = cell.where() | {"metric": cell.task}
    main = point(cell.results, where, score)
    found = [main]
    if main.estimate is not None and main.estimate.n > 1:
        for words, end in ((LEAST, min), (MOST, max)):
            value = end(main.estimate.values)
            one = Estimate(value, None, None, (value,))
            found.append(Point(where | {"metric": words + cell.task}, one, main.images))
    own = point(cell.results, where | {"metric": cell.task + OWN}, own_score)
    found += [own] if own.estimate is not None else []
    for target in ("fp32", "int8"):
        attacked = where | {"target": target, "threat": ATTACKED}
        metric = "dice" if cell.task == DICE else cell.task
        left = point(cell.results, attacked, partial(taken, target=target, threat=ATTACKED, metric=metric))
        found += [left] if left.estimate is not None else []
    return found


def _sheet(points: Sequence[Point], heading: Heading) -> Figure:
    task = next(str(one.where["metric"]) for one in points)
    scores = at(points, metric=task)
    clean, attacked = at(scores, threat="clean"), at(scores, threat=ATTACKED, target="int8")
    rows = [NOBODY, *(str(abuse) for abuse in seen(clean, "abuse") if abuse != NOBODY)]
    looks = method_looks(str(one.where["method"]) for one in points)
    names = ["\n".join(wrapped(row, _LABEL, SMALL)) for row in rows]
    lanes = _lanes(rows, looks, clean)
    heights = [
        max(_ROW + _LANE * len(lanes[row]), _ROW + _LINE * (1 + name.count("\n")))
        for row, name in zip(rows, names, strict=True)
    ]
    peers, split = points[0].where["peers"], points[0].where["split"]
    panels_of = [clean, *([attacked] if known(attacked) else [])]
    heading = heading.noting(
        f"{peers} peers. Split: {split}. All that misbehave are named at the left; all else is as in the first row.",
        "Large marks: means; whiskers: from the lowest to the highest repeat; small dots: single repeats.",
        counted([one for panel in panels_of for one in panel]),
    )
    with styled():
        figure, [panels] = sheet(
            heading, height=sum(heights), columns=len(panels_of),
            legend=[line_key(method, look) for method, look in looks.items()],
            margins=Margins(left=0.2 + max(width_of(line, SMALL) for name in names for line in name.split("\n")),
                            right=0.25, bottom=0.55),
        )  # fmt: skip
        for number, (axes, mine) in enumerate(zip(panels, panels_of, strict=True)):
            _draw(axes, mine, lanes, heights, looks)
            panel_title(axes, "int8 under white-box attacks" if number else "Clean, fp32")
            axes.set_yticks(
                [end - height / 2 for end, height in zip(accumulate(heights), heights, strict=True)],
                [] if number else names,
            )
            axes.set_xlabel(f"{task} (%)", size=TEXT)
        return figure


def _draw(
    axes: Axes,
    points: Sequence[Point],
    lanes: Mapping[str, Sequence[str]],
    heights: Sequence[float],
    looks: Mapping[str, Look],
) -> None:
    """Draw the rows from the top, each with its methods one below the other in its middle; the axis is in inches."""
    top = 0.0
    for number, ((row, methods), height) in enumerate(zip(lanes.items(), heights, strict=True)):
        if number % 2:
            axes.axhspan(top, top + height, color=RULE, alpha=0.35, linewidth=0, zorder=0)
        for lane, method in enumerate(methods):
            y = top + height / 2 + (lane - (len(methods) - 1) / 2) * _LANE
            for _, found in known(at(points, abuse=row, method=method)):
                level(axes, y, _spread(found), looks[method], aside=0.3 * _LANE, size=4.5)
        top += height
    if not known(points):
        nothing(axes)
    axes.set_ylim(top, 0)
    axes.tick_params(axis="y", labelcolor=INK)
    whole_range(axes.set_xlim)
    percent_axis(axes.xaxis, unit="")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)


def _spread(found: Estimate) -> Estimate:
    """Return an estimate whose ends are its lowest and its highest repeat."""
    return replace(found, low=min(found.values), high=max(found.values)) if found.n > 1 else found


def _lanes(rows: Sequence[str], looks: Mapping[str, Look], points: Sequence[Point]) -> dict[str, list[str]]:
    """Return the methods of each row, in the order of the legend."""
    return {row: [method for method in looks if at(points, abuse=row, method=method)] for row in rows}
