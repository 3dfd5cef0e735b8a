"""``phantom``: synthetic chest X-rays, a stand-in that is always at hand. Never a finding about patients."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.config import Data
from common.data.dataset import Images
from common.data.phantom_images import GRIDS, UNIFORMS, draw
from common.data.source import Located, Opened, Part
from common.errors import UserError
from common.seeds import derive

CLASSES = ("normal", "bacterial", "viral")
SIDES = (28, 224)
"""Smallest and largest side in pixels."""
_DRAWING = 1
"""Raised whenever the same seed would draw other images."""


def locate(data: Data, cache: Path) -> Located:
    """Return the generator; ``data`` gives its seed, image size (32) and records (2000, 300 and 500).

    Raises:
        UserError: an image size outside 28 to 224.
    """
    size = data.image_size or 32
    if not SIDES[0] <= size <= SIDES[1]:
        raise UserError(f"data.image_size = {size}: phantom images are {SIDES[0]} to {SIDES[1]} pixels wide")

    def opened() -> Opened:
        return Opened(
            classes=CLASSES,
            channels=1,
            image_size=size,
            train=part(data.seed, "train", data.train_records or 2000, size),
            public=part(data.seed, "public", data.public_records or 300, size),
            test=part(data.seed, "test", data.test_records or 500, size),
            synthetic=True,
            notes=("Synthetic images, drawn by a program: nothing measured on them is a finding about patients.",),
        )

    return Located("phantom (synthetic)", f"drawing {_DRAWING}", opened)


def part(seed: int, name: str, records: int, size: int) -> Part:
    """Return a split of ``records`` images; record i depends on (seed, name, i) alone, its anatomy not on ``size``."""
    base = derive(seed, "phantom", name)

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

    # every three consecutive records hold each class once, in an order of their own
    orders = np.random.Generator(np.random.PCG64(base)).random((-(-records // 3), 3))
    labels = orders.argsort(axis=1).reshape(-1)[:records].astype(np.int64)
    return Part(labels, read)
