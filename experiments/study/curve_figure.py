"""Learning curves: score on the public split against local updates, and against bytes moved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil, floor
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from common.folder import RunFolder
from experiments.curves import Step, read_curve
from experiments.drawing import styled
from experiments.study.outcome import AS_MANY_BYTES, Trained, by_updates, trained
from experiments.study.points import Point, Value, at, known, seen, slug
from experiments.study.results import Estimate, Result, estimated
from experiments.study.sheet import Heading, Margins, nothing, panel_title, percent_axis, sheet
from experiments.study.style import Look, line_key
from experiments.study.way import ALONE, FEDAVG, POOLED
from experiments.study.way_looks import method_looks, short
from experiments.wording import listed, size

UPDATES, BYTES = "local updates a peer", "bytes moved"
"""The two axes: what was computed, and what was sent."""
PUBLIC = " on public images"
"""Behind a score's name: of the public split, which the curves are measured on."""
_STILL = (POOLED, ALONE)
"""Methods that move no model."""
_TITLES = {UPDATES: "equal local updates", BYTES: "equal bytes"}


def curve_points(results: Sequence[Result]) -> list[Point]:
    """Return the score after each round against both axes, for every cell that nobody abuses.

    Of peers that merge nothing it is their own models' mean. Where one method ran for several lengths among the same
    peers, the longest counts: the shorter ones are its beginning.
    """
    cells = [one for one in trained(results) if not one.way.abuse]
    points = []
    for one in _longest(cells):
        curves = {result.cell.repeat: read_curve(RunFolder(result.path)) for result in reversed(one.results)}
        for steps in zip(*(curve for _, curve in sorted(curves.items())), strict=False):  # a repeat may lack rounds
            points += [_point(one, steps, axis) for axis in (UPDATES, BYTES)]
    return points


