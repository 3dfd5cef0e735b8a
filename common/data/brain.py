"""``brain``: synthetic brain slices with their structures, a stand-in that is always at hand, never about patients."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.config import Data
from common.data.brain_images import GRIDS, UNIFORMS, draw
from common.data.dataset import Images, Masks
from common.data.source import Located, Opened, Part, masked_part
from common.errors import UserError
from common.seeds import derive

STRUCTURES = ("background", "skull", "grey matter", "white matter", "ventricles", "deep nuclei")
YOUNGEST, DECADES = 20, 7
BANDS = tuple(f"{start} to {start + 9} years" for start in range(YOUNGEST, YOUNGEST + 10 * DECADES, 10))
"""Decades of age, the strata."""
SIDES = (32, 224)
"""Smallest and largest side in pixels."""
_DRAWING = 2
"""Raised whenever the same seed would draw other images."""


def locate(data: Data, cache: Path) -> Located:
    """Return the generator; ``data`` gives its seed, image size (64) and records (1400, 210 and 350).

    Raises:
        UserError: an image size outside 32 to 224.
    """
    size = data.image_size or 64
    if not SIDES[0] <= size <= SIDES[1]:
        raise UserError(f"data.image_size = {size}: brain slices are {SIDES[0]} to {SIDES[1]} pixels wide")

    def opened() -> Opened:
        return Opened(
            classes=STRUCTURES,
            channels=1,
            image_size=size,
            train=part(data.seed, "train", data.train_records or 1400, size),
            public=part(data.seed, "public", data.public_records or 210, size),
            test=part(data.seed, "test", data.test_records or 350, size),
            synthetic=True,
            notes=("Synthetic images, drawn by a program: nothing measured on them is a finding about patients.",),
            bands=BANDS,
        )

    return Located("brain (synthetic)", f"drawing {_DRAWING}", opened)


def part(seed: int, name: str, records: int, size: int) -> Part:
    """Return a split of ``records`` slices; record i depends on (seed, name, i) alone, its anatomy not on ``size``."""
    base = derive(seed, "brain", name)
    # every seven consecutive records hold each decade once, in an order of their own
    orders = np.random.Generator(np.random.PCG64(base)).random((-(-records // DECADES), DECADES))
    decades = orders.argsort(axis=1).reshape(-1)[:records].astype(np.int64)

    def read(index: NDArray[np.int64]) -> tuple[Images, Masks]:
        within = np.empty(len(index), dtype=np.float32)
        uniforms = np.empty((len(index), UNIFORMS), dtype=np.float32)
        grids = tuple(np.empty((len(index), side, side), dtype=np.float32) for side in GRIDS)
        noise = np.empty((len(index), size, size), dtype=np.float32)
        for row, record in enumerate(index):
            generator = np.random.Generator(np.random.PCG64([base, int(record)]))
            within[row] = generator.random(dtype=np.float32)
            generator.random(dtype=np.float32, out=uniforms[row])
            for array in (*grids, noise):
                generator.standard_normal(dtype=np.float32, out=array[row])
        ages = (decades[index].astype(np.float32) + within) / np.float32(DECADES)
        images, masks = (np.empty((len(index), size, size), dtype=np.uint8) for _ in range(2))
        few = max(1, 2**13 // size**2)  # as many as a processor's own memory holds: half the time
        for start in range(0, len(index), few):
            piece = slice(start, start + few)
            these = tuple(grid[piece] for grid in grids)
            images[piece], masks[piece] = draw(ages[piece], uniforms[piece], these, noise[piece])
        return images[:, None], masks

    return masked_part(decades, read)
