"""FLTrust: each update weighed by its trust score, and allowed if it is no longer than that."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import UserError
from peers.secure.field import LARGE
from peers.secure.layout import packed
from peers.secure.rules.trust import FINER, FLTrust

NINE = packed(9, faults=2, coalition=2, field=LARGE)
SIZE = 25
REFERENCE = np.random.default_rng(4).normal(size=SIZE)
RULE = FLTrust(REFERENCE)
LENGTH = math.sqrt(float((REFERENCE**2).sum()))
UNIT = LENGTH / math.sqrt(256**2 - SIZE / 2) / FINER


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def known() -> list[int]:
    """Return the reference as all know it, in whole numbers."""
    reference = RULE.terms(NINE, SIZE).reference
    assert reference is not None
    return [int(number) for number in LARGE.signed(reference)]


def product(one: NDArray[np.int64] | list[int], other: NDArray[np.int64] | list[int]) -> int:
    """Return an inner product, in Python's integers."""
    return sum(int(left) * int(right) for left, right in zip(one, other, strict=True))


def pointing(cosine: float, seed: int = 0, length: float = 1.0) -> NDArray[np.float64]:
    """Return an update at an angle to the reference."""
    beside = np.random.default_rng([9, seed]).normal(size=SIZE)
    beside -= REFERENCE * float(beside @ REFERENCE) / LENGTH**2
    beside /= math.sqrt(float((beside**2).sum()))
    told: NDArray[np.float64] = length * (cosine * REFERENCE / LENGTH + math.sqrt(1 - cosine**2) * beside)
    return told


def test_all_know_the_reference_in_whole_units_rounded_to_the_nearest() -> None:
    assert np.abs(np.array(known()) * UNIT - REFERENCE).max() <= UNIT / 2 * (1 + 1e-9)


def test_an_update_is_checked_to_be_in_a_ball_and_no_distances_are_opened() -> None:
    terms = RULE.terms(NINE, SIZE)
    assert terms.ball is not None
    assert terms.ball.bound == FINER * 256
    assert not terms.distances
    assert terms.filler == 0


@given(cosine=st.floats(-1, 1), seed=st.integers(0, 1000), length=st.floats(1e-6, 1e9))
def test_whatever_is_dealt_is_allowed(cosine: float, seed: int, length: float) -> None:
    """Its squared norm is at most its inner product with the reference, and so within the ball."""
    whole = RULE.encode(pointing(cosine, seed, length), generator(seed))
    assert whole.dtype == np.int64
    assert product(whole, whole) <= product(whole, known())
    assert product(whole, whole) <= (FINER * 256) ** 2


@pytest.mark.parametrize("cosine", [1.0, 0.7, 0.3])
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e6])
def test_an_update_is_weighed_by_its_cosine_whatever_its_length(cosine: float, length: float) -> None:
    """In whole units, times the reference's length and 2 % shorter: within five standard deviations of that."""
    draws, count = generator(1), 500
    told = pointing(cosine, 2, length)
    mean = np.mean([RULE.encode(told, draws) for _ in range(count)], axis=0)
    there = float(told @ np.array(known(), float)) / length  # cosine times the reference's length
    assert there == pytest.approx(cosine * LENGTH / UNIT, rel=0.003)
    expected = 0.98 * there * told / length
    assert mean == pytest.approx(expected, abs=5 * 0.5 / math.sqrt(count))


@pytest.mark.parametrize(("cosine", "error"), [(1.0, 0.002), (0.7, 0.002), (0.3, 0.005), (0.1, 0.03)])
def test_the_trust_score_that_follows_from_what_is_dealt_is_the_cosine(cosine: float, error: float) -> None:
    """TS² ‖r‖² is the inner product; of what is 2 % shorter the score is 1 % less. Short updates lose more."""
    for seed in range(20):
        whole = RULE.encode(pointing(cosine, seed), generator(seed))
        score = RULE.terms(NINE, SIZE).counted([0], {0: product(whole, known())}, None)[0]
        assert score == pytest.approx(math.sqrt(0.98) * cosine, abs=error)


@pytest.mark.parametrize("cosine", [0.0, -0.1, -1.0])
def test_what_points_another_way_is_dealt_as_zeros_and_counts_for_nothing(cosine: float) -> None:
    whole = RULE.encode(pointing(cosine), generator())
    assert not whole.any()
    assert RULE.terms(NINE, SIZE).counted([0], {0: 0}, None) == {}


def test_an_update_of_zeros_stays() -> None:
    assert not RULE.encode(np.zeros(SIZE), generator()).any()


def test_the_step_is_the_sum_over_the_scores_in_units_of_the_weights() -> None:
    total = generator(2).integers(-50, 50, SIZE)
    assert RULE.decode(total, 1.25) == pytest.approx(UNIT * total / 1.25)


@given(seed=st.integers(0, 10_000), peers=st.integers(1, 6))
def test_no_allowed_updates_together_make_a_longer_step_than_the_reference(seed: int, peers: int) -> None:
    """However they are chosen: each adds at most its score times the reference's length."""
    draws, rows = generator(seed), []
    whole = np.array(known())
    for _ in range(peers):
        inside = draws.normal(size=SIZE)
        radius = math.sqrt(product(known(), known())) / 2 * draws.uniform(0, 1) ** 0.1
        told = np.floor(whole / 2 + radius * inside / math.sqrt(float((inside**2).sum()))).astype(np.int64)
        if 0 < product(told, told) <= product(told, known()):
            rows.append(told)
    scores = {peer: product(row, known()) for peer, row in enumerate(rows)}
    weights = RULE.terms(NINE, SIZE).counted(list(scores), scores, None)
    if rows:
        step = RULE.decode(np.sum(rows, axis=0), sum(weights.values()))
        assert math.sqrt(float((step**2).sum())) <= LENGTH * 1.01


@pytest.mark.parametrize("reference", [np.zeros(SIZE), np.zeros(0), np.full(SIZE, np.nan), np.full(SIZE, np.inf)])
def test_a_reference_that_points_nowhere_is_refused(reference: NDArray[np.float64]) -> None:
    with pytest.raises(UserError, match=r"secure\.rule = 'fltrust': .* change training\.learning_rate"):
        FLTrust(reference).terms(NINE, SIZE)


def test_the_reference_is_not_shown_with_the_rule() -> None:
    assert "reference" not in repr(RULE)
