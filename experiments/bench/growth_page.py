"""How cost grows, as Markdown: a figure, a table and what was fitted, for each axis."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.bench.growth_axes import AXES, Axis
from experiments.bench.growth_series import Series, growing, in_words, plain, series
from experiments.bench.markdown import head, line, spread


def section(axes: Mapping[str, Sequence[Mapping[str, Any]]], figures: str) -> str:
    """Return the figures and tables of all axes that were measured.

    Args:
        axes: name → points, as ``growth.json`` has them.
        figures: the folder of the figures, as a page links to it.
    """
    return "\n".join(axis_section(AXES[name], points, figures) for name, points in axes.items())


def axis_section(axis: Axis, points: Sequence[Mapping[str, Any]], figures: str) -> str:
    """Return one axis's figure, table and fits."""
    time, memory = series(axis, points)
    title = axis.label[0].upper() + axis.label[1:]
    shown = f"![{in_words(axis, time, memory)}]({figures}/growth-{axis.name}.svg)"
    text = f"#### {title}\n\n{axis.fixed}; x: {axis.label}.\n\n{shown}\n\n"
    text += head(
        (
            axis.label,
            "CPU s",
            "wall s",
            time.unit.label,
            "MiB beyond the start",
            memory.unit.label,
            "images drawn, CPU s",
        )
    )
    for point, each, bytes_each in zip(points, time.a_unit, memory.a_unit, strict=True):
        runs = point["runs"]
        cells = (
            spread([run["cpu"] for run in runs]),
            spread([run["wall"] for run in runs]),
            spread(each),
            spread([run["memory"] / 2**20 for run in runs]),
            spread(bytes_each),
            f"{point['prepared']['cpu']:.3g}",
        )
        text += line((f"{point['x']:,}", *cells))
    return text + "".join(f"\n{_fitted(name, one)}\n" for name, one in (("CPU time", time), ("Memory", memory)))


def _fitted(name: str, one: Series) -> str:
    """Return what was fitted to a cost, as a sentence."""
    each = f", that of each {one.unit.of} {growing(one.law[1])}" if one.unit.of else ""
    bends = ", ".join(plain(bend) for bend in one.bends)
    return (
        f"{name}, over the last three sizes: the whole {growing(one.power)}{each}. Over all sizes the whole is about "
        f"{one.words()}" + (f", so it bends at x = {bends}." if bends else ".")
    )
