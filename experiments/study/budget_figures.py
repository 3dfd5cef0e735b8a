"""Accuracy against what the adversary may change (budget), and against what privacy is asked for (ε)."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.drawing import styled
from experiments.study.defences import name
from experiments.study.marks import upright
from experiments.study.points import (
    Point,
    Value,
    at,
    by_target,
    concerns,
    in_order,
    known,
    privacies,
    scored,
    seen,
    threat_name,
    threats_measured,
)
from experiments.study.results import Estimate, Result
from experiments.study.sheet import (
    Heading,
    Margins,
    measured_on,
    missing,
    nothing,
    panel_title,
    percent_axis,
    sheet,
)
from experiments.study.style import SERIES, TARGETS, Look, line_key
from experiments.study.worst_case import comparable


def budget_points(results: Sequence[Result]) -> list[Point]:
    """Return accuracy by budget, threat and target for every setting; without attack is a budget of 0."""
    return [
        scored(setting, cells, target, threat)
        for setting, cells, target in by_target(comparable(results))
        for threat in ["clean", *threats_measured(results)]
        if concerns(threat, target)
    ]


def draw_budgets(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw one line a setting over the budget, fp32 beside int8: the worst case first, then each threat by itself.

    Where any setting was attacked within several budgets, those with a single one are left to the table.
    """
    threats = in_order(str(threat) for threat in seen(points, "threat") if threat != "clean")
    first = "all" if "all" in threats else next(iter(threats), "all")
    order = [first, *(threat for threat in threats if threat != first)]
    return [("" if threat == first else threat, _budget_figure(points, heading, threat)) for threat in order]


def privacy_points(results: Sequence[Result]) -> list[Point]:
    """Return accuracy by ε, threat and target, of settings without adversarial data."""
    return budget_points([one for one in results if one.setting.use == "none"])


def draw_privacies(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw accuracy over ε, without privacy at the right; a panel without attack, and one for each threat."""
    threats = in_order(str(threat) for threat in seen(points, "threat"))
    levels = list(reversed(privacies(one if isinstance(one, float | int) else None for one in seen(points, "epsilon"))))
    names = ["none" if one is None else f"{one:g}" for one in levels]
    columns = max(2, min(3, len(threats)))
    rows = -(-len(threats) // columns)
    heading = heading.noting(measured_on(points), missing(points, ("epsilon", "target", "threat")))
    with styled():
        figure, grid = sheet(
            heading, height=1.75 if rows > 1 else 2.3, rows=rows, columns=columns, margins=Margins(down=0.45),
            legend=[line_key(target, look) for target, look in TARGETS.items()],
        )  # fmt: skip
        panels = [axes for row in grid for axes in row]
        for axes in panels[len(threats) :]:
            axes.remove()
        for number, (axes, threat) in enumerate(zip(panels, threats, strict=False)):
            for target, look in TARGETS.items():
                mine = at(points, threat=threat, target=target)
                found = [(levels.index(_epsilon(one)), estimate) for one, estimate in known(mine)]
                found.sort(key=lambda one: one[0])
                aside = -0.09 if target == "fp32" else 0.09
                joined = [(x, one) for x, one in found if levels[x] is not None]
                axes.plot([x + aside for x, _ in joined], [one.mean for _, one in joined], color=look.colour,
                          linestyle=look.line, linewidth=1.4, zorder=2)  # fmt: skip
                for x, estimate in found:
                    upright(axes, x + aside, estimate, look, aside=aside * 1.3, size=5)
            if not known(at(points, threat=threat)):
                nothing(axes)
            if None in levels and len(levels) > 1:
                axes.axvline(len(levels) - 1.5, color="#d8dce1", linewidth=1, zorder=0)
            panel_title(axes, threat_name(threat).capitalize())
            axes.set_xlim(-0.5, len(levels) - 0.5)
            axes.set_xticks(range(len(levels)), names)
            axes.set_ylim(-0.03, 1.03)
            percent_axis(axes.yaxis)
            axes.grid(axis="y")
            if number % columns:
                axes.tick_params(axis="y", labelleft=False)
            else:
                axes.set_ylabel("accuracy")
            if number + columns >= len(threats):
                axes.set_xlabel("ε of the honest clients")
        return [("", figure)]


def _budget_figure(points: Sequence[Point], heading: Heading, threat: str) -> Figure:
    mine = [one for one in points if one.where["threat"] in ("clean", threat)]
    lines = list(dict.fromkeys(_line(one) for one in mine))
    budgets = {(_line(one), _grey(one)) for one, _ in known(at(mine, threat=threat))}
    swept = [line for line in lines if sum(line == other for other, _ in budgets) > 1]
    drawn = (swept or lines)[: len(SERIES)]
    looks = dict(zip(drawn, SERIES, strict=False))
    names = {_line(one): name({**one.where, "target": ""}) for one in mine}
    left_out = len(lines) - len(drawn)
    heading = heading.noting(
        measured_on([one for one in mine if _line(one) in drawn]), "eps = 0 is clean accuracy, on all test images.",
        f"{left_out} more setting{'s are' if left_out > 1 else ' is'} in the table only." if left_out else "",
        missing(
            [one for one in mine if one.where["threat"] != "clean" and _line(one) in drawn],
            ("epsilon", "use", "training attack", "share", "budget", "target"),
        ),
    )  # fmt: skip
    ticks = sorted({0.0, *(_grey(one) for one in mine)})
    reach = ticks[-1] or 1.0
    with styled():
        figure, [panels] = sheet(
            heading, height=2.5, columns=2, legend=[line_key(names[line], look) for line, look in looks.items()]
        )  # fmt: skip
        for number, (axes, target) in enumerate(zip(panels, TARGETS, strict=True)):
            shown = at(mine, target=target)
            for lane, (line, look) in enumerate(looks.items()):
                found = {
                    _grey(one): estimate for one, estimate in known(at(shown, threat="clean")) if _line(one) == line
                }
                found = dict.fromkeys([0.0], next(iter(found.values()))) if found else {}
                found |= {_grey(one): est for one, est in known(at(shown, threat=threat)) if _line(one) == line}
                _curve(axes, found, look, (lane - (len(looks) - 1) / 2) * 0.014 * reach)
            if not known(shown):
                nothing(axes)
            elif not known(at(shown, threat=threat)):
                nothing(axes, f"no {threat} attack on {target}")
            panel_title(axes, f"{target}: {threat_name(threat)}")
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlim(-0.08 * reach, 1.08 * reach)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            percent_axis(axes.yaxis)
            axes.grid(axis="y")
            axes.set_xlabel("eps, in grey levels of 255")
            if number:
                axes.tick_params(axis="y", labelleft=False)
        panels[0].set_ylabel("accuracy")
        return figure


def _curve(axes: Axes, found: Mapping[float, Estimate], look: Look, aside: float) -> None:
    places = sorted(found)
    axes.plot([x + aside for x in places], [found[x].mean for x in places], color=look.colour, linewidth=1.4, zorder=2)
    for x in places:
        upright(axes, x + aside, found[x], look, aside=0, size=5)


def _line(one: Point) -> tuple[Value, ...]:
    return tuple(one.where[column] for column in ("epsilon", "use", "training attack", "share"))


def _grey(one: Point) -> float:
    budget = one.where["budget"]
    return round(255 * budget, 6) if isinstance(budget, float | int) else 0.0


def _epsilon(one: Point) -> float | None:
    epsilon = one.where["epsilon"]
    return epsilon if isinstance(epsilon, float | int) else None
