"""The figure of any study: accuracy at every point of its own axes, without attack and in the worst case."""

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from experiments.drawing import INK, RULE, styled
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

PAGE = 40
"""Rows of one figure; a larger grid goes on in the next."""
Row = tuple[tuple[str, Value], ...]
"""A point of the grid: (axis, value there), …"""
_OWN = ("target", "threat", "generator", "metric")
_ROW = 0.26


def coordinate_points(results: Sequence[Result]) -> list[Point]:
    """Return int8's accuracy, clean and in the worst case, at every point of the study's axes."""
    groups: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(result.cell.coordinates.items()), []).append(result)
    return [
        point(
            cells,
            {
                **{f"axis {axis}" if axis in _OWN else axis: label for axis, label in key},
                "target": "int8", "threat": threat, "generator": "", "metric": "accuracy",
            },
            partial(taken, target="int8", threat=threat),
        )
        for key, cells in groups.items()
        for threat in ("clean", "all")
    ]  # fmt: skip


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
        f"Rows: {', '.join(axes_names)}." if alike and axes_names else "",
        measured_on(mine), missing(mine, [*dict.fromkeys(axis for row in rows for axis, _ in row), "threat"]),
        "Worst case: image by image over all adversaries tried.",
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
                nothing(axes, "no attack was tried" if threat == "all" else "not measured yet")
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


def _name(row: Row, alike: bool) -> str:
    """Return a row's name: the values, with their axes where rows have different ones."""
    return ", ".join(str(value) if alike else f"{axis}: {value}" for axis, value in row) or "the only cell"
