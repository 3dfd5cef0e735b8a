"""Laws of the phantom source."""

from pathlib import Path

import numpy as np
import pytest

from common.data import phantom
from common.description import Data
from common.errors import UserError


def test_a_record_depends_on_its_seed_split_and_number_alone() -> None:
    long, short = phantom.part(3, "train", 40, 32), phantom.part(3, "train", 10, 32)
    assert long.strata[:10].tolist() == short.strata.tolist()
    together = long.read(np.arange(10))
    one_by_one = np.concatenate([short.read(np.array([number])) for number in range(10)])
    assert (together == one_by_one).all()
    for seed, name in ((4, "train"), (3, "test")):
        assert not (phantom.part(seed, name, 10, 32).read(np.arange(10)) == together).all(axis=(1, 2, 3)).any()


def test_classes_are_balanced_in_every_beginning() -> None:
    labels = phantom.part(0, "train", 500, 32).strata
    for count in (3, 30, 299, 500):
        sizes = np.bincount(labels[:count], minlength=3)
        assert sizes.max() - sizes.min() <= 1


def test_defaults_and_caps(tmp_path: Path) -> None:
    opened = phantom.PHANTOM.locate(Data(), tmp_path).open()
    assert opened.public is not None
    assert opened.test is not None
    assert [len(part.strata) for part in (opened.train, opened.public, opened.test)] == [2000, 300, 500]
    assert (opened.classes, opened.channels, opened.image_size) == (("normal", "bacterial", "viral"), 1, 32)
    assert opened.synthetic
    assert "synthetic" in opened.notes[0].lower()
    small = phantom.PHANTOM.locate(Data(train_records=30, image_size=64), tmp_path)
    assert "synthetic" in small.label
    assert small.open().train.read(np.array([29])).shape == (1, 1, 64, 64)


@pytest.mark.parametrize("size", [27, 225])
def test_sizes_beyond_what_is_drawn_are_a_sentence(tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match=f"data.image_size = {size}: phantom images are 28 to 224"):
        phantom.PHANTOM.locate(Data(image_size=size), tmp_path)
