"""How figures look, and how they become SVG that a page can hold: same input, same bytes, no global state kept."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#1c2126", "#59626d", "#d8dce1", "#fefefe"
FP32, INT8 = "#0072b2", "#d55e00"
CLASSES = (FP32, "#e69f00", "#009e73", "#cc79a7", "#56b4e9", INT8, "#f0e442", "#8a929c")
"""Okabe and Ito's palette, told apart by colour-blind readers too; its black is the ink, so a grey stands in."""

_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper", FP32: "fp32", INT8: "int8"}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called "$5"
    "font.family": "DejaVu Sans",  # ships with matplotlib, so layout is the same everywhere
    "font.size": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "hatch.linewidth": 0.8,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw inside this; matplotlib's settings are as before afterwards."""
    settings: Any = {**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}
    with matplotlib.rc_context(settings):
        yield


def canvas(width: float, height: float, box: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """Return a figure of ``width`` by ``height`` inches with one pair of axes; ``box`` is its margins
    (left, bottom, right, top), in inches."""
    left, bottom, right, top = box
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )
    return figure, axes


def percent_ticks(axis: Axis) -> None:
    """Give an axis of shares in [0, 1] a tick every 20 %."""
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    axis.set_ticks(ticks, [f"{100 * tick:.0f} %" for tick in ticks])


def svg(figure: Figure, name: str, alternative: str) -> Markup:
    """Return the figure as an ``<svg>`` element for a page.

    Colours become the page's CSS variables (so that a dark page recolours the figure), text stays text in the page's
    own font, and nothing depends on the day or on the other figures of the page.

    Args:
        name: unique in the page; keeps the identifiers of two figures apart.
        alternative: what a reader who does not see the figure is told.
    """
    output = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": f"psreval {name}"}):
        figure.savefig(output, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = output.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"#[0-9a-f]{6}\b", _variable, text)
    text = re.sub(r"(font-family: |font: [0-9a-z. ]*px )[^;\"]*", r"\1var(--sans, sans-serif)", text)
    box = re.search(r'viewBox="([^"]*)"', text)
    opening = f'<svg class="figure" role="img" aria-label="{escape(alternative)}" viewBox="{box[1] if box else ""}"'
    opening += ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(re.sub(r"^<svg[^>]*>", lambda _: opening, text).strip())


def _variable(found: re.Match[str]) -> str:
    colour = found[0]
    return f"var(--{_NAMES[colour]}, {colour})" if colour in _NAMES else colour
