"""A figure's files: SVG, PNG and PDF of the same drawing, equal byte for byte whenever the drawing is."""

import io
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from common.folder import write_bytes
from experiments.drawing import styled, svg

FORMATS = ("svg", "png", "pdf")
DPI = 200
"""Of the PNG; a figure is some 7 inches wide."""
_SETTINGS: Any = {"svg.fonttype": "path", "svg.hashsalt": "psreval", "pdf.fonttype": 42, "pdf.compression": 9}


def figure_bytes(figure: Figure, form: str) -> bytes:
    """Return a figure as a file's content, on white, without a date or the name of a program.

    Args:
        figure: drawn inside ``experiments.drawing.styled()``; its label becomes the file's title.
        form: one of ``FORMATS``. SVG holds letters as outlines, so that it looks alike everywhere.
    """
    absent: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    title = {"Title": str(figure.get_label())}
    output = io.BytesIO()
    with styled(), matplotlib.rc_context(_SETTINGS):
        figure.savefig(output, format=form, dpi=DPI, facecolor="white", metadata={**absent[form], **title})
    return output.getvalue()


def write_figure(figure: Figure, stem: str, out: Path) -> list[Path]:
    """Write ``STEM.svg``, ``.png`` and ``.pdf`` into a folder; returns the paths. Raises UserError: a full disk."""
    paths = [out / f"{stem}.{form}" for form in FORMATS]
    for path in paths:
        write_bytes(path, figure_bytes(figure, path.suffix[1:]))
    return paths


def inline(figure: Figure, name: str) -> Markup:
    """Return a figure as an ``<svg>`` element for a page; ``name`` is unique in the page."""
    with styled():
        return svg(figure, name, str(figure.get_label()))
