"""The forest plot of a report: accuracy by adversary, from plain numbers to one ``<svg>`` element."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes

from experiments.drawing import FP32, INK, INT8, MUTED, PAPER, RULE, canvas, percent_ticks, styled, svg
from experiments.wording import interval, listed, percent

_TARGETS = {"fp32": (FP32, "o"), "int8": (INT8, "s")}
UNTRIED = "no attack was tried"


@dataclass(frozen=True)
class Estimate:
    """A share in [0, 1] seen over ``n`` records, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def against_whom(
    rows: Sequence[tuple[str, str, dict[str, Estimate]]],
    *,
    threshold: float | None,
    unseeing: tuple[float, str] | None,
    score: str = "accuracy",
) -> Markup:
    """Draw accuracy, or another score, by threat, fp32 and int8 side by side, with intervals; a forest plot.

    Args:
        rows: (heading, second line, target → estimate), the first one without an adversary: its values are drawn
            down through all rows as the reference. A row without estimates says that no attack was tried.
        threshold: the accuracy asked for under attack.
        unseeing: what a model that never looks reaches, and its name.
        score: what is drawn.
    """
    targets = [target for target in _TARGETS if any(target in estimates for _, _, estimates in rows)]
    with styled():
        height = 0.66 * len(rows) + 0.9
        figure, axes = canvas(9.6, height, (2.0, 0.5, 2.95, 0.4))
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.45, -0.55), yticks=[])
        percent_ticks(axes.xaxis)
        axes.grid(axis="x", zorder=0)
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0, pad=6)
        axes.set_xlabel(f"{score} on test images")
        for target in targets:
            if target in rows[0][2]:
                axes.axvline(rows[0][2][target].value, color=_TARGETS[target][0], linewidth=0.9, linestyle=(0, (4, 3)))
        top = axes.get_xaxis_transform()
        blind, name = unseeing or (None, "")
        marks = [(threshold, "asked for", INK, "-"), (blind, name, MUTED, (0, (1, 2)))]
        lines = sorted((value, text, colour, style) for value, text, colour, style in marks if value is not None)
        for number, (value, text, colour, style) in enumerate(lines):
            axes.axvline(value, color=colour, linewidth=0.9, linestyle=style)
            side = "center" if len(lines) == 1 else ("right", "left")[number]
            axes.text(value, 1.02, text, transform=top, ha=side, va="bottom", color=colour, size=8.5)
        axes.text(1.15, 1.02, f"{score} (95 % interval)", transform=axes.transAxes, va="bottom", color=MUTED, size=8.5)
        axes.text(1.62, 1.02, "n", transform=axes.transAxes, va="bottom", ha="right", color=MUTED, size=8.5)
        for place, (heading, detail, estimates) in enumerate(rows):
            _forest_row(axes, place, heading, detail, estimates, targets)
        words = [
            f"{heading}: {listed([f'{target} {_words(one)}' for target, one in estimates.items()]) or UNTRIED}"
            for heading, _, estimates in rows
        ]
        return svg(figure, "against-whom", f"{score.capitalize()} by adversary. " + "; ".join(words) + ".")


def _forest_row(
    axes: Axes, place: int, heading: str, detail: str, estimates: dict[str, Estimate], targets: Sequence[str]
) -> None:
    right = axes.get_yaxis_transform()
    axes.text(-0.43, place - 0.05, heading, transform=right, va="bottom", size=10.5, weight="bold")
    axes.text(-0.43, place + 0.03, detail, transform=right, va="top", size=8.5, color=MUTED)
    if place:
        axes.axhline(place - 0.5, xmin=-0.43, xmax=1.625, color=RULE, linewidth=0.8, clip_on=False)
    for number, target in enumerate(targets):
        colour, marker = _TARGETS[target]
        y = place + (number - (len(targets) - 1) / 2) * 0.34
        one = estimates.get(target)
        axes.text(1.04, y, target, transform=right, va="center", color=colour, weight="bold", size=9)
        if one is None:
            missing = "not an attack on this model" if estimates else UNTRIED
            axes.text(1.15, y, missing, transform=right, va="center", color=MUTED, size=9)
            continue
        axes.plot([one.low, one.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt", zorder=3)
        for end in (one.low, one.high):
            axes.plot([end, end], [y - 0.07, y + 0.07], color=colour, linewidth=1.2, zorder=3)
        axes.plot(one.value, y, marker, color=colour, markersize=7.5, markeredgecolor=PAPER, zorder=4, clip_on=False)
        words = f"{percent(one.value)} ({interval((one.low, one.high))})"
        axes.text(1.15, y, words, transform=right, va="center", size=9.5)
        axes.text(1.62, y, str(one.n), transform=right, va="center", ha="right", size=9.5)


def _words(one: Estimate) -> str:
    return f"{percent(one.value)} (95 % interval {interval((one.low, one.high))}, n = {one.n})"
