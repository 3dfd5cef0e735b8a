"""What drawn sources share; test_phantom.py and test_brain.py hold the two there are against their numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.source import Part
from common.data.synthetic import Synthetic, in_turns
from common.description import Data
from common.errors import UserError


@given(base=st.integers(0, 2**63), records=st.integers(1, 200), kinds=st.integers(1, 9))
def test_every_run_of_consecutive_records_holds_each_kind_once_and_a_longer_split_begins_as_a_shorter(
    base: int, records: int, kinds: int
) -> None:
    found = in_turns(base, records, kinds)
    assert found.shape == (records,)
    for start in range(0, records - kinds + 1, kinds):
        assert sorted(found[start : start + kinds]) == list(range(kinds))
    assert np.array_equal(in_turns(base, records + 5, kinds)[:records], found)


def part(seed: int, name: str, records: int, size: int) -> Part:
    return Part(np.full(records, seed), lambda index: np.zeros((len(index), 1, size, size), np.uint8))


DRAWN = Synthetic("dots", "dots", ("one", "two"), part, sides=(8, 16), side=12, records=(5, 4, 3), drawing=7)


def test_a_description_gives_seed_size_and_records_and_the_source_what_it_does_not_say(tmp_path: Path) -> None:
    located = DRAWN.locate(Data(seed=9, public_records=2), tmp_path)
    assert (located.label, located.fingerprint) == ("dots (synthetic)", "drawing 7")
    opened = located.open()
    assert opened.public is not None
    assert opened.test is not None
    assert [len(one.strata) for one in (opened.train, opened.public, opened.test)] == [5, 2, 3]
    assert set(opened.train.strata) == {9}
    assert opened.train.read(np.array([0])).shape == (1, 1, 12, 12)
    assert opened.synthetic


@pytest.mark.parametrize("size", [8, 16])
def test_sizes_at_the_ends_are_drawn(tmp_path: Path, size: int) -> None:
    assert DRAWN.locate(Data(image_size=size), tmp_path).open().image_size == size


def test_a_size_that_is_not_drawn_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.image_size = 17: dots are 8 to 16 pixels wide"):
        DRAWN.locate(Data(image_size=17), tmp_path)