def draw_curves(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw a figure a split, a row of panels a number of peers: against local updates, and against bytes moved."""
    splits = [split for split in seen(points, "split") if split] or [""]
    return [
        ("" if number == 0 else slug(str(split)), _sheet(points, split, heading)) for number, split in enumerate(splits)
    ]


def _sheet(points: Sequence[Point], split: Value, heading: Heading) -> Figure:
    mine = [one for one in points if one.where["split"] in ("", split)]
    sizes = sorted({_number(one.where["peers"]) for one in mine} - {1})
    looks = method_looks(str(one.where["method"]) for one in mine)
    keys = [line_key(short(method), look) for method, look in looks.items()]
    repeats = {estimate.n for _, estimate in known(mine)}
    heading = heading.noting(
        f"Records are split: {split}." if split else "",
        "Thick lines: means; thin ones: single repeats; whiskers at the end: 95 % intervals (Student's t over repeats "
        "of the training)."
        if max(repeats, default=1) > 1
        else "A single repeat of the training, so that there are no intervals.",
        f"n = {_span(repeats)} repeat{'s' * (max(repeats, default=1) > 1)}; "
        f"{_span({count for one in mine for count in one.images})} public images, none of the test images.",
        "Left panels end with BrainTorrent's local updates, right panels with its bytes, which are means over repeats. "
        "For pooled training, a local update is as much work on a peer's share of all records.",
        f"Levels on the right: last scores of what moves no model ({listed(moved)})."
        if (moved := [name for name in _STILL if name in looks])
        else "",
    )
    with styled():
        figure, grid = sheet(
            heading,
            height=1.75,
            rows=max(1, len(sizes)),
            columns=2,
            legend=keys,
            margins=Margins(right=0.36, down=0.75, across=0.3),
        )
        low, high = _range(mine)
        for axes_row, peers in zip(grid, sizes or [1], strict=True):
            here = [one for one in mine if one.where["peers"] in (1, peers)]
            for axes, axis in zip(axes_row, (UPDATES, BYTES), strict=True):
                _panel(axes, here, axis, looks)
                panel_title(axes, f"{peers} peers, {_TITLES[axis]}" if sizes else _TITLES[axis])
                axes.set_ylim(low, high)
                percent_axis(axes.yaxis)
                axes.grid(axis="y")
                axes.set_xlabel(axis)
            axes_row[0].set_ylabel(str(seen(mine, "metric")[0]).removesuffix(PUBLIC))
            axes_row[1].tick_params(axis="y", labelleft=False)
        return figure


def _panel(axes: Axes, points: Sequence[Point], axis: str, looks: Mapping[str, Look]) -> None:
    ends = []
    for method, look in looks.items():
        line = [
            (float(where), estimate)
            for one, estimate in known(at(points, axis=axis, method=method))
            if isinstance(where := one.where["at"], int | float)
        ]
        if not line:
            continue
        if axis == BYTES and method in _STILL:
            axes.axhline(line[-1][1].mean, color=look.colour, linewidth=1.2, linestyle=(0, (1, 1.2)), zorder=1)
            continue
        if not method.startswith(FEDAVG) and method != POOLED:
            ends.append(line[-1][0])
        _line(axes, line, look)
    end = max(ends, default=None)
    if not axes.lines:
        nothing(axes)
    axes.set_xlim(0, None if not end else 1.02 * end)
    if axis == BYTES:
        _bytes_axis(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _line(axes: Axes, line: Sequence[tuple[float, Estimate]], look: Look) -> None:
    places = [where for where, _ in line]
    for number in range(min(one.n for _, one in line)):
        if line[-1][1].n > 1:
            axes.plot(places, [one.values[number] for _, one in line], color=look.colour, linewidth=0.6, alpha=0.45,
                      zorder=2)  # fmt: skip
    axes.plot(places, [one.mean for _, one in line], color=look.colour, linewidth=1.7, zorder=3)
    end = line[-1][1]
    if end.low is not None and end.high is not None:  # unlike marks elsewhere it is cut with the panel
        axes.errorbar(places[-1], end.mean, yerr=[[end.mean - end.low], [end.high - end.mean]], color=look.colour,
                      elinewidth=1.2, capsize=2, capthick=1.2, zorder=3)  # fmt: skip
    axes.plot(places[-1], end.mean, look.marker, color=look.colour, markersize=5, markeredgewidth=0.7,
              markeredgecolor="white", zorder=4)  # fmt: skip


def _point(one: Trained, steps: Iterable[Step], axis: str) -> Point:
    steps = tuple(steps)
    scores = [step.own if one.way.method == ALONE and step.own is not None else step.score for step in steps]
    if axis == UPDATES:
        where = mean(step.local_updates for step in steps) / one.way.peers
    else:
        where = mean(0 if one.way.method == POOLED else step.bytes_moved for step in steps)
    place = one.where() | {"axis": axis, "round": steps[0].round, "at": round(where, 6), "metric": one.task + PUBLIC}
    return Point(place, estimated(scores), tuple(sorted({step.images for step in steps})))


def _longest(cells: Sequence[Trained]) -> list[Trained]:
    """Return of each method among the same peers the cell that made most local updates, in the order of the cells.

    FedAvg's first rounds do not depend on how many follow. What no curve needs is called by its method's plain name.
    """
    found: dict[tuple[Value, ...], Trained] = {}
    for one in cells:
        where = _plain(one).where()
        key = tuple(value for column, value in where.items() if column != "local updates")
        best = found.get(key)
        if best is None or one.way.updates > best.way.updates:
            found[key] = one
    return [_plain(one) for one in found.values()]


def _plain(one: Trained) -> Trained:
    plain = one.name.replace(AS_MANY_BYTES, FEDAVG).replace(by_updates(one.way.updates), FEDAVG)
    return replace(one, name=plain)


def _range(points: Sequence[Point]) -> tuple[float, float]:
    """Return limits that hold every repeat, at whole steps of 5 %."""
    values = [value for _, estimate in known(points) for value in estimate.values]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return max(-0.03, floor(20 * low - 0.5) / 20), min(1.03, ceil(20 * high + 0.5) / 20)


def _bytes_axis(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(nbins=4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0 else size(value)))


def _number(value: Value) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _span(numbers: set[int]) -> str:
    return "–".join(str(number) for number in sorted({min(numbers), max(numbers)}))
