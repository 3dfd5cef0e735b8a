"""Clean accuracy of every setting, fp32 and int8: a row for each use of adversarial data, a column for each ε."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.drawing import INK, MUTED, RULE, styled
from experiments.study.marks import level
from experiments.study.points import (
    Point,
    Value,
    at,
    by_target,
    known,
    privacies,
    scored,
    seen,
    words,
)
from experiments.study.results import Result
from experiments.study.setting import USES
from experiments.study.sheet import (
    SMALL,
    TEXT,
    Heading,
    Margins,
    fitted,
    measured_on,
    nothing,
    panel_title,
    percent_axis,
    sheet,
    width_of,
)
from experiments.study.style import TARGETS, marker_key

_ROW = 0.26


def accuracy_points(results: Sequence[Result]) -> list[Point]:
    """Return the clean accuracy of every setting and target, in the order of the paper's axes."""
    points = [scored(setting, cells, target, "clean") for setting, cells, target in by_target(results)]
    return sorted(points, key=lambda one: _order(one.where))


def draw_accuracies(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw dots with intervals, a panel for each ε; rows that several panels share are level with each other."""
    rows = list(dict.fromkeys(_row(one) for one in points))
    levels = privacies(one if isinstance(one, float | int) else None for one in seen(points, "epsilon"))
    names = [training(*row) for row in rows]
    left = min(2.6, 0.15 + max(width_of(name, SMALL) for name in names))
    keys = [marker_key(target, look) for target, look in TARGETS.items()]
    with styled():
        figure, [panels] = sheet(
            heading.noting(measured_on(points)), height=_ROW * len(rows) + 0.1, columns=len(levels), legend=keys,
            margins=Margins(left=left, right=0.2, across=0.22),
        )  # fmt: skip
        for number, (axes, epsilon) in enumerate(zip(panels, levels, strict=True)):
            for y, row in enumerate(rows):
                for target, up in (("fp32", -0.18), ("int8", 0.18)):
                    mine = [one for one in at(points, epsilon=epsilon, target=target) if _row(one) == row]
                    for _, estimate in known(mine):
                        level(axes, y + up, estimate, TARGETS[target], aside=0.1 if up > 0 else -0.1, size=4.8)
                if y % 2:
                    axes.axhspan(y - 0.5, y + 0.5, color=RULE, alpha=0.35, linewidth=0, zorder=0)
            if not known(at(points, epsilon=epsilon)):
                nothing(axes)
            panel_title(axes, words("epsilon", epsilon))
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.set_yticks(range(len(rows)), [fitted(name, left - 0.1, SMALL) for name in names] if not number else [])
            axes.tick_params(axis="y", labelcolor=INK)
            axes.set_xlim(*_range(points))
            percent_axis(axes.xaxis, ticks=4 if len(levels) > 2 else 6, unit="")
            axes.grid(axis="x")
            axes.spines["left"].set_visible(False)
        first, last = panels[0].get_position(), panels[-1].get_position()
        height = first.y0 - 0.37 / figure.get_figheight()
        figure.text((first.x0 + last.x1) / 2, height, "clean accuracy (%)", ha="center", size=TEXT, color=MUTED)
        return [("", figure)]


def training(use: Value, attack: Value, share: Value) -> str:
    """Return what adversarial data did in a training: ``trained on PGD, 20 %``, ``poisoned by FGSM, 10 %``."""
    told = {USES[0]: "no adversarial data", USES[1]: "trained on", USES[2]: "poisoned by", USES[3]: "both, poisoned by"}
    start = told.get(str(use), str(use))
    if attack is None:
        return start
    return f"{start} {words('training attack', attack)}, {words('share', share)}"


def _row(one: Point) -> tuple[Value, Value, Value]:
    return one.where["use"], one.where["training attack"], one.where["share"]


def _order(where: object) -> tuple[object, ...]:
    assert isinstance(where, dict)
    use, attack, share, epsilon = where["use"], where["training attack"], where["share"], where["epsilon"]
    attacks = ("fgsm", "pgd", "fab")
    return (
        USES.index(use) if use in USES else len(USES),
        str(use),
        attacks.index(attack) if attack in attacks else len(attacks),
        str(attack),
        share or 0.0,
        -float("inf") if epsilon is None else -epsilon,
    )


def _range(points: Sequence[Point]) -> tuple[float, float]:
    """Return a range that holds all that is drawn, with a little room."""
    ends = [end for _, one in known(points) for end in (one.low, one.high, *one.values) if end is not None]
    room = max(0.06 * (max(ends) - min(ends)), 0.02)
    return min(ends) - room, max(ends) + room
