"""The figure of any study: accuracy at every point of its own axes, without attack and in the worst case."""

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from experiments.drawing import INK, RULE, styled
from experiments.study.alike import told_apart
from experiments.study.marks import level
from experiments.study.points import Point, Value, at, known, point, taken, threat_name
from experiments.study.results import Result
from experiments.study.sheet import (
    SMALL,
    TEXT,
    Heading,
    Margins,
    fitted,
    measured_on,
    missing,
    nothing,
    panel_title,
    percent_axis,
    sheet,
    whole_range,
    width_of,
)
from experiments.study.style import TARGETS
from experiments.study.worst_case import comparable

PAGE = 40
"""Rows of one figure; a larger grid goes on in the next."""
Row = tuple[tuple[str, Value], ...]
"""A point of the grid: (axis, value there), …"""
_OWN = ("target", "threat", "generator", "metric")
_AXIS = "axis "
"""Before the names of a study's axes, which may be called like any column."""
_ROW = 0.26


def coordinate_points(results: Sequence[Result]) -> list[Point]:
    """Return int8's accuracy, clean and in the worst case, at every point of the axes of every study.

    Cells at one point that differ in something else have a column that says in what.
    """
    groups = told_apart(comparable(results), lambda one: (one.cell.study, *one.cell.coordinates.items()))
    several = len({one.cell.study for one in results}) > 1
    points = []
    for group in groups:
        cell = group.results[0].cell
        where: dict[str, Value] = {"study": cell.study} if several else {}
        where |= {_AXIS + axis: label for axis, label in cell.coordinates.items()}
        where |= {"differs in": group.apart} if group.apart else {}
        for threat in ("clean", "all"):
            own = {"target": "int8", "threat": threat, "generator": "", "metric": "accuracy"}
            points.append(point(group.results, where | own, partial(taken, target="int8", threat=threat)))
    return points


def draw_coordinates(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw one row a point of the grid: clean accuracy beside that in the worst case over all adversaries."""
    rows = list(dict.fromkeys(_coordinates(one) for one in points))
    pages = [rows[start : start + PAGE] for start in range(0, len(rows), PAGE)]
    return [
        (str(number) if number > 1 else "", _page(points, heading, page, f"{number} of {len(pages)}"))
        for number, page in enumerate(pages, start=1)
    ]


def _page(points: Sequence[Point], heading: Heading, rows: Sequence[Row], page: str) -> Figure:
    mine = [one for one in points if _coordinates(one) in rows]
    axes_names = [axis for axis, _ in rows[0]]
    alike = all([axis for axis, _ in row] == axes_names for row in rows)
    names = [_name(row, alike) for row in rows]
    left = min(3.2, max(1.0, 0.2 + max(width_of(name, SMALL) for name in names)))
    heading = heading.noting(
        f"Rows: {', '.join(map(_called, axes_names))}." if alike and axes_names else "",
        measured_on(mine), missing(mine, [*dict.fromkeys(axis for row in rows for axis, _ in row), "threat"]),
        "" if any(one.note for one in mine) else "Worst case: image by image over all adversaries tried.",
        "" if page == "1 of 1" else f"Sheet {page}.",
    )  # fmt: skip
    with styled():
        figure, [panels] = sheet(
            heading, height=_ROW * len(rows) + 0.1, columns=2, margins=Margins(left=left, right=0.25, bottom=0.55)
        )
        for number, (axes, threat) in enumerate(zip(panels, ("clean", "all"), strict=True)):
            shown = known(at(mine, threat=threat))
            for one, estimate in shown:
                level(axes, rows.index(_coordinates(one)), estimate, TARGETS["int8"], aside=0.24)
            for y in range(1, len(rows), 2):
                axes.axhspan(y - 0.5, y + 0.5, color=RULE, alpha=0.35, linewidth=0, zorder=0)
            if not shown:
                nothing(axes, "no attack was tried" if threat == "all" else "not measured")
            panel_title(axes, threat_name(threat).capitalize())
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.set_yticks(range(len(rows)), [] if number else [fitted(name, left - 0.15, SMALL) for name in names])
            axes.tick_params(axis="y", labelcolor=INK)
            whole_range(axes.set_xlim)
            percent_axis(axes.xaxis, unit="")
            axes.grid(axis="x")
            axes.spines["left"].set_visible(False)
            axes.set_xlabel("accuracy of int8 (%)", size=TEXT)
        return figure


def _coordinates(one: Point) -> Row:
    return tuple((axis, value) for axis, value in one.where.items() if axis not in _OWN)


def _called(axis: str) -> str:
    return axis.removeprefix(_AXIS)


def _name(row: Row, alike: bool) -> str:
    """Return a row's name: the values, with their axes where rows have different ones."""
    return ", ".join(str(value) if alike else f"{_called(axis)}: {value}" for axis, value in row) or "the only cell"
