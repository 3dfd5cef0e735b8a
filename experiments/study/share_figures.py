"""Accuracy against the share of adversarial training data: as a defence (loss under attack), and as an attack."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, product

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.drawing import INK, MUTED, styled
from experiments.study.marks import baseline, upright
from experiments.study.points import (
    Point,
    Taken,
    at,
    clean_of_attacked,
    concerns,
    in_order,
    known,
    place,
    point,
    privacies,
    scored,
    seen,
    taken,
    threat_name,
    threats_measured,
    words,
)
from experiments.study.results import Result, by_setting
from experiments.study.setting import Setting
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
from experiments.study.style import DASHED, Look, attack_key, attack_looks, band_key, line_key
from experiments.study.worst_case import SAME, comparable, same_privacy
from experiments.tables import TARGETS


def loss_points(results: Sequence[Result]) -> list[Point]:
    """Return how much accuracy a transfer attack takes (clean minus attacked) by attack and share of training data.

    Both are accuracies on the attacked images, which may be some of the test images only.

    Settings with adversarial training, and those without any adversarial data as the baseline. The generator is
    the one of the target's own privacy, or the worst of all where not every cell has that one.
    """
    settings = _with_baseline(results, "adversarial training")
    own = all(taken(one, "fp32", "transfer", same_privacy(one.setting)) for _, cells in settings for one in cells)
    points = []
    for setting, cells in settings:
        generator = same_privacy(setting) if own else None
        for target in TARGETS:
            where = {**place(setting), "target": target, "threat": "transfer", "generator": SAME if generator else "",
                     "metric": "accuracy loss"}  # fmt: skip
            points.append(point(cells, where, partial(_loss, target=target, generator=generator)))
    return points + _holes(points)


def draw_loss(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw one line an attack over the share, fp32 beside int8, with the federation without such data as a level."""
    looks = attack_looks(_attacks(points))
    keys = [attack_key(attack, look) for attack, look in looks.items()]
    keys += [band_key("without adversarial training")] * bool(at(points, use="none"))
    heading = heading.noting(
        measured_on(points), "Lost: clean minus attacked accuracy, both on the attacked images.",
        missing(points, ("training attack", "share", "target")), _no_baseline(points),
    )  # fmt: skip
    with styled():
        figure, [panels] = sheet(heading, height=2.5, columns=2, legend=keys)
        for axes, target in zip(panels, TARGETS, strict=True):
            mine = at(points, target=target)
            _lines(axes, [(mine, "")], looks, _shares(points))
            panel_title(axes, target)
            axes.set_xlabel("adversarial share of the training data")
        _same_range(panels, points, bottom=0.0)
        panels[0].set_ylabel("accuracy lost to transfer attacks\n(percentage points)")
        for axes in panels:
            percent_axis(axes.yaxis, unit="", differences=True)
        return [("", figure)]


def share_points(results: Sequence[Result]) -> list[Point]:
    """Return accuracy by threat, attack and share of training data where a malicious client trains on such data.

    The federations of honest clients come with them, as the baseline.
    """
    shown = _with_baseline(results, "train-time attack")
    level = comparable([cell for _, cells in shown for cell in cells])
    points = [
        scored(setting, cells, target, threat)
        for setting, cells in by_setting(level).items()
        for threat in ["clean", *threats_measured(results)]
        for target in TARGETS
        if concerns(threat, target)
    ]
    return points + _holes(points)


def draw_shares(points: Sequence[Point], heading: Heading) -> list[tuple[str, Figure]]:
    """Draw clean and transfer accuracy (or the worst case) in one figure, and one more for every other threat."""
    threats = in_order(str(threat) for threat in seen(points, "threat") if threat != "clean")
    first = next((one for one in ("transfer", "all", *threats) if one in threats), None)
    figures = [("", _share_figure(points, heading, ["clean", *([first] if first else [])]))]
    return figures + [(threat, _share_figure(points, heading, [threat])) for threat in threats if threat != first]


def _share_figure(points: Sequence[Point], heading: Heading, threats: Sequence[str]) -> Figure:
    points = [one for one in points if one.where["threat"] in threats]
    looks = attack_looks(_attacks(points))
    levels = privacies(one if isinstance(one, float | int) else None for one in seen(points, "epsilon"))
    keys = [attack_key(attack, replace(look, line="-")) for attack, look in looks.items()]
    if at(points, target="fp32"):
        keys.append(line_key("fp32", Look(MUTED, "o", "-")))
    keys.append(line_key("int8", Look(MUTED, "o", DASHED, filled=False)))
    keys += [band_key("honest clients only (grey: int8)")] * bool(at(points, use="none"))
    heading = heading.noting(
        measured_on(points), missing(points, ("epsilon", "training attack", "share", "target", "threat")),
        _no_baseline(points),
    )  # fmt: skip
    with styled():
        figure, grid = sheet(
            heading, height=1.8 if len(threats) > 1 else 2.4, rows=len(threats), columns=len(levels), legend=keys,
            margins=Margins(down=0.42),
        )  # fmt: skip
        for row, threat in enumerate(threats):
            for axes, epsilon in zip(grid[row], levels, strict=True):
                mine = at(points, threat=threat, epsilon=epsilon)
                _lines(axes, [(at(mine, target=target), target) for target in TARGETS], looks, _shares(points))
                panel_title(axes, f"{words('epsilon', epsilon)}: {threat_name(threat)}")
                if row == len(threats) - 1:
                    axes.set_xlabel("adversarial share" + (" of the training data" if len(levels) < 3 else ""))
            _same_range(grid[row], at(points, threat=threat))
            grid[row][0].set_ylabel("accuracy")
            for axes in grid[row]:
                percent_axis(axes.yaxis)
        return figure


