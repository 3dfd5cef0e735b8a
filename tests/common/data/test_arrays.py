"""Laws of images and labels that come as arrays."""

from typing import Any

import numpy as np
import pytest
import torch

from common.data.arrays import check_pair, open_arrays
from common.errors import UserError


def images(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(6, 9, 9), (6, 9, 9, 1), (6, 9, 9, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint32])
def test_medmnists_shapes_are_taken(shape: tuple[int, ...], kind: type) -> None:
    pixels, labels = check_pair(images(*shape), np.arange(6, dtype=kind)[:, None] % 2, "x")
    assert pixels.shape == (6, 9, 9, shape[3] if len(shape) == 4 else 1)
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert labels.dtype == np.int64


def test_tensors_and_lists_are_taken() -> None:
    pixels, labels = check_pair(torch.from_numpy(images(2, 9, 9)), [0, 1], "x")
    assert pixels.shape == (2, 9, 9, 1)
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (images(4, 9, 9).astype(np.float32), [0, 1, 0, 1], "images must be uint8"),
        (images(4, 81), [0, 1, 0, 1], "images must be"),
        (images(4, 9, 9, 4), [0, 1, 0, 1], "1 or 3 channels"),
        (images(0, 9, 9), [], "images must be"),
        (images(4, 9, 9), [0.0, 1.0, 0.5, 1.0], "labels must be whole numbers"),
        (images(4, 9, 9), ["a", "b", "a", "b"], "labels must be whole numbers"),
        (images(4, 9, 9), [[0, 1]] * 4, "one class number an image"),
        (images(4, 9, 9), [0, 1, 0], "4 images but 3 labels"),
        (images(4, 9, 9), [0, 1, -1, 0], "from 0"),
        (images(4, 9, 9), [0, 1, 10**12, 0], "from 0"),
        (None, [0], "images must be uint8"),
        ([images(9, 9), images(8, 8)], [0, 1], "expected an array"),
    ],
)
def test_any_other_array_is_a_sentence(pixels: Any, labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"here: .*{message}") as caught:
        check_pair(pixels, labels, "here")
    assert "\n" not in str(caught.value)


def pair(count: int, side: int, channels: int = 1, top: int = 1) -> Any:
    return check_pair(images(count, side, side, channels), np.arange(count) % (top + 1), "x")


def test_arrays_are_read_channels_first_and_at_the_size_wanted() -> None:
    train = pair(6, 10, 3)
    opened = open_arrays({"train": train, "test": pair(4, 12, 3)}, ("a", "b"), 8, "x")
    assert (opened.channels, opened.image_size, opened.classes, opened.public) == (3, 8, ("a", "b"), None)
    assert opened.train.read(np.array([1, 5])).shape == (2, 3, 8, 8)
    own = open_arrays({"train": train}, None, None, "x")
    assert own.classes == ("class 0", "class 1")
    assert (own.train.read(np.array([2]))[0] == train[0][2].transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    ("other", "names", "message"),
    [
        (pair(4, 12), None, "train images are 10x10 but test images 12x12; set data.image_size"),
        (pair(4, 10, 3), None, "have 1 channels but test images 3"),
        (pair(4, 10, 1, 2), ("a", "b"), "test has label 2, but there are only 2 classes"),
    ],
)
def test_parts_that_do_not_fit_are_a_sentence(other: Any, names: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_arrays({"train": pair(6, 10), "test": other}, names, None, "x")


def test_images_that_are_not_square_need_a_size() -> None:
    wide = check_pair(images(4, 10, 20), [0, 1, 0, 1], "x")
    with pytest.raises(UserError, match="20x10 pixels, not square"):
        open_arrays({"train": wide}, None, None, "x")
    assert open_arrays({"train": wide}, None, 10, "x").train.read(np.array([0])).shape == (1, 1, 10, 10)
