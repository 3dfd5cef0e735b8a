"""What every data source gives: where it is, then its parts, whose images are read only when they are wanted."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Images, Labels

Parts = Collection[str]
PARTS: Parts = ("train", "public", "test")
"""What a data set is made of."""
HOSPITAL_PARTS: Parts = ("train",)
"""What a hospital needs: every record trains, and a class may be missing."""
SERVER_PARTS: Parts = ("public", "test")
"""What a server among hospitals needs, and what every evaluation needs."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a source's records, before any split or cap.

    Attributes:
        labels: int64 [N].
        read: record numbers [M] → uint8 [M, C, S, S]; raises UserError where an image is unreadable.
        groups: one name a record; records of one group (a patient) never straddle two splits. None: each stands alone.
    """

    labels: Labels
    read: Callable[[NDArray[np.int64]], Images]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A source's contents. A ``public`` or ``test`` that is missing, but needed, is cut out of ``train``."""

    classes: tuple[str, ...]
    channels: int
    image_size: int
    train: Part
    public: Part | None
    test: Part | None
    synthetic: bool = False
    notes: tuple[str, ...] = ()


def no_records(channels: int, image_size: int) -> Part:
    """Return a part without any record."""

    def read(index: NDArray[np.int64]) -> Images:
        return np.empty((len(index), channels, image_size, image_size), dtype=np.uint8)

    return Part(np.empty(0, dtype=np.int64), read)


@dataclass(frozen=True, eq=False)
class Located:
    """A source that is there but not yet read.

    Attributes:
        label: its name for reports, without folders.
        fingerprint: changes whenever what would be read changes.
        open: reads it; raises UserError.
    """

    label: str
    fingerprint: str
    open: Callable[[], Opened]