def _lines(
    axes: Axes,
    series: Sequence[tuple[Sequence[Point], str]],
    looks: dict[str, Look],
    shares: Sequence[float],
) -> None:
    """Draw every attack's line for each series, broken where a share was not measured; int8's is dashed and hollow."""
    step = min((b - a for a, b in pairwise(shares)), default=0.1)
    lanes = [(points, target, attack) for points, target in series for attack in looks]
    for lane, (points, target, attack) in enumerate(lanes):
        look = looks[attack]
        if target == "int8":
            look = replace(look, line=DASHED, filled=False)
        aside = (lane - (len(lanes) - 1) / 2) * step * min(0.16, 0.7 / len(lanes))
        found = known(at(points, training_attack=attack))
        means = {_share(one): estimate.mean for one, estimate in found}
        axes.plot(
            [share + aside for share in shares], [means.get(share, float("nan")) for share in shares],
            color=look.colour, linestyle=look.line, linewidth=1.4, zorder=2,
        )  # fmt: skip
        for one, estimate in found:
            upright(axes, _share(one) + aside, estimate, look, aside=step * 0.035)
    for points, target in series:
        for _, estimate in known(at(points, use="none")):
            baseline(axes, estimate, MUTED if target == "int8" else INK)
    if not any(known(points) for points, _ in series):
        nothing(axes)
    axes.set_xticks(shares, [words("share", share) for share in shares])
    axes.set_xlim(min(shares) - 0.5 * step, max(shares) + 0.5 * step)
    axes.grid(axis="y")


def _same_range(panels: Sequence[Axes], points: Sequence[Point], bottom: float | None = None) -> None:
    """Give panels side by side one range: all that is drawn, with a little room, within what is possible."""
    ends = [end for _, one in known(points) for end in (one.low, one.high, *one.values, bottom) if end is not None]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = max(0.05 * (high - low), 0.02)
    for number, axes in enumerate(panels):
        axes.set_ylim(low - room, high + room)
        if low < 0 < high:
            axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
        if number:
            axes.tick_params(axis="y", labelleft=False)


def _with_baseline(results: Sequence[Result], use: str) -> list[tuple[Setting, tuple[Result, ...]]]:
    """Return the settings of one use, and those of none if they are as private as one of them."""
    settings = by_setting(results)
    levels = {setting.epsilon for setting in settings if setting.use == use}
    return [
        (setting, cells)
        for setting, cells in settings.items()
        if setting.use == use or (setting.use == "none" and setting.epsilon in levels)
    ]


def _holes(points: Sequence[Point]) -> list[Point]:
    """Return a point without estimate for every attack and share that others of its privacy make one expect."""
    holes = []
    for epsilon in seen(points, "epsilon"):
        mine = at(points, epsilon=epsilon)
        shown = [one for one in mine if one.where["share"] is not None]
        pairs = {(one.where["training attack"], one.where["share"]) for one in shown}
        likely = {(one.where["training attack"], one.where["share"]): one for one in shown}
        if not likely:
            continue
        pattern = next(iter(likely.values())).where
        kinds = dict.fromkeys((one.where["target"], one.where["threat"], one.where["generator"]) for one in shown)
        for attack, share in product(seen(shown, "training attack"), sorted(_shares(points))):
            if (attack, share) not in pairs:
                for target, threat, generator in kinds:
                    where = {**pattern, "training attack": attack, "share": share, "target": target,
                             "threat": threat, "generator": generator}  # fmt: skip
                    holes.append(Point(where, None))
    return holes


def _loss(result: Result, target: str, generator: str | None) -> Taken:
    clean, attacked = (
        clean_of_attacked(result, target, "transfer", generator),
        taken(result, target, "transfer", generator),
    )
    return None if clean is None or attacked is None else (clean - attacked[0], attacked[1])


def _attacks(points: Sequence[Point]) -> list[str]:
    return [str(one) for one in seen(points, "training attack") if one is not None]


def _shares(points: Sequence[Point]) -> list[float]:
    return sorted(one for one in seen(points, "share") if isinstance(one, float | int)) or [0.0]


def _share(one: Point) -> float:
    share = one.where["share"]
    return float(share) if isinstance(share, float | int) else 0.0


def _no_baseline(points: Sequence[Point]) -> str:
    levels = {one.where["epsilon"] for one in points} - {one.where["epsilon"] for one in at(points, use="none")}
    return "Not measured: the federation without adversarial data to compare with." if levels else ""
