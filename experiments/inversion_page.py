"""What inversion came to: rows of scores, as a table, as JSON, and as a drawing of the images."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, stdev
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from common.intervals import student, wilson
from experiments.drawing import INK, MUTED, styled
from experiments.inversion_scores import Scores
from experiments.study.figure_files import figure_bytes

_GAP = 3
"""White pixels between images."""
_ROW, _TEXT, _IMAGES = 0.62, 2.7, 5.1
"""Inches: a row's height, the width of its text, and of its images."""


@dataclass(frozen=True, eq=False)
class Row:
    """One view of updates, and what was reconstructed of it.

    Attributes:
        who: sees it.
        what: it is.
        scores: of each repeat.
        guess: the same images guessed by who sees no update, scored against the same true ones; empty: not compared.
        losses: matching loss of each repeat; empty: nothing was searched for.
        seconds: of CPU, of all repeats.
        shown: [8, 1, H, W], what was found of the first eight training images; None: not drawn.
    """

    who: str
    what: str
    scores: Sequence[Scores]
    guess: Sequence[Scores] = ()
    losses: Sequence[float] = ()
    seconds: float = 0.0
    shown: Tensor | None = field(default=None, repr=False)

    @property
    def psnr(self) -> list[float]:
        """Of each image, dB."""
        return [value for one in self.scores for value in one.psnr.tolist()]

    @property
    def ssim(self) -> list[float]:
        """Of each image."""
        return [value for one in self.scores for value in one.ssim.tolist()]

    @property
    def ranks(self) -> list[int]:
        """Of each true image in the pool."""
        return _ranks(self.scores)

    @property
    def recognised(self) -> int:
        """Images that were nearest of the whole pool to what was reconstructed of them."""
        return sum(rank == 1 for rank in self.ranks)

    def gain(self) -> list[float]:
        """Return by how many dB each reconstruction is nearer than the guess, image by image, or repeat by repeat where
        images are assigned to several."""
        pairs = zip(self.scores, self.guess, strict=True)
        return [float(found.psnr.mean() - guess.psnr.mean()) for found, guess in pairs]

    def as_json(self) -> dict[str, Any]:
        """Return all numbers."""
        return {
            "who": self.who,
            "what": self.what,
            "psnr": [round(value, 3) for value in self.psnr],
            "ssim": [round(value, 4) for value in self.ssim],
            "rank": self.ranks,
            "matching_loss": [round(loss, 5) for loss in self.losses],
            "guess_psnr": [round(value, 3) for one in self.guess for value in one.psnr.tolist()],
            "guess_rank": _ranks(self.guess),
            "cpu_seconds": round(self.seconds, 1),
        }


def table(rows: Sequence[Row], pool: int) -> str:
    """Return the rows as Markdown.

    Args:
        rows: in order.
        pool: images among which true ones are looked for.
    """
    head = (
        "| who sees it | what it is | images | PSNR, dB | SSIM | recognised | median rank | above a guess, dB |\n"
        "|---|---|---:|---:|---:|---:|---:|---:|\n"
    )
    return head + "\n".join(_line(row, pool) for row in rows) + "\n"


def _line(row: Row, pool: int) -> str:
    images = len(row.psnr)
    low, high = wilson(row.recognised / images, images)
    recognised = f"{row.recognised} of {images} ({100 * low:.0f}–{100 * high:.0f} %)"
    cells = [
        row.who,
        row.what,
        str(images),
        _spread(row.psnr, 1),
        _spread(row.ssim, 2),
        recognised,
        f"{median(row.ranks):g} of {pool}",
        _gain(row),
    ]
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], places: int) -> str:
    around = f" ± {stdev(values):.{places}f}" if len(values) > 1 else ""
    return f"{mean(values):.{places}f}{around}"


def _gain(row: Row) -> str:
    if not row.guess:
        return "—"
    gains = row.gain()
    interval = student(gains)
    of = f" ({interval[0]:+.1f} to {interval[1]:+.1f})" if interval and len(gains) > 2 else f" (n = {len(gains)})"
    return f"{mean(gains):+.1f}{of}"


def _ranks(scores: Sequence[Scores]) -> list[int]:
    return [rank for one in scores for rank in one.rank.tolist()]


def drawing(rows: Sequence[Row], true: Tensor, pool: int) -> Figure:
    """Return the figure: the true images above, then a row of reconstructions for each view that has some.

    Args:
        rows: in order.
        true: [8, 1, H, W] in [0, 1].
        pool: as for ``table``.
    """
    strips: list[tuple[str, str, str, Tensor]] = [("the true images", "", "", true)]
    strips += [
        (row.who, row.what, f"{mean(row.psnr):.1f} dB, {row.recognised} of {len(row.psnr)} recognised", row.shown)
        for row in rows
        if row.shown is not None
    ]
    width, height = _TEXT + _IMAGES + 0.1, _ROW * len(strips) + 0.1
    with styled():
        figure = Figure(figsize=(width, height))
        figure.set_label(
            f"What is reconstructed of updates: eight X-rays, one column each; recognised: the nearest of {pool}"
        )
        for place, (who, what, scores, images) in enumerate(strips):
            bottom = height - 0.05 - _ROW * (place + 1)
            axes = figure.add_axes((_TEXT / width, (bottom + 0.03) / height, _IMAGES / width, (_ROW - 0.06) / height))
            axes.imshow(_strip(images), cmap="gray", vmin=0, vmax=1, interpolation="none")
            axes.set_axis_off()
            lines = [(who, INK, 8.5), (what, MUTED, 7.0), (scores, MUTED, 7.0)]
            for line, (text, colour, size) in enumerate(each for each in lines if each[0]):
                level = (bottom + _ROW - 0.14 - 0.17 * line) / height
                figure.text(0.05 / width, level, text, color=colour, fontsize=size, va="center")
    return figure


def _strip(images: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return images side by side, grey, with white between them."""
    grey = images.mean(dim=1)
    gap = grey.new_ones(len(grey), grey.shape[1], _GAP)
    strip: np.ndarray[Any, np.dtype[np.float32]] = np.concatenate(
        [part.numpy() for pair in zip(grey, gap, strict=True) for part in pair][:-1], axis=1
    )
    return strip


def drawing_bytes(figure: Figure) -> bytes:
    """Return the drawing as SVG whose images have one byte a pixel; matplotlib writes four."""

    def grey(found: re.Match[bytes]) -> bytes:
        output = io.BytesIO()
        Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("L").save(output, format="PNG", optimize=True)
        return b"data:image/png;base64," + base64.b64encode(output.getvalue()) + b'"'

    return re.sub(rb'data:image/png;base64,([^"]*)"', grey, figure_bytes(figure, "svg"))


def page(rows: Sequence[Row], pool: int, facts: Mapping[str, str]) -> str:
    """Return the table with what was run, as a file of ``docs/figures/tables``.

    Args:
        rows, pool: as for ``table``.
        facts: name → sentence.
    """
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    head = (
        "**What is reconstructed of an update** (`python -m experiments.inversion`). PSNR and SSIM: mean ± standard "
        "deviation over images. Recognised: the true image is the nearest, by correlation, of all training images to "
        "what was reconstructed (Wilson's 95 % interval). Above a guess: PSNR less that of the same search on signs by "
        "lot, assigned in the same way (mean over repeats, with Student's 95 % interval from three repeats on)."
    )
    return f"{head}\n\n{table(rows, pool)}\n{told}\n"
