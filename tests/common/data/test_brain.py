"""Laws of the brain source."""

from pathlib import Path

import numpy as np
import pytest

from common.data import brain, prepare
from common.description import Data
from common.errors import UserError


def test_a_record_depends_on_its_seed_split_and_number_alone() -> None:
    long, short = brain.part(3, "train", 40, 32), brain.part(3, "train", 10, 32)
    assert long.read_masked is not None
    assert short.read_masked is not None
    assert long.strata[:10].tolist() == short.strata.tolist()
    images, masks = long.read_masked(np.arange(10))
    alone = [short.read_masked(np.array([number])) for number in range(10)]
    assert (images == np.concatenate([image for image, _ in alone])).all()
    assert (masks == np.concatenate([mask for _, mask in alone])).all()
    assert (long.read(np.arange(10)) == images).all()
    for seed, name in ((4, "train"), (3, "test")):
        assert not (brain.part(seed, name, 10, 32).read(np.arange(10)) == images).all(axis=(1, 2, 3)).any()


def test_decades_are_balanced_in_every_beginning() -> None:
    strata = brain.part(0, "train", 500, 32).strata
    for count in (7, 70, 299, 500):
        sizes = np.bincount(strata[:count], minlength=brain.DECADES)
        assert sizes.max() - sizes.min() <= 1


def test_it_is_prepared_as_segmentation(tmp_path: Path) -> None:
    data = Data(source="brain", image_size=32, train_records=28, public_records=14, test_records=7, partition="sorted")
    dataset = prepare(data, tmp_path)
    assert (dataset.task, dataset.synthetic, dataset.channels) == ("segmentation", True, 1)
    assert dataset.classes[0] == "background"
    assert dataset.strata_names[0] == "20 to 29 years"
    assert dataset.counts() == {"train": [4] * 7, "public": [2] * 7, "test": [1] * 7}
    assert dataset.normal is None
    assert "synthetic" in dataset.notes[0].lower()


def test_defaults(tmp_path: Path) -> None:
    opened = brain.BRAIN.locate(Data(source="brain"), tmp_path).open()
    assert opened.public is not None
    assert opened.test is not None
    assert [len(part.strata) for part in (opened.train, opened.public, opened.test)] == [1400, 210, 350]
    assert (opened.image_size, opened.task, len(opened.classes)) == (64, "segmentation", 6)


@pytest.mark.parametrize("size", [31, 225])
def test_sizes_beyond_what_is_drawn_are_a_sentence(tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match=f"data.image_size = {size}: brain slices are 32 to 224"):
        brain.BRAIN.locate(Data(source="brain", image_size=size), tmp_path)
