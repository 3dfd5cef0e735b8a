"""Box clipping: one end of the box for each number, by lots that are right on average, and nobody counts for more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.secure.rules.box import Box

RADIUS = 0.5
RULE = Box(RADIUS)
NUMBERS = st.lists(st.floats(allow_nan=False), max_size=30)
DRAWS = 40_000
OVERFLOWS = pytest.mark.filterwarnings("ignore:overflow encountered in divide:RuntimeWarning")
"""To infinity, which is clipped as it should be."""


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@OVERFLOWS
@given(numbers=NUMBERS, seed=st.integers(0, 2**32))
def test_every_number_becomes_one_or_minus_one(numbers: list[float], seed: int) -> None:
    encoded = RULE.encode(np.array(numbers, np.float64), generator(seed))
    assert encoded.dtype == np.int64
    assert encoded.shape == (len(numbers),)
    assert set(encoded.tolist()) <= {-1, 1}


@pytest.mark.parametrize("number", [RADIUS, 0.6, 7.0, 1e300, np.inf])
def test_what_is_at_the_ends_or_beyond_is_rounded_without_a_lot(number: float) -> None:
    assert (RULE.encode(np.full(DRAWS, number), generator()) == 1).all()
    assert (RULE.encode(np.full(DRAWS, -number), generator()) == -1).all()


@pytest.mark.parametrize("number", [-0.49, -0.25, -0.001, 0.0, 0.1, 0.3, 0.4999])
def test_rounding_is_right_on_average(number: float) -> None:
    """A draw is ±τ with mean x and variance τ² − x²; five standard deviations of a mean of draws."""
    mean = float(RADIUS * RULE.encode(np.full(DRAWS, number), generator()).mean())
    assert abs(mean - number) < 5 * np.sqrt((RADIUS**2 - number**2) / DRAWS)


def test_numbers_are_drawn_independently() -> None:
    """The product of two draws has the product of their means, within five standard deviations, which are below 1."""
    pairs = RULE.encode(np.full((DRAWS, 2), 0.2), generator())
    assert abs(float((pairs[:, 0] * pairs[:, 1]).mean()) - 0.4**2) < 5 / np.sqrt(DRAWS)


def test_one_seed_gives_one_rounding() -> None:
    one, again, other = (RULE.encode(np.zeros(64), generator(seed)).tolist() for seed in (1, 1, 2))
    assert one == again != other


@given(radius=st.floats(1e-3, 1e3), peers=st.integers(1, 100))
def test_peers_that_agree_move_a_weight_to_the_end_of_the_box(radius: float, peers: int) -> None:
    assert Box(radius).decode(np.array([peers, -peers, 0]), peers) == pytest.approx([radius, -radius, 0])


@OVERFLOWS
@given(attack=st.lists(st.floats(allow_nan=False), min_size=5, max_size=5), seed=st.integers(0, 1000))
def test_one_peer_moves_the_mean_by_at_most_its_share_of_the_box(attack: list[float], seed: int) -> None:
    peers = 8
    others = RULE.encode(generator(seed).normal(size=(peers - 1, 5)), generator(seed)).sum(axis=0)
    honest, false = (RULE.encode(np.array(row), generator(seed)) for row in (np.zeros(5), np.array(attack)))
    moved = RULE.decode(others + false, peers) - RULE.decode(others + honest, peers)
    assert (np.abs(moved) <= 2 * RADIUS / peers + 1e-12).all()


def test_the_mean_of_many_peers_is_the_mean_of_their_clipped_updates() -> None:
    """Within five standard deviations: each of 4,000 peers adds at most τ² to the variance."""
    updates = generator().normal(scale=RADIUS, size=(4000, 6))
    draws = generator(1)
    total = np.sum([RULE.encode(update, draws) for update in updates], axis=0)
    clipped = np.clip(updates, -RADIUS, RADIUS).mean(axis=0)
    assert np.abs(RULE.decode(total, 4000) - clipped).max() < 5 * RADIUS / np.sqrt(4000)
