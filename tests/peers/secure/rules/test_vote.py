"""The median by votes: after v of them within radius / 2^v, whatever a minority votes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.rules.median import median as plain_median
from peers.secure.rules.vote import Vote, median

RADIUS = 2.0
NUMBERS = st.floats(-RADIUS, RADIUS, allow_nan=False)
ROWS = st.integers(1, 9).flatmap(lambda peers: st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=peers,
                                                        max_size=peers))  # fmt: skip


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def after(
    votes: tuple[Vote, ...], rows: NDArray[np.float64], seed: int = 0, false: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return where the middle is after all votes of rows [peers, d], and of false ones [votes, peers, d]."""
    draws, step = generator(seed), np.zeros(rows.shape[1])
    for number, vote in enumerate(votes):
        cast = [vote.encode(row - step, draws) for row in rows]
        if false is not None:
            cast += list(false[number])
        step = step + vote.decode(np.sum(cast, axis=0), len(cast))
    return step


def beyond(step: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Return how far numbers are from their intervals, at most."""
    return float(np.maximum(np.maximum(low - step, step - high), 0).max())


def between(rows: NDArray[np.float64], cheaters: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the numbers between which the median is, wherever so many cheaters stand."""
    ordered, peers = np.sort(rows, axis=0), len(rows)
    low, high = (peers + cheaters - 1) // 2 - cheaters, (peers + cheaters) // 2
    return ordered[max(0, low)], ordered[min(peers - 1, high)]


def test_each_vote_moves_the_middle_half_as_far_as_the_one_before() -> None:
    assert [vote.distance for vote in median(1.0, 4)] == [0.5, 0.25, 0.125, 0.0625]


@given(rows=ROWS, votes=st.integers(1, 16), seed=st.integers(0, 100))
def test_the_middle_is_nearer_to_the_median_than_the_radius_by_two_to_the_votes(
    rows: list[list[float]], votes: int, seed: int
) -> None:
    """Of an even number of peers, to what is between the two in the middle."""
    told = np.array(rows)
    step = after(median(RADIUS, votes), told, seed)
    assert beyond(step, *between(told)) <= RADIUS / 2**votes * (1 + 1e-9)
    if len(rows) % 2:
        assert np.abs(step - plain_median(told)).max() <= RADIUS / 2**votes * (1 + 1e-9)


@given(peers=st.integers(3, 9), cheaters=st.integers(1, 4), votes=st.integers(1, 10), seed=st.integers(0, 10_000))
def test_a_minority_that_votes_one_thing_now_and_another_then_stays_between_honest_numbers(
    peers: int, cheaters: int, votes: int, seed: int
) -> None:
    """It need not vote for any number at all: the middle ends where some cheaters' numbers could have put it."""
    cheaters = min(cheaters, (peers - 1) // 2)
    draws = generator(seed)
    honest = draws.normal(scale=RADIUS / 2, size=(peers, 6)).clip(-RADIUS, RADIUS)
    false = draws.choice(np.array([-1, 1]), (votes, cheaters, 6))
    step = after(median(RADIUS, votes), honest, seed, false)
    assert beyond(step, *between(honest, cheaters)) <= RADIUS / 2**votes * (1 + 1e-9)


def test_who_votes_always_the_same_moves_the_middle_no_farther_than_to_the_next_honest_number() -> None:
    honest = np.array([[-1.0], [0.1], [0.2], [0.3]])
    up = after(median(RADIUS, 12), honest, false=np.ones((12, 1, 1), np.int64))
    down = after(median(RADIUS, 12), honest, false=-np.ones((12, 1, 1), np.int64))
    assert up == pytest.approx([0.2], abs=RADIUS / 2**12)
    assert down == pytest.approx([0.1], abs=RADIUS / 2**12)


@pytest.mark.parametrize("number", [RADIUS, 5.0, 1e300])
def test_numbers_beyond_the_radius_count_as_those_at_it(number: float) -> None:
    assert after(median(RADIUS, 6), np.full((3, 1), number)) == pytest.approx([RADIUS * (1 - 2.0**-6)])
    assert after(median(RADIUS, 6), np.full((3, 1), -number)) == pytest.approx([-RADIUS * (1 - 2.0**-6)])


@given(numbers=st.lists(st.floats(allow_nan=False), max_size=30), seed=st.integers(0, 2**32))
def test_every_vote_is_one_or_minus_one_and_says_on_which_side_a_number_is(numbers: list[float], seed: int) -> None:
    cast = Vote(0.5).encode(np.array(numbers, np.float64), generator(seed))
    assert cast.dtype == np.int64
    assert set(cast.tolist()) <= {-1, 1}
    assert all(np.sign(number) * vote >= 0 for number, vote in zip(numbers, cast.tolist(), strict=True))


def test_a_number_on_the_middle_is_voted_by_fair_lot() -> None:
    """Five standard deviations of a sum of 40,000 fair votes are 1000."""
    assert abs(int(Vote(0.5).encode(np.zeros(40_000), generator()).sum())) < 1000


@pytest.mark.parametrize(("total", "step"), [(7, 0.25), (1, 0.25), (0, 0.0), (-1, -0.25), (-9, -0.25)])
def test_a_vote_moves_the_middle_by_its_distance_however_close_it_is(total: int, step: float) -> None:
    assert Vote(0.25).decode(np.array([total]), 9).tolist() == [step]
