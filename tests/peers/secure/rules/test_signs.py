"""RSA's votes: a sign for each number, by lot where there is none, and the mean of the votes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.secure.rules.signs import Signs

NUMBERS = st.lists(st.floats(allow_nan=False), max_size=30)
RULE = Signs(0.25)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(numbers=NUMBERS, seed=st.integers(0, 2**32))
def test_every_vote_is_one_or_minus_one_and_has_its_numbers_sign(numbers: list[float], seed: int) -> None:
    cast = RULE.encode(np.array(numbers, np.float64), generator(seed))
    assert cast.dtype == np.int64
    assert cast.shape == (len(numbers),)
    for number, vote in zip(numbers, cast.tolist(), strict=True):
        assert vote in (-1, 1)
        assert number * vote >= 0


def test_zeros_are_drawn_fairly() -> None:
    """Five standard deviations of a sum of 40,000 fair votes are 1000."""
    for zero in (0.0, -0.0):
        assert abs(int(RULE.encode(np.full(40_000, zero), generator()).sum())) < 1000


def test_lots_differ_from_draw_to_draw_and_are_the_same_from_one_seed() -> None:
    one, again, other = (RULE.encode(np.zeros(64), generator(seed)).tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_the_size_of_a_number_counts_for_nothing() -> None:
    update = generator().normal(size=100)
    assert np.array_equal(RULE.encode(update, generator(1)), RULE.encode(1e9 * update, generator(2)))


@pytest.mark.parametrize(("votes", "step"), [(9, 0.25), (-9, -0.25), (0, 0.0), (3, 0.25 / 3), (-1, -0.25 / 9)])
def test_the_step_is_the_mean_vote_times_the_step_size(votes: int, step: float) -> None:
    assert RULE.decode(np.array([votes]), 9) == pytest.approx([step])


@given(up=st.integers(0, 50), down=st.integers(0, 50))
def test_a_vote_changes_the_step_by_its_share_of_it(up: int, down: int) -> None:
    peers = up + down + 1
    before = RULE.decode(np.array([up - down - 1]), peers)
    after = RULE.decode(np.array([up - down + 1]), peers)
    assert after - before == pytest.approx([2 * 0.25 / peers])
