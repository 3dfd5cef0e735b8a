"""The figure of any study: accuracy at every point of its own axes, without attack and in the worst case."""

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.figure import Figure

from experiments.drawing import RULE, styled
from experiments.study.marks import level
from experiments.study.points import Point, Value, at, known, point, taken
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
    rows = list(dict.fromkeys(_row(one.where) for one in points))
    pages = [rows[start : start + PAGE] for start in range(0, len(rows), PAGE)]
    return [
        (str(number) if number > 1 else "", _page(points, heading, page, f"{number} of {len(pages)}"))
        for number, page in enumerate(pages, start=1)
    ]


def _page(points: Sequence[Point], heading: Heading, rows: Sequence[str], page: str) -> Figure:
    mine = [one for one in points if _row(one.where) in rows]
    left = min(3.2, 0.2 + max(width_of(row, SMALL) for row in rows))
    heading = heading.noting(
        measured_on(mine), missing(mine, [*(c for c in mine[0].where if c not in _OWN), "threat"]),
        "Worst case: image by image over all adversaries tried.",
        "" if page == "1 of 1" else f"Sheet {page}.",
    )  # fmt: skip
    with styled():
        figure, [panels] = sheet(
            heading, height=_ROW * len(rows) + 0.1, columns=2, margins=Margins(left=left, right=0.25, bottom=0.55)
        )
        for number, (axes, threat) in enumerate(zip(panels, ("clean", "all"), strict=True)):
            for y, row in enumerate(rows):
                for one, estimate in known(at(mine, threat=threat)):
                    if _row(one.where) == row:
                        level(axes, y, estimate, TARGETS["int8"], aside=0.24)
                if y % 2:
                    axes.axhspan(y - 0.5, y + 0.5, color=RULE, alpha=0.35, linewidth=0, zorder=0)
            if not known(at(mine, threat=threat)):
                nothing(axes, "no attack was tried" if threat == "all" else "not measured yet")
            panel_title(axes, "clean" if threat == "clean" else "worst case")
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.set_yticks(range(len(rows)), [] if number else [fitted(row, left - 0.15, SMALL) for row in rows])
            axes.tick_params(axis="y", labelcolor="#1c2126")
            whole_range(axes.set_xlim)
            percent_axis(axes.xaxis, unit="")
            axes.grid(axis="x")
            axes.spines["left"].set_visible(False)
            axes.set_xlabel("accuracy of int8 (%)", size=TEXT)
        return figure


def _row(where: Mapping[str, Value]) -> str:
    return ", ".join(f"{column}: {value}" for column, value in where.items() if column not in _OWN) or "the only cell"
