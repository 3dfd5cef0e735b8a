"""A sheet: one figure's page, from the top: title, what is in it, legend, panels, and what must be said below."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.drawing import INK, MUTED
from experiments.study.points import Point, known, words
from experiments.wording import listed

WIDTH = 6.9
"""Inches: two columns of a paper, or the text of a page."""
TITLE, TEXT, SMALL, TINY = 11.0, 9.0, 8.5, 8.0
"""Sizes of letters in points."""
_EDGE, _LINE = 0.1, 0.165
_HANDLE = 0.49
"""Inches that a legend's entry takes beside its letters."""
_ROUNDING = 1e-9
_HINTED = 1.04
"""Letters drawn in pixels are at most so much wider than their outlines."""


@dataclass(frozen=True)
class Heading:
    """What stands around the panels.

    Attributes:
        title: short.
        subtitle: what all of the figure has in common.
        notes: sentences below the panels.
    """

    title: str
    subtitle: str = ""
    notes: tuple[str, ...] = ()

    def noting(self, *notes: str) -> "Heading":
        """Return a copy with more notes; empty ones do not count."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note)))


@dataclass(frozen=True)
class Margins:
    """Inches around the panels: for the axes' own labels, and between panels."""

    left: float = 0.8
    right: float = 0.12
    top: float = 0.26
    bottom: float = 0.5
    across: float = 0.25
    down: float = 0.4


