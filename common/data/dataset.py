"""A prepared data set: three disjoint splits of uint8 images."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.records import Records, Task

Images = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]
"""int64 [N] class numbers, or, for segmentation, masks: uint8 [N, H, W], the class number of every pixel."""
Masks = NDArray[np.uint8]
Strata = NDArray[np.int64]

_LIKE_LABELS: Strata = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 [N, C, H, W], read-only and memory-mapped: all processes of a machine share one copy.
        labels: int64 [N] class numbers; for segmentation masks, uint8 [N, H, W], memory-mapped as the images are.
        strata: int64 [N], what stratified draws and partitions go by: the labels, unless these are masks; then a band
            that the source gives (age, volume); where it gives none, one band for all.
    """

    images: Images
    labels: Labels
    strata: Strata = field(default_factory=lambda: _LIKE_LABELS)

    def __post_init__(self) -> None:
        if self.strata is _LIKE_LABELS:
            one = self.labels.ndim == 1
            strata = self.labels.astype(np.int64, copy=False) if one else np.zeros(len(self.labels), dtype=np.int64)
            object.__setattr__(self, "strata", strata)

    def __len__(self) -> int:
        return len(self.labels)

    def records(self, index: NDArray[np.int64] | Tensor | None = None) -> Records:
        """Return a copy of the records at ``index`` (int64 [M]; None: of all) as tensors, masks as int64, too."""
        rows = slice(None) if index is None else np.asarray(index, dtype=np.int64)
        labels = np.array(self.labels[rows], dtype=np.int64)
        return Records(torch.from_numpy(np.array(self.images[rows])), torch.from_numpy(labels))


@dataclass(frozen=True, eq=False)
class Dataset:
    """What ``prepare`` returns.

    Attributes:
        source: the source's name, without the folders that lead to it.
        classes: the classes' names; a label is a position in it. For segmentation the structures' names, of which the
            first is what belongs to none ("background").
        train: what the clients share among them.
        public: for calibration, normalisation and early decisions; disjoint from the rest.
        test: only ever scored.
        synthetic: True where no image was ever taken of anybody or anything.
        checksum: SHA-256 of classes, images, labels and strata; equal checksums mean equal data.
        notes: sentences on what was done to the data, for the report.
        task: what the labels teach.
        bands: for segmentation the strata's names; else empty.
    """

    source: str
    classes: tuple[str, ...]
    train: Split
    public: Split
    test: Split
    synthetic: bool
    checksum: str
    notes: tuple[str, ...]
    task: Task = "classification"
    bands: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> int:
        """Side in pixels."""
        return int(self.train.images.shape[-1])

    @property
    def normal(self) -> int | None:
        """The class called "normal", in any case; None where there is none, or where every pixel has its own."""
        if self.task == "segmentation":
            return None
        return next((number for number, name in enumerate(self.classes) if name.casefold() == "normal"), None)

    @property
    def strata_names(self) -> tuple[str, ...]:
        """The strata's names: the classes, or the bands that a segmentation source gives."""
        return self.classes if self.task == "classification" else self.bands

    def without_training(self) -> "Dataset":
        """Return these data as a server has them whose clients hold their own: the training split is empty."""
        train = Split(self.train.images[:0], self.train.labels[:0], self.train.strata[:0])
        return dataclasses.replace(self, train=train)

    def counts(self) -> dict[str, list[int]]:
        """Return each split's records per stratum, which is its class where images have one."""
        splits = {"train": self.train, "public": self.public, "test": self.test}
        return {name: class_counts(split.strata, len(self.strata_names)) for name, split in splits.items()}


def class_counts(labels: Labels, classes: int) -> list[int]:
    """Return how many of ``labels`` fall on each of ``classes`` classes."""
    return [int(count) for count in np.bincount(labels, minlength=classes)]


def normalisation(split: Split) -> tuple[list[float], list[float]]:
    """Return each channel's mean and standard deviation in units of [0, 1], exact to six places.

    A mean within 0.01 of 0.5 is moved to 0.49: with the range of the normalised image symmetric about 0, black and
    white fall on rounding ties of an int8 input, and int8 kernels then disagree with their own reference. The
    deviation is at least 1/255.
    """
    means, deviations = [], []
    levels = np.arange(256, dtype=np.float64) / 255
    for channel in range(split.images.shape[1]):
        histogram = np.zeros(256, dtype=np.int64)
        for start in range(0, len(split), 256):
            histogram += np.bincount(split.images[start : start + 256, channel].reshape(-1), minlength=256)
        mean = float((histogram * levels).sum() / histogram.sum())
        variance = float((histogram * (levels - mean) ** 2).sum() / histogram.sum())
        means.append(0.49 if abs(mean - 0.5) < 0.01 else round(mean, 6))
        deviations.append(round(max(variance**0.5, 1 / 255), 6))
    return means, deviations
