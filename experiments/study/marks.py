"""Marks: how one estimate is drawn, with its interval and its single repeats, so that three repeats look like three."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from experiments.drawing import INK
from experiments.study.results import Estimate
from experiments.study.style import Look


def upright(
    axes: Axes, x: float, estimate: Estimate, look: Look, *, aside: float, size: float = 6, cut: bool = False
) -> None:
    """Draw a mean with its interval up and down, and the single repeats ``aside`` of it (in units of the axis).

    With ``cut`` an interval ends where the panel does; else the panel must be as high as all intervals.
    """
    if estimate.low is not None and estimate.high is not None:
        axes.errorbar(
            x, estimate.mean, yerr=_reach(estimate), color=look.colour, elinewidth=1.2, capsize=2, capthick=1.2,
            zorder=3, clip_on=cut,
        )  # fmt: skip
        _dots(axes, [x + aside] * estimate.n, estimate.values, look.colour)
    _mean(axes, x, estimate.mean, look, size)


def level(axes: Axes, y: float, estimate: Estimate, look: Look, *, aside: float, size: float = 5.5) -> None:
    """Draw a mean with its interval to the left and right, and the single repeats ``aside`` of it."""
    if estimate.low is not None and estimate.high is not None:
        axes.errorbar(
            estimate.mean, y, xerr=_reach(estimate), color=look.colour, elinewidth=1.2, capsize=1.8, capthick=1.2,
            zorder=3, clip_on=False,
        )  # fmt: skip
        _dots(axes, estimate.values, [y + aside] * estimate.n, look.colour)
    _mean(axes, estimate.mean, y, look, size)


def bar(axes: Axes, x: float, estimate: Estimate, look: Look, *, width: float) -> None:
    """Draw a bar with its interval, and the single repeats beside the whisker."""
    axes.bar(
        x, estimate.mean, width=width, facecolor=look.colour if look.filled else "white",
        edgecolor="white" if look.filled else look.colour, hatch=look.hatch, linewidth=0.8, zorder=2,
    )  # fmt: skip
    if estimate.mean < 0.004:  # a bar of no height would look like one that is missing
        axes.plot([x - width / 2, x + width / 2], [0, 0], color=look.colour, linewidth=2.4, zorder=2,
                  solid_capstyle="butt", clip_on=False)  # fmt: skip
    if estimate.low is not None and estimate.high is not None:
        axes.errorbar(
            x - width * 0.16, estimate.mean, yerr=_reach(estimate), color=INK, elinewidth=1.1, capsize=2,
            capthick=1.1, zorder=4, clip_on=False,
        )  # fmt: skip
        axes.plot(
            [x + width * 0.22] * estimate.n, estimate.values, "o", color=INK, markersize=2.6, markeredgewidth=0.5,
            markeredgecolor="white", zorder=5, clip_on=False,
        )  # fmt: skip


def baseline(axes: Axes, estimate: Estimate, colour: str = INK) -> None:
    """Draw a level across the panel, with its interval as a band."""
    if estimate.low is not None and estimate.high is not None:
        axes.axhspan(estimate.low, estimate.high, facecolor=colour, alpha=0.1, linewidth=0, zorder=0.5)
    axes.axhline(estimate.mean, color=colour, linewidth=1.2, linestyle=(0, (1, 1.2)), zorder=1)


def _reach(estimate: Estimate) -> list[list[float]]:
    low, high = estimate.low or 0.0, estimate.high or 0.0
    return [[max(0.0, estimate.mean - low)], [max(0.0, high - estimate.mean)]]


def _mean(axes: Axes, x: float, y: float, look: Look, size: float) -> None:
    axes.plot(
        x, y, look.marker, color=look.colour, markersize=size, markeredgewidth=1.2 if not look.filled else 0.7,
        markerfacecolor=look.colour if look.filled else "white",
        markeredgecolor="white" if look.filled else look.colour, zorder=4, clip_on=False,
    )  # fmt: skip


def _dots(axes: Axes, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    axes.plot(x, y, "o", color=colour, markersize=2.2, alpha=0.7, markeredgewidth=0, zorder=2.5, clip_on=False)
