"""The heat map: accuracy under each attack of each threat, for every combination of defences, worst cases marked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from experiments.drawing import INK, MUTED, styled
from experiments.study.defences import Defence, name, representatives
from experiments.study.points import Point, Taken, attack_name, concerns, in_order, known, place, point, taken
from experiments.study.results import Estimate, Result, by_setting
from experiments.study.sheet import SMALL, WIDTH, Heading, Margins, counted, fitted, sheet
from experiments.study.worst_case import comparable
from experiments.tables import TARGETS, over_repeats, select
from experiments.wording import heading as threat_heading

_ROW, _MARKS = 0.42, 0.2
_DARK, _LIGHT = "#101418", "#ffffff"
"""Letters on cells: not the page's ink and paper, which a dark page exchanges."""
_NO_ATTACK = ("clean", "none", "")
_ALL = ("all", "worst", "")
Line = tuple[str, str, str]
"""Threat, attack, and the generator of a transfer attack."""


@dataclass(frozen=True)
class _Cell:
    line: int
    column: int
    estimate: Estimate


def heat_points(results: Sequence[Result]) -> list[Point]:
    """Return accuracy for every attack and every combination of defences, each represented by one setting.

    Of several attackers' sources (the gradients of fp32 and of int8's twin, queries) the strongest counts.
    Settings with a malicious client are left out: the columns are defences.
    """
    chosen = set(representatives(setting for setting in by_setting(results)).values())
    columns = by_setting(comparable([one for one in results if one.setting in chosen]))
    lines = _lines([cell for cells in columns.values() for cell in cells])
    points = []
    for setting, cells in sorted(columns.items(), key=lambda one: (one[0].use != "none", one[0].epsilon is not None)):
        for target in TARGETS:
            for threat, attack, generator in lines:
                if concerns(threat, target):
                    where = {**place(setting), "target": target, "threat": threat, "attack": attack,
                             "generator": generator, "metric": "accuracy"}  # fmt: skip
                    line = (threat, attack, generator)
                    points.append(point(cells, where, partial(_strongest, target=target, line=line)))
    return points


