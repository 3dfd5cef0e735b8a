"""The mean of updates of a bounded norm: nobody counts for more, however it deals; multi-Krum asks for distances."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import UserError
from peers.secure.ball import bound_for
from peers.secure.field import LARGE, SMALL
from peers.secure.layout import packed
from peers.secure.rules.norm import MultiKrum, NormBounded

NORM = 0.5
RULE = NormBounded(NORM)
NINE = packed(9, faults=2, coalition=2, field=LARGE)
RULES = pytest.mark.parametrize("rule", [RULE, MultiKrum(NORM)], ids=["mean", "multi-krum"])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def reach(size: int) -> float:
    """Return the norm that the bound of a ball stands for, which is what a cheater may deal: 0.1 % above the rule's."""
    bound = bound_for(size)
    return NORM * bound / math.sqrt(bound**2 - size / 2)


def squared(whole: NDArray[np.int64]) -> int:
    return sum(int(number) ** 2 for number in whole)


@RULES
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@given(
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
)
def test_whatever_an_update_is_its_numbers_are_in_the_ball(rule: NormBounded, numbers: list[float], seed: int) -> None:
    whole = rule.encode(np.array(numbers), generator(seed))
    assert whole.dtype == np.int64
    assert squared(whole) <= bound_for(len(numbers)) ** 2


@RULES
def test_what_is_dealt_is_the_update_clipped_and_right_on_average(rule: NormBounded) -> None:
    """Each draw of a number has a variance of at most a quarter of a unit squared; at the bound 1 % may be lost."""
    draws, size = generator(1), 30
    one = reach(size) / bound_for(size)
    short, long = generator(2).normal(size=(2, size))
    short *= 0.4 * NORM / float(np.linalg.norm(short))
    for told, expected, lost in ((short, short, 0.0), (long, long * NORM / float(np.linalg.norm(long)), 0.01)):
        mean = one * np.mean([rule.encode(told, draws) for _ in range(2000)], axis=0)
        assert (np.abs(mean - expected) <= 5 * one * 0.5 / math.sqrt(2000) + lost * np.abs(expected)).all()


@RULES
def test_the_step_is_the_mean_in_units_of_the_weights(rule: NormBounded) -> None:
    bound = bound_for(4)
    total = np.array([bound, -2 * bound, 0, 3])
    assert rule.decode(total, 4) == pytest.approx(np.array([1, -2, 0, 3 / bound]) * reach(4) / 4)


@given(peers=st.integers(2, 30), seed=st.integers(0, 1000), size=st.integers(1, 40))
def test_a_cheater_moves_the_mean_by_no_more_than_twice_the_norm_over_the_peers(
    peers: int, seed: int, size: int
) -> None:
    """Whatever it trains, and even if it deals the longest integers that the ball allows."""
    draws = generator(seed)
    others = np.sum([RULE.encode(row, draws) for row in draws.normal(size=(peers - 1, size))], axis=0)
    honest = RULE.encode(draws.normal(size=size), draws)
    huge = RULE.encode(-1e9 * honest.astype(float), draws)
    edge = np.zeros(size, np.int64)
    edge[0] = -bound_for(size) if honest[0] > 0 else bound_for(size)
    before = RULE.decode(others + honest, peers)
    for cheating in (huge, edge):
        moved = RULE.decode(others + cheating, peers) - before
        assert float(np.linalg.norm(moved)) <= 2 * reach(size) / peers * (1 + 1e-9)
    assert reach(size) < 1.002 * NORM


@RULES
def test_an_update_is_checked_to_be_in_the_ball_of_its_size(rule: NormBounded) -> None:
    for size in (1, 20, 5000):
        terms = rule.terms(NINE, size)
        assert terms.ball is not None
        assert terms.ball.bound == bound_for(size)
        assert terms.reference is None
        assert terms.filler == 0


@pytest.mark.parametrize("malicious", [None, 0, 3])
def test_only_multi_krum_opens_distances(malicious: int | None) -> None:
    assert not RULE.terms(NINE, 20).distances
    terms = MultiKrum(NORM, num_malicious_nodes=malicious).terms(NINE, 20)
    assert terms.distances
    assert terms.malicious == malicious


@RULES
def test_a_field_that_is_too_small_is_refused(rule: NormBounded) -> None:
    with pytest.raises(UserError, match=r"secure\.rule: .* take rule = 'rsa' or 'box-clipping'"):
        rule.terms(packed(9, faults=2, coalition=2, field=SMALL), 20)
