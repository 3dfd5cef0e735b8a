"""``phantom``: synthetic chest X-rays, a stand-in that is always at hand. Never a finding about patients."""

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Images
from common.data.phantom_images import GRIDS, UNIFORMS, draw
from common.data.source import Part
from common.data.synthetic import Synthetic, in_turns
from common.seeds import derive


def part(seed: int, name: str, records: int, size: int) -> Part:
    """Return a split of ``records`` images; record i depends on (seed, name, i) alone, its anatomy not on ``size``."""
    base = derive(seed, "phantom", name)
    labels = in_turns(base, records, 3)

    def read(index: NDArray[np.int64]) -> Images:
        uniforms = np.empty((len(index), UNIFORMS), dtype=np.float32)
        grids = tuple(np.empty((len(index), side, side), dtype=np.float32) for side in GRIDS)
        noise = np.empty((len(index), size, size), dtype=np.float32)
        for row, record in enumerate(index):
            generator = np.random.Generator(np.random.PCG64([base, int(record)]))
            for array in (uniforms, *grids, noise):
                if array is uniforms:
                    generator.random(dtype=np.float32, out=array[row])
                else:
                    generator.standard_normal(dtype=np.float32, out=array[row])
        return draw(labels[index], uniforms, grids, noise)[:, None]

    return Part(labels, read)


PHANTOM = Synthetic(
    name="phantom",
    images="phantom images",
    classes=("normal", "bacterial", "viral"),
    part=part,
    sides=(28, 224),
    side=32,
    records=(2000, 300, 500),
    drawing=1,
)
