"""Transfer attacks: accuracy of private and non-private targets, and between private and non-private generators."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.drawing import FP32, INT8, styled
from experiments.study.marks import bar
from experiments.study.points import (
    Point,
    at,
    concerns,
    known,
    privacies,
    scored,
    seen,
    threats_measured,
    words,
)
from experiments.study.results import Result, by_setting
from experiments.study.setting import Setting
from experiments.study.sheet import (
    TEXT,
    Heading,
    Margins,
    measured_on,
    missing,
    nothing,
    panel_title,
    percent_axis,
    sheet,
)
from experiments.study.style import GENERATORS, Look, bar_key
from experiments.study.worst_case import SAME, same_privacy
from experiments.tables import TARGETS
from experiments.wording import heading as threat_heading

_PRIVATE_HATCHES = ("////", "xxxx", "....", "----")


def transfer_points(results: Sequence[Result]) -> list[Point]:
    """Return accuracy by threat and target; transfer attacks come from the generator of the target's own privacy.

    Settings without adversarial data only. Where one of private and non-private is not there, its points are
    there without estimates.
    """
    threats = ["clean", *(one for one in threats_measured(results) if one in ("white-box", "insider")), "transfer"]
    return [
        scored(setting, cells, target, threat, same_privacy(setting), called=SAME)
        if threat == "transfer"
        else scored(setting, cells, target, threat)
        for setting, cells in _plain(results)
        for threat in threats
        for target in TARGETS
        if concerns(threat, target)
    ]


def draw_transfer(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw bars in groups, one group a threat: each privacy, fp32 beside int8."""
    levels = privacies(_epsilon(one) for one in points)
    looks = {
        (epsilon, target): Look(
            colour,
            hatch="" if epsilon is None else _PRIVATE_HATCHES[(number - (None in levels)) % len(_PRIVATE_HATCHES)],
        )
        for number, epsilon in enumerate(levels)
        for target, colour in (("fp32", FP32), ("int8", INT8))
    }
    threats = [str(threat) for threat in seen(points, "threat")]
    heading = heading.noting(
        measured_on(points, "Bars"),
        "Transfer: from a generator as private as the target. Insider: holds the fp32 weights; on fp32, white-box.",
        missing(points, ("epsilon", "target", "threat")), _one_sided(levels),
    )  # fmt: skip
    keys = [bar_key(f"{words('epsilon', epsilon)}, {target}", look) for (epsilon, target), look in looks.items()]
    with styled():
        figure, [[axes]] = sheet(heading, height=2.7, legend=keys, margins=Margins(top=0.08, bottom=0.42))
        each = 0.84 / len(looks)
        for group, threat in enumerate(threats):
            for number, (epsilon, target) in enumerate(looks):
                for _, found in known(at(points, threat=threat, epsilon=epsilon, target=target)):
                    x = group + (number - (len(looks) - 1) / 2) * each
                    bar(axes, x, found, looks[epsilon, target], width=each * 0.9)
        axes.set_xlim(-0.5, len(threats) - 0.5)
        axes.set_xticks(range(len(threats)), [_group(threat) for threat in threats], size=TEXT)
        axes.set_ylim(0, 1.03)
        percent_axis(axes.yaxis)
        axes.grid(axis="y")
        axes.set_ylabel("accuracy")
        return [("", figure)]


def matrix_points(results: Sequence[Result]) -> list[Point]:
    """Return what each generator does to each target: accuracy, and success among images that the target had right.

    Settings without adversarial data only; clean accuracy comes first, since targets that are right less often
    have less to lose.
    """
    points = []
    for setting, cells in _plain(results):
        for target in TARGETS:
            points.append(scored(setting, cells, target, "clean"))
            for generator in ("private", "non-private"):
                for metric in ("accuracy", "attack success"):
                    points.append(scored(setting, cells, target, "transfer", generator, metric))
    return points


def draw_matrix(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw two rows of panels (accuracy; success among right images), fp32 beside int8; a group of bars a target."""
    levels = privacies(_epsilon(one) for one in points)
    names = {"clean": "no attack", "private": "private generator", "non-private": "non-private generator"}
    keys = [bar_key(name, GENERATORS[key]) for key, name in names.items()]
    heading = heading.noting(
        measured_on(at(points, metric="accuracy"), "Bars"),
        "Attack success: share of those images that the target had right before the attack.",
        missing(at(points, metric="accuracy"), ("epsilon", "target", "generator")),
        _one_sided(levels),
    )  # fmt: skip
    metrics = ("accuracy", "attack success")
    with styled():
        figure, grid = sheet(heading, height=1.75, rows=2, columns=2, legend=keys, margins=Margins(bottom=0.52))
        for row, metric in enumerate(metrics):
            shown = ["clean", "private", "non-private"] if metric == "accuracy" else ["private", "non-private"]
            for column, (axes, target) in enumerate(zip(grid[row], TARGETS, strict=True)):
                mine = at(points, target=target, metric=metric)
                for group, epsilon in enumerate(levels):
                    for number, generator in enumerate(shown):
                        where = {"threat": "clean"} if generator == "clean" else {"generator": generator}
                        for _, found in known(at(mine, epsilon=epsilon, **where)):
                            x = group + (number - (len(shown) - 1) / 2) * 0.27
                            bar(axes, x, found, GENERATORS[generator], width=0.24)
                if not known(mine):
                    nothing(axes)
                panel_title(axes, f"{target}: {metric}")
                axes.set_xlim(-0.55, len(levels) - 0.45)
                axes.set_xticks(range(len(levels)), [words("epsilon", one) for one in levels])
                if row == 1:
                    axes.set_xlabel("target")
                axes.set_ylim(0, 1.03)
                percent_axis(axes.yaxis)
                axes.tick_params(axis="y", labelleft=column == 0)
                axes.grid(axis="y")
        return [("", figure)]


def _plain(results: Sequence[Result]) -> list[tuple[Setting, tuple[Result, ...]]]:
    return [(setting, cells) for setting, cells in by_setting(results).items() if setting.use == "none"]


def _epsilon(one: Point) -> float | None:
    epsilon = one.where["epsilon"]
    return epsilon if isinstance(epsilon, float | int) else None


def _one_sided(levels: Sequence[float | None]) -> str:
    if None not in levels:
        return "Not measured: non-private targets."
    return "" if len(levels) > 1 else "Not measured: private targets."


def _group(threat: str) -> str:
    return threat_heading(threat) + ("\n(int8 only)" if threat == "insider" else "")
