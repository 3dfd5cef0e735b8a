"""``brain``: synthetic brain slices with their structures, a stand-in that is always at hand, never about patients."""

import numpy as np
from numpy.typing import NDArray

from common.data.brain_images import GRIDS, UNIFORMS, draw
from common.data.dataset import Images, Masks
from common.data.source import Part, masked_part
from common.data.synthetic import Synthetic, in_turns
from common.seeds import derive

STRUCTURES = ("background", "skull", "grey matter", "white matter", "ventricles", "deep nuclei")
YOUNGEST, DECADES = 20, 7
BANDS = tuple(f"{start} to {start + 9} years" for start in range(YOUNGEST, YOUNGEST + 10 * DECADES, 10))
"""Decades of age, the strata."""


def part(seed: int, name: str, records: int, size: int) -> Part:
    """Return a split of ``records`` slices; record i depends on (seed, name, i) alone, its anatomy not on ``size``."""
    base = derive(seed, "brain", name)
    decades = in_turns(base, records, DECADES)

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


BRAIN = Synthetic(
    name="brain",
    images="brain slices",
    classes=STRUCTURES,
    part=part,
    sides=(32, 224),
    side=64,
    records=(1400, 210, 350),
    drawing=2,
    bands=BANDS,
)
