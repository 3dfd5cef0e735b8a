"""Drawing smooth functions of position, many images at once, in float32 numbers that every machine gets alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
"""float32 throughout."""


class Columns:
    """Hand out uniform draws one after the other, scaled, as [B, 1, 1]."""

    def __init__(self, uniforms: Field) -> None:
        self._uniforms = uniforms
        self._next = 0

    def __call__(self, low: float, high: float) -> Field:
        """Return the next draw of each image, moved from [0, 1] to [low, high]."""
        column = self._uniforms[:, self._next, None, None]
        self._next += 1
        return np.float32(low) + np.float32(high - low) * column


def step(z: Field, width: float) -> Field:
    """Return a smooth step from 0 (z <= -width) to 1 (z >= width)."""
    t: Field = np.clip(z * np.float32(0.5 / width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def bump(r2: Field) -> Field:
    """Return a bell of the squared distance: 1 at 0, 1/4 at 1, thin tails."""
    b: Field = 1 / (1 + r2)
    return b * b


def halve(image: Field) -> Field:
    """Return images [B, 2 side, 2 side] at half their size: each pixel the mean of four."""
    total: Field = image[:, ::2, ::2] + image[:, 1::2, ::2] + image[:, ::2, 1::2] + image[:, 1::2, 1::2]
    return total * np.float32(0.25)


def spread(grid: Field, side: int) -> Field:
    """Spread a coarse grid [B, g, g] over [B, side, side] by cubic B-splines."""
    cells = grid.shape[-1] - 3
    place = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / side)
    first = np.minimum(place.astype(np.int64), cells - 1)
    t = (place - first).astype(np.float32)
    s = 1 - t
    weights = (s * s * s, (3 * t - 6) * t * t + 4, (3 * s - 6) * s * s + 4, t * t * t)
    rows = np.zeros((len(grid), side, grid.shape[-1]), dtype=np.float32)
    for k, weight in enumerate(weights):
        rows += (weight / 6)[:, None] * grid[:, first + k]
    field = np.zeros((len(grid), side, side), dtype=np.float32)
    for k, weight in enumerate(weights):
        field += (weight / 6) * rows[:, :, first + k]
    return field
