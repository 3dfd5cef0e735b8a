"""A prepared data set: three disjoint splits of uint8 images."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.records import Records

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 [N, C, H, W], read-only and memory-mapped: all processes of a machine share one copy.
        labels: int64 [N] class numbers.
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def records(self, index: NDArray[np.int64] | Tensor | None = None) -> Records:
        """Return a copy of the records at ``index`` (int64 [M]; None: of all) as tensors."""
        rows = slice(None) if index is None else np.asarray(index, dtype=np.int64)
        return Records(torch.from_numpy(np.array(self.images[rows])), torch.from_numpy(np.array(self.labels[rows])))


@dataclass(frozen=True, eq=False)
class Dataset:
    """What ``prepare`` returns.

    Attributes:
        source: the source's name, without the folders that lead to it.
        classes: the classes' names; a label is a position in it.
        train: what the clients share among them.
        public: for calibration, normalisation and early decisions; disjoint from the rest.
        test: only ever scored.
        synthetic: True where no image was ever taken of anybody or anything.
        checksum: SHA-256 of classes, images and labels; equal checksums mean equal data.
        notes: sentences on what was done to the data, for the report.
    """

    source: str
    classes: tuple[str, ...]
    train: Split
    public: Split
    test: Split
    synthetic: bool
    checksum: str
    notes: tuple[str, ...]

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
        """The class called "normal", in any case; None where there is none."""
        return next((number for number, name in enumerate(self.classes) if name.casefold() == "normal"), None)

    def without_training(self) -> "Dataset":
        """Return these data as a server has them whose clients hold their own: the training split is empty."""
        train = Split(self.train.images[:0], self.train.labels[:0])
        return dataclasses.replace(self, train=train)

    def counts(self) -> dict[str, list[int]]:
        """Return each split's records per class."""
        splits = {"train": self.train, "public": self.public, "test": self.test}
        return {name: class_counts(split.labels, len(self.classes)) for name, split in splits.items()}


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