def sheet(
    heading: Heading,
    *,
    height: float,
    rows: int = 1,
    columns: int = 1,
    width: float = WIDTH,
    legend: Sequence[Artist] = (),
    margins: Margins | None = None,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with ``rows`` by ``columns`` panels, each ``height`` inches high; call it inside ``styled()``.

    The figure's label (``get_label``) is its title and subtitle: what a reader is told who does not see it.
    """
    margins = margins or Margins()
    text_width = width - 2 * _EDGE
    title = wrapped(heading.title, text_width, TITLE, bold=True)
    subtitle = wrapped(heading.subtitle, text_width, SMALL)
    notes = [line for note in heading.notes for line in wrapped(note, text_width, TINY)]
    names = [fitted(str(handle.get_label()), text_width - _HANDLE, TEXT) for handle in legend]
    in_a_row = _columns(names, text_width)
    legend_rows = ceil(len(names) / in_a_row) if names else 0
    above = _EDGE + 0.22 * len(title) + _LINE * len(subtitle) + 0.06 + 0.2 * legend_rows
    below = _EDGE + _LINE * len(notes)
    panels = rows * height + (rows - 1) * margins.down
    total = above + margins.top + panels + margins.bottom + below

    figure = Figure(figsize=(width, total), facecolor="none")
    figure.set_label(". ".join(part for part in (heading.title, heading.subtitle) if part))
    y = total - _EDGE
    for lines, size, colour, step in ((title, TITLE, INK, 0.22), (subtitle, SMALL, MUTED, _LINE)):
        for line in lines:
            weight = "bold" if size == TITLE else "normal"
            figure.text(_EDGE / width, y / total, line, size=size, color=colour, weight=weight, va="top")
            y -= step
    if legend:
        figure.legend(
            list(legend), names, loc="upper left", bbox_to_anchor=(_EDGE / width, (y - 0.02) / total), ncols=in_a_row,
            frameon=False, fontsize=TEXT, borderaxespad=0, borderpad=0, handlelength=1.8, handletextpad=0.5,
            columnspacing=1.4, labelspacing=0.25,
        )  # fmt: skip
    for number, line in enumerate(notes):
        y = below - _EDGE / 2 - _LINE * number
        figure.text(_EDGE / width, y / total, line, size=TINY, color=MUTED, va="top")

    each = (width - margins.left - margins.right - (columns - 1) * margins.across) / columns
    grid = []
    for row in range(rows):
        bottom = total - above - margins.top - (row + 1) * height - row * margins.down
        lefts = [margins.left + column * (each + margins.across) for column in range(columns)]
        grid.append(
            [figure.add_axes((left / width, bottom / total, each / width, height / total)) for left in lefts]
        )  # fmt: skip
    for axes in (axes for row_of_axes in grid for axes in row_of_axes):
        axes.tick_params(length=0, pad=4, labelsize=SMALL)
        axes.set_axisbelow(True)
    return figure, grid


def panel_title(axes: Axes, text: str) -> None:
    """Write a panel's name above its left edge."""
    axes.text(0, 1.0, text, transform=axes.transAxes, va="bottom", ha="left", size=TEXT, weight="bold", color=INK)


def nothing(axes: Axes, text: str = "not measured") -> None:
    """Say in the middle of an empty panel that there is nothing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, va="center", ha="center", size=TEXT, color=MUTED)


class _Shares(MaxNLocator):
    """Round numbers that a share of something can be."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        return [place for place in super().tick_values(vmin, vmax) if -_ROUNDING < place < 1 + _ROUNDING]


def percent_axis(axis: Axis, ticks: int = 6, unit: str = " %", *, differences: bool = False) -> None:
    """Label an axis of fractions in per cent, at round numbers, whatever its range.

    Beyond 100 % stands nothing; below 0 neither, unless the fractions are ``differences`` of shares.
    """
    locator = MaxNLocator if differences else _Shares
    axis.set_major_locator(locator(nbins=ticks, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))


def whole_range(axis_limits: Callable[..., object]) -> None:
    """Show all of 0 to 100 %, with room for a marker at either end."""
    axis_limits(-0.03, 1.03)


def wrapped(text: str, inches: float, size: float, *, bold: bool = False) -> list[str]:
    """Return the text as lines that are at most so wide; a single long word is cut with ``…``.

    Where a number meets its sign (``n = 3``, ``95 %``) no line ends.
    """
    lines: list[str] = []
    text = " ".join(text.split())
    text = re.sub(r"(?<=\d) (?=%)", "\u00a0", text.replace(" = ", "\u00a0=\u00a0"))
    for word in text.split(" "):
        candidate = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(candidate, size, bold=bold) <= inches:
            lines[-1] = candidate
        else:
            lines.append(fitted(word, inches, size, bold=bold))
    return lines


def fitted(text: str, inches: float, size: float, *, bold: bool = False) -> str:
    """Return the text, cut with ``…`` where it would be wider."""
    if width_of(text, size, bold=bold) <= inches:
        return text
    while text and width_of(text + "…", size, bold=bold) > inches:
        text = text[:-1]
    return text.rstrip() + "…"


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a line is, in inches."""
    if not text.strip():
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72 * _HINTED


def measured_on(points: Iterable[Point], marks: str = "Large marks") -> str:
    """Return the sentences that say what is drawn, and how many repeats and test images are behind it."""
    points = tuple(points)
    told = counted(points)
    if not told:
        return ""
    repeats = [estimate.n for _, estimate in known(points)]
    if max(repeats) == 1:
        return f"A single repeat of the training, so that there are no intervals. {told}"
    alone = "" if min(repeats) > 1 else ", none for a single repeat"
    return (
        f"{marks}: means; whiskers: 95 % intervals (Student's t over repeats of the training){alone}; "
        f"small dots: single repeats. {told}"
    )


def counted(points: Iterable[Point]) -> str:
    """Return the sentences that say how many repeats and test images are behind the points, and the points' own notes.

    Empty if none is known.
    """
    found = known(points)
    repeats = [estimate.n for _, estimate in found]
    if not repeats:
        return ""
    clean = {images for one, _ in found if one.where.get("threat") == "clean" for images in one.images}
    attacked = {images for one, _ in found if one.where.get("threat") != "clean" for images in one.images}
    kinds = ((clean, "clean test images"), (attacked, "attacked ones" if clean else "attacked test images"))
    on = [f"{_span(numbers)} {kind}" for numbers, kind in kinds if numbers]
    told = f"n = {_span(set(repeats))} repeat{'s' * (max(repeats) > 1)}; {listed(on)}."
    return " ".join([told, *dict.fromkeys(one.note for one, _ in found if one.note)])


def missing(points: Iterable[Point], columns: Sequence[str], most: int = 4) -> str:
    """Return the sentence that names, by these columns, what was expected and is not there; empty if all is."""
    names = list(
        dict.fromkeys(
            " ".join(part for column in columns if (part := words(column, one.where.get(column))) not in ("", "none"))
            for one in points
            if one.estimate is None
        )
    )
    if not names:
        return ""
    told = names[:most] + ([f"{len(names) - most} more"] if len(names) > most else [])
    return f"Not measured: {'; '.join(name or 'all of it' for name in told)}."


def _columns(names: Sequence[str], inches: float) -> int:
    """Return how many legend entries stand side by side: as few rows as fit, then as few columns as fill them."""
    widths = [width_of(name, TEXT) + _HANDLE for name in names]
    for count in range(len(names), 1, -1):
        least, longer = divmod(len(names), count)  # the first columns have one entry more than the others
        ends = [0]
        for column in range(count):
            ends.append(ends[-1] + least + (column < longer))
        if sum(max(widths[start:end]) for start, end in pairwise(ends)) <= inches:
            return ceil(len(names) / ceil(len(names) / count))
    return 1


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def _tick(value: float, unit: str) -> str:
    return "" if value > 1 + _ROUNDING else f"{round(100 * value, 6):g}{unit}".replace("-", "−")
