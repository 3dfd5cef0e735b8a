"""The trade-off between clean and robust accuracy over all combinations of defences, with its Pareto front."""

from collections.abc import Sequence
from math import cos, hypot, pi, sin

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.drawing import FP32, INK, INT8, MUTED, styled
from experiments.study.defences import DEFENDED, name
from experiments.study.points import (
    Point,
    at,
    by_target,
    known,
    scored,
)
from experiments.study.results import Estimate, Result
from experiments.study.sheet import SMALL, Heading, Margins, counted, percent_axis, sheet
from experiments.study.style import Look, line_key, marker_key
from experiments.study.worst_case import comparable

Pair = tuple[Point, Estimate, Estimate]
"""A federation and target with its clean and its robust accuracy."""


def trade_off_points(results: Sequence[Result]) -> list[Point]:
    """Return clean accuracy and that in the worst case over all adversaries, for every defended setting and target."""
    return [
        scored(setting, cells, target, threat)
        for setting, cells, target in by_target(comparable([one for one in results if one.setting.use in DEFENDED]))
        for threat in ("clean", "all")
    ]


def front(values: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of those pairs that no other one reaches in both and exceeds in one, by falling first value.

    Equal pairs are all in it.
    """
    chosen = [
        number
        for number, (x, y) in enumerate(values)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in values)
    ]
    return sorted(chosen, key=lambda number: (-values[number][0], number))


def draw_trade_off(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw robust against clean accuracy; those on the front are numbered and named below."""
    pairs = _pairs(points)
    ahead = [pairs[number] for number in front([(clean.mean, robust.mean) for _, clean, robust in pairs])]
    names = "; ".join(f"{number} {name(one.where)}" for number, (one, _, _) in enumerate(ahead, start=1))
    keys = [
        marker_key("fp32", Look(FP32, "o")), marker_key("int8", Look(INT8, "o")),
        marker_key("non-private", Look(MUTED, "s")), marker_key("private", Look(MUTED, "o")),
        marker_key("adversarially trained (hollow: not)", Look(MUTED, "D")),
        line_key("Pareto front of the means", Look(INK, "", (0, (1, 1.2)))),
    ]  # fmt: skip
    heading = heading.noting(
        f"On the front: {names}." if names else "",
        "Whiskers: 95 % intervals (Student's t over repeats); where they overlap, the front may run otherwise. "
        + counted(points),
        _half(points),
    )
    with styled():
        figure, [[axes]] = sheet(heading, height=3.3, legend=keys, margins=Margins(left=1.0, top=0.1))
        for one, clean, robust in pairs:
            look = Look(
                FP32 if one.where["target"] == "fp32" else INT8,
                "s" if one.where["epsilon"] is None else "o",
                filled=one.where["use"] != "none",
            )
            axes.errorbar(
                clean.mean, robust.mean, xerr=_reach(clean), yerr=_reach(robust), color=look.colour, alpha=0.4,
                linewidth=0, elinewidth=0.9, zorder=2,
            )  # fmt: skip
            size = 8.5 if one.where["target"] == "fp32" else 5.5  # int8 often lies upon its fp32: both shall be seen
            axes.plot(
                clean.mean, robust.mean, look.marker, color=look.colour, markersize=size, zorder=3, clip_on=False,
                markerfacecolor=look.colour if look.filled else "white",
                markeredgecolor="white" if look.filled else look.colour, markeredgewidth=0.7 if look.filled else 1.4,
            )  # fmt: skip
        _limits(axes, pairs)
        if ahead:
            xs = [clean.mean for _, clean, _ in ahead]
            ys = [robust.mean for _, _, robust in ahead]
            left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
            axes.step([xs[0], *xs, left], [bottom, *ys, ys[-1]], where="post", color=INK, linewidth=1.1, zorder=1,
                      linestyle=(0, (1, 1.2)))  # fmt: skip
        _numbers(axes, [(clean.mean, robust.mean) for _, clean, robust in pairs],
                 [(clean.mean, robust.mean) for _, clean, robust in ahead])  # fmt: skip
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
        axes.grid()
        who = "that all of these met" if any(one.note for one in points) else "tried"
        axes.set(xlabel="clean accuracy", ylabel=f"accuracy in the worst case\nover all adversaries {who}")
        return [("", figure)]


def _pairs(points: Sequence[Point]) -> list[Pair]:
    pairs = []
    for one, clean in known(at(points, threat="clean")):
        for other, robust in known(at(points, threat="all")):
            if {**other.where, "threat": "clean"} == dict(one.where):
                pairs.append((one, clean, robust))
    return pairs


def _numbers(axes: Axes, marks: Sequence[tuple[float, float]], ahead: Sequence[tuple[float, float]]) -> None:
    """Number the marks of the front, each on the side where it is farthest from marks and numbers."""
    figure = axes.get_figure(root=True)
    scale = 72 / (figure.dpi if figure else 72)
    occupied = [_points(axes, mark, scale) for mark in marks]
    sides = [(11 * cos(turn * pi / 4), 11 * sin(turn * pi / 4)) for turn in range(1, 9)]
    for number, mark in enumerate(ahead, start=1):
        x, y = _points(axes, mark, scale)
        room = [min(hypot(x + dx - a, y + dy - b) for a, b in occupied) for dx, dy in sides]
        dx, dy = sides[max(range(len(sides)), key=lambda side: (round(room[side], 3), -side))]
        occupied.append((x + dx, y + dy))
        axes.annotate(
            str(number), mark, xytext=(dx, dy), textcoords="offset points", ha="center", va="center", size=SMALL,
            weight="bold", zorder=5, annotation_clip=False,
        )  # fmt: skip


def _points(axes: Axes, mark: tuple[float, float], scale: float) -> tuple[float, float]:
    x, y = axes.transData.transform(mark)
    return float(x) * scale, float(y) * scale


def _limits(axes: Axes, pairs: Sequence[Pair]) -> None:
    for values, setter in (
        ([clean for _, clean, _ in pairs], axes.set_xlim),
        ([robust for _, _, robust in pairs], axes.set_ylim),
    ):
        ends = [end for one in values for end in (one.low, one.high, one.mean) if end is not None] or [0.0, 1.0]
        room = max(0.06 * (max(ends) - min(ends)), 0.05)
        over = 0.05 * (max(ends) - min(ends) + room)  # room for half a marker where accuracy ends
        setter(max(-over, min(ends) - room), min(1 + over, max(ends) + room))


def _reach(one: Estimate) -> list[list[float]] | None:
    if one.low is None or one.high is None:
        return None
    return [[max(0.0, one.mean - one.low)], [max(0.0, one.high - one.mean)]]


def _half(points: Sequence[Point]) -> str:
    lacking = len([one for one, _ in known(at(points, threat="clean"))]) - len(_pairs(points))
    return f"Not drawn, for want of a comparable worst case: {lacking}." if lacking else ""
