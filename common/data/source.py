"""What every data source gives: where it is, then its parts, whose images are read only when they are wanted."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Images, Masks, Strata
from common.records import Task

Parts = Collection[str]
PARTS: Parts = ("train", "public", "test")
"""What a data set is made of."""
PART_FOLDERS = {"train": ("train",), "public": ("public", "val", "valid", "validation"), "test": ("test",)}
"""Folders that each part may lie in, in any case of letters."""
HOSPITAL_PARTS: Parts = ("train",)
"""What a hospital needs: every record trains, and a class may be missing."""
SERVER_PARTS: Parts = ("public", "test")
"""What a server among hospitals needs, and what every evaluation needs."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a source's records, before any split or cap.

    Attributes:
        strata: int64 [N], what draws are stratified by: each record's class number, or, where every pixel has its own,
            a band that the source gives.
        read: record numbers [M] → images, uint8 [M, C, S, S]; raises UserError where an image is unreadable.
        groups: one name a record; records of one group (a patient) never straddle two splits. None: each stands alone.
        read_masked: for segmentation, record numbers [M] → images and masks, uint8 [M, S, S]. None: the strata are the
            labels.
    """

    strata: Strata
    read: Callable[[NDArray[np.int64]], Images]
    groups: tuple[str, ...] | None = None
    read_masked: Callable[[NDArray[np.int64]], tuple[Images, Masks]] | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A source's contents. A ``public`` or ``test`` that is missing, but needed, is cut out of ``train``.

    For segmentation every part has masks, ``classes`` are the structures, and ``bands`` the strata's names.
    """

    classes: tuple[str, ...]
    channels: int
    image_size: int
    train: Part
    public: Part | None
    test: Part | None
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What the labels teach."""
        return "classification" if self.train.read_masked is None else "segmentation"

    @property
    def strata_names(self) -> tuple[str, ...]:
        """The classes, or the bands that a segmentation source gives."""
        return self.classes if self.task == "classification" else self.bands


def masked_part(
    strata: Strata,
    read: Callable[[NDArray[np.int64]], tuple[Images, Masks]],
    groups: tuple[str, ...] | None = None,
) -> Part:
    """Return a part whose labels are masks; ``read`` gives images and masks."""
    return Part(strata, lambda index: read(index)[0], groups, read)


def no_records(channels: int, image_size: int, task: Task = "classification") -> Part:
    """Return a part without any record."""
    none = np.empty(0, dtype=np.int64)

    def read(index: NDArray[np.int64]) -> Images:
        return np.empty((len(index), channels, image_size, image_size), dtype=np.uint8)

    if task == "classification":
        return Part(none, read)
    return masked_part(none, lambda index: (read(index), np.empty((len(index), image_size, image_size), np.uint8)))


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
