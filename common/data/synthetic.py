"""What sources have in common whose images a program draws: they are always at hand, and never a finding."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.source import Located, Opened, Part
from common.description import Data
from common.errors import UserError


@dataclass(frozen=True)
class Synthetic:
    """A source whose images are drawn.

    Attributes:
        name: of the source.
        images: what it draws, in the plural, for people.
        classes, bands: as in ``Opened``.
        part: (seed, name of the split, records, side in pixels) → the split.
        sides: smallest and largest side in pixels.
        side: the usual one.
        records: of train, public and test where the description says nothing.
        drawing: raised whenever the same seed would draw other images.
    """

    name: str
    images: str
    classes: tuple[str, ...]
    part: Callable[[int, str, int, int], Part]
    sides: tuple[int, int]
    side: int
    records: tuple[int, int, int]
    drawing: int
    bands: tuple[str, ...] = ()

    def locate(self, data: Data, cache: Path) -> Located:
        """Return the generator; ``data`` gives its seed, image size and records. Raises UserError: no such size."""
        size = data.image_size or self.side
        if not self.sides[0] <= size <= self.sides[1]:
            raise UserError(
                f"data.image_size = {size}: {self.images} are {self.sides[0]} to {self.sides[1]} pixels wide"
            )
        train, public, test = self.records

        def opened() -> Opened:
            return Opened(
                classes=self.classes,
                channels=1,
                image_size=size,
                train=self.part(data.seed, "train", data.train_records or train, size),
                public=self.part(data.seed, "public", data.public_records or public, size),
                test=self.part(data.seed, "test", data.test_records or test, size),
                synthetic=True,
                notes=("Synthetic images, drawn by a program: nothing measured on them is a finding about patients.",),
                bands=self.bands,
            )

        return Located(f"{self.name} (synthetic)", f"drawing {self.drawing}", opened)


def in_turns(base: int, records: int, kinds: int) -> NDArray[np.int64]:
    """Return a kind for each record, int64 [records]: every ``kinds`` consecutive ones hold each once, in any order."""
    orders = np.random.Generator(np.random.PCG64(base)).random((-(-records // kinds), kinds))
    return orders.argsort(axis=1).reshape(-1)[:records].astype(np.int64)