def draw_heat_map(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw one cell for every attack (row) and combination of defences (column)."""
    columns = list(dict.fromkeys((_defence(one), name(one.where)) for one in points))
    lines = _sorted(_line(one) for one in points)
    cells = [_Cell(lines.index(_line(one)), columns.index((_defence(one), name(one.where))), estimate)
             for one, estimate in known(points)]  # fmt: skip
    used = {one.where["epsilon"]: name({**one.where, "use": "none", "target": ""}) for one in points}
    trained = dict.fromkeys(name({**one.where, "epsilon": None, "target": ""}).partition(", ")[2]
                            for one in points if one.where["use"] != "none")  # fmt: skip
    private = [words for epsilon, words in used.items() if epsilon is not None]
    heading = heading.noting(
        "Top: mean accuracy in per cent; below: its 95 % interval (Student's t over repeats of the training). "
        + counted(points),
        "Private: " + (" or ".join(private) or "not measured") + ". Adversarially trained: "
        + (" or ".join(one.removeprefix("trained on ") for one in trained) or "not measured") + ". "
        + "An insider holds the fp32 weights: on fp32 that is white-box. Transfer names the generator.",
        "–: not measured." if len(cells) < len(points) else "",
    )  # fmt: skip
    keys = [
        Patch(facecolor="none", edgecolor=INK, linewidth=2, label="strongest attack on a defence"),
        Line2D(
            [], [], marker="v", linestyle="none", color=INK, markersize=6, label="weakest defence against an attack"
        ),
    ]
    with styled():
        left = 2.15
        width = min(WIDTH, left + 0.75 * max(len(columns), 4) + 0.12)
        figure, [[axes]] = sheet(
            heading, height=_ROW * len(lines), legend=keys, width=max(width, 5.6),
            margins=Margins(left=left, top=0.08, bottom=3 * _MARKS + 0.18),
        )  # fmt: skip
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(lines) - 0.5, -0.5))
        for cell in cells:
            _cell(axes, cell)
        for line, one in enumerate(lines):
            for column in range(len(columns)):
                if not any((cell.line, cell.column) == (line, column) for cell in cells):
                    same = one[0] == "insider" and not columns[column][0].small
                    text = "as white-box" if same else "–"
                    axes.text(column, line, text, ha="center", va="center", size=6.5 if same else SMALL, color=MUTED)
        _worst_cases(axes, cells, lines, len(columns))
        axes.set_yticks(range(len(lines)), [fitted(_name(line), left - 0.15, SMALL) for line in lines])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_xticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        _combination(axes, [defence for defence, _ in columns], len(lines))
        return [("", figure)]


def _cell(axes: Axes, cell: _Cell) -> None:
    value = min(1.0, max(0.0, cell.estimate.mean))
    colour = matplotlib.colormaps["cividis"](value)
    axes.add_patch(
        Rectangle((cell.column - 0.5, cell.line - 0.5), 1, 1, facecolor=colour, edgecolor=_LIGHT, linewidth=1)
    )  # fmt: skip
    ink = _LIGHT if value < 0.5 else _DARK
    low, high = cell.estimate.low, cell.estimate.high
    lift = 0.0 if low is None else 0.13
    axes.text(cell.column, cell.line - lift, f"{100 * cell.estimate.mean:.1f}", ha="center", va="center", color=ink,
              size=9.5, weight="bold")  # fmt: skip
    if low is not None and high is not None:
        axes.text(cell.column, cell.line + 0.25, f"{100 * low:.0f}–{100 * high:.0f}", ha="center", va="center",
                  color=ink, size=7)  # fmt: skip


def _worst_cases(axes: Axes, cells: Sequence[_Cell], lines: Sequence[Line], columns: int) -> None:
    """Frame each column's lowest cell, put a triangle into each row's, unless all its cells are equal.

    A frame goes to single attacks only.
    """
    attacks = [number for number, line in enumerate(lines) if line not in (_NO_ATTACK, _ALL)]
    for column in range(columns):
        mine = [cell for cell in cells if cell.column == column and cell.line in attacks]
        if mine:
            lowest = min(cell.estimate.mean for cell in mine)
            for cell in mine:
                if cell.estimate.mean == lowest:
                    axes.add_patch(Rectangle((column - 0.46, cell.line - 0.455), 0.92, 0.91, facecolor="none",
                                             edgecolor=_LIGHT, linewidth=3.4, zorder=3))  # fmt: skip
                    axes.add_patch(Rectangle((column - 0.46, cell.line - 0.455), 0.92, 0.91, facecolor="none",
                                             edgecolor=_DARK, linewidth=1.8, zorder=4))  # fmt: skip
    for line in range(len(lines)):
        mine = [cell for cell in cells if cell.line == line]
        if len(mine) > 1:
            lowest = min(cell.estimate.mean for cell in mine)
            alike = all(cell.estimate.mean == lowest for cell in mine)
            for cell in mine:
                if cell.estimate.mean == lowest and not alike:
                    ink = _LIGHT if cell.estimate.mean < 0.5 else _DARK
                    axes.plot(cell.column + 0.36, line - 0.28, "v", color=ink, markersize=4.5, zorder=5)


def _combination(axes: Axes, defences: Sequence[Defence], bottom: int) -> None:
    """Say below every column, by filled and hollow dots, which defences it has."""
    for number, label in enumerate(("private", "int8", "adversarially trained")):
        y = bottom - 0.5 + (0.09 + _MARKS * (number + 0.5)) / _ROW
        axes.text(-0.56, y, label, ha="right", va="center", size=SMALL, color=INK)
        for column, defence in enumerate(defences):
            has = defence.marks()[number]
            axes.plot(column, y, "o", color=INK if has else MUTED, markersize=7 if has else 5, clip_on=False,
                      markerfacecolor=INK if has else "none", markeredgewidth=0 if has else 0.8)  # fmt: skip


def _lines(results: Sequence[Result]) -> list[Line]:
    """Return every (threat, attack, generator) measured: no attack first, then by threat, all together last."""
    found: dict[Line, None] = {}
    for result in results:
        for one in result.measures:
            if one.threat not in ("clean", "all") and one.attack != "worst" and one.metric == "accuracy":
                found[one.threat, one.attack, one.generator if one.threat == "transfer" else ""] = None
    return _sorted([_NO_ATTACK, *found, *([_ALL] if len(found) > 1 else [])])


def _sorted(lines: Iterable[Line]) -> list[Line]:
    """Return different lines by threat, then generator; attacks in order of first appearance."""
    different = list(dict.fromkeys(lines))
    threats = in_order(line[0] for line in different)
    return sorted(different, key=lambda line: (threats.index(line[0]), line[2]))


def _strongest(result: Result, target: str, line: Line) -> Taken:
    threat, attack, generator = line
    if line in (_NO_ATTACK, _ALL):
        return taken(result, target, threat)
    rows = select(result.measures, target=target, threat=threat, attack=attack, metric="accuracy",
                  generator=generator or None)  # fmt: skip
    means = [summary.mean for summary in over_repeats(rows)]
    return min(((one.value, one.n) for one in means), default=None)


def _defence(one: Point) -> Defence:
    where = one.where
    return Defence(where["use"] != "none", where["epsilon"] is not None, where["target"] == "int8")


def _line(one: Point) -> Line:
    return str(one.where["threat"]), str(one.where["attack"]), str(one.where["generator"])


def _name(line: Line) -> str:
    threat, attack, generator = line
    if line == _NO_ATTACK:
        return threat_heading("clean")
    if line == _ALL:
        return threat_heading("all")
    source = f", {generator}" if generator else ""
    return f"{threat_heading(threat)}{source}: {attack_name(attack)}"
