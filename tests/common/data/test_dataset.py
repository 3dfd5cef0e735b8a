"""Laws of a prepared data set."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.data.dataset import Dataset, Split, class_counts, normalisation


def split(images: np.ndarray) -> Split:
    return Split(images, np.arange(len(images), dtype=np.int64) % 2)


def dataset(*classes: str) -> Dataset:
    images = np.zeros((4, 1, 8, 8), dtype=np.uint8)
    return Dataset("x", classes, split(images), split(images[:2]), split(images[:3]), True, "", ())


def test_records_are_copies_in_the_order_asked() -> None:
    part = split(np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8))
    part.images.setflags(write=False)
    records = part.records(torch.tensor([2, 0]))
    assert records.images[0, 0, 0, 0] == 128
    assert records.labels.tolist() == [0, 0]
    every = part.records()
    assert len(every) == len(part) == 4
    every.images.zero_()
    assert part.images[3].any()


@pytest.mark.parametrize(("classes", "normal"), [(("a", "NORMAL"), 1), (("Normal", "b"), 0), (("abnormal", "b"), None)])
def test_normal_is_found_in_any_case(classes: tuple[str, ...], normal: int | None) -> None:
    assert dataset(*classes).normal == normal


def test_counts_cover_every_class_and_split() -> None:
    found = dataset("a", "b", "c")
    assert found.counts() == {"train": [2, 2, 0], "public": [1, 1, 0], "test": [2, 1, 0]}
    assert (found.channels, found.image_size) == (1, 8)
    assert class_counts(np.array([2, 2, 0], dtype=np.int64), 4) == [1, 0, 2, 0]


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(3), st.just(4), st.just(4))))
def test_normalisation_is_mean_and_deviation_unless_symmetric(images: np.ndarray) -> None:
    mean, std = normalisation(split(images))
    scaled = images.astype(np.float64) / 255
    for channel in range(3):
        true = scaled[:, channel].mean()
        assert abs(mean[channel] - 0.5) >= 0.0099
        assert mean[channel] == pytest.approx(true, abs=1e-6) or abs(true - 0.5) < 0.0101
        assert std[channel] == pytest.approx(max(scaled[:, channel].std(), 1 / 255), abs=1e-6)


def test_black_and_white_halves_do_not_normalise_to_a_symmetric_range() -> None:
    images = np.zeros((2, 1, 8, 8), dtype=np.uint8)
    images[0] = 255
    mean, std = normalisation(split(images))
    assert mean == [0.49]
    assert std == [0.5]


def test_without_training_there_is_nothing_to_train_on_and_the_rest_is_the_same() -> None:
    whole = dataset("a", "b")
    left = whole.without_training()
    assert (len(left.train), left.channels, left.image_size) == (0, whole.channels, whole.image_size)
    assert (left.public, left.test, left.checksum) == (whole.public, whole.test, whole.checksum)
