"""How cost grows, drawn: time and memory of each local update, client … along an axis, with what was fitted to them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from experiments.bench.growth_axes import Axis
from experiments.bench.growth_fit import UPPER, cost
from experiments.bench.growth_series import Series, growing, in_words, series
from experiments.drawing import FP32, INK, INT8, MUTED, styled

NARROW, FEW = 3, 30
"""Times the least value that the largest one of an axis is, below which ticks of 1, 10, 100 would be too few."""


def figure(axis: Axis, points: Sequence[Mapping[str, Any]]) -> Figure:
    """Return a figure of two pairs of logarithmic axes: CPU time and memory of a unit; its label says what it shows.

    Args:
        axis: which.
        points: as ``growth.json`` has them.
    """
    time, memory = series(axis, points)
    with styled():
        drawn = Figure(figsize=(7.6, 3.7), layout="constrained", label=f"{in_words(axis, time, memory)}; {axis.fixed}")
        for axes, one, colour in zip(drawn.subplots(1, 2), (time, memory), (FP32, INT8), strict=True):
            _draw(axes, one, colour)
            axes.set(xlabel=axis.label, ylabel=one.unit.label)
    return drawn


def _draw(axes: Axes, one: Series, colour: str) -> None:
    x = np.array(one.sizes, float)
    middle, low, high = (
        np.array([of(values) for values in one.a_unit]) for of in (np.median, np.min, np.max)
    )  # fmt: skip
    axes.errorbar(x, middle, [middle - low, high - middle], color=colour, marker="o", linestyle="", label="measured")
    fine = np.geomspace(x[0], x[-1], 100)
    made = [cost(one.terms, size) / one.unit.size(size) for size in fine]
    axes.plot(fine, made, color=MUTED, linewidth=0.9, label=f"the whole: {one.words()}")
    factor, power = one.law
    upper = x[-UPPER:]
    label = f"{f'each {one.unit.of}' if one.unit.of else 'the whole'} {growing(power)} at the end"
    axes.plot(upper, factor * upper**power, color=INK, linewidth=1.4, linestyle=(0, (3, 2)), label=label)
    for bend in one.bends:
        axes.axvline(bend, color=MUTED, linewidth=0.7, linestyle=":")
    axes.set(xscale="log", yscale="log")
    for ticks, values in ((axes.xaxis, x), (axes.yaxis, np.concatenate([low, high]))):
        range_of = values.max() / values.min()
        subs = range(1, 10) if range_of < NARROW else (1, 2, 5) if range_of < FEW else (1,)
        ticks.set_major_locator(LogLocator(subs=subs))
        ticks.set_major_formatter(lambda value, _: f"{value:,g}")
        ticks.set_minor_formatter("")
    axes.grid(visible=True, alpha=0.6)
    axes.margins(y=0.12)
    axes.legend(frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(-0.04, 1), fontsize=8.5)
