"""What an aggregation asks, and how much each update counts: as the rules in the open have it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.rules.krum import krum, multi_krum
from peers.secure.ball import Ball
from peers.secure.field import LARGE
from peers.secure.terms import SIGNS, Terms, selected
from tests.peers.secure.balls import ONE, ball_of

BALL = ball_of(ONE)
KRUM = Terms(BALL, distances=True)


def squared(updates: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return distances, squared, by Python's integers."""
    rows = updates.tolist()
    told = [[sum((x - y) ** 2 for x, y in zip(one, other, strict=True)) for other in rows] for one in rows]
    return np.array(told, float)


def test_signs_have_ones_behind_the_last_number_and_balls_have_zeros() -> None:
    assert (SIGNS.filler, Terms(BALL).filler) == (1, 0)
    assert SIGNS == SIGNS
    assert (SIGNS.ball, SIGNS.reference, SIGNS.distances, SIGNS.encoded) == (None, None, False, b"")


@pytest.mark.parametrize("more", [{"reference": np.zeros(3, np.uint64)}, {"distances": True}])
def test_a_reference_and_distances_need_a_ball(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need updates in a ball"):
        Terms(**more)


def test_other_terms_are_told_by_other_bytes() -> None:
    one, other = np.arange(3, dtype=np.uint64), np.arange(1, 4, dtype=np.uint64)
    told = [
        SIGNS,
        *(Terms(Ball(*sizes)) for sizes in ((9, 9, 9, 9), (8, 9, 9, 9), (9, 8, 9, 9), (9, 9, 8, 9), (9, 9, 9, 8))),
        Terms(BALL, one),
        Terms(BALL, other),
        Terms(BALL, distances=True),
        Terms(BALL, distances=True, malicious=0),
        Terms(BALL, distances=True, malicious=1),
        Terms(BALL, one, distances=True),
    ]
    assert len({terms.encoded for terms in told}) == len(told)
    assert Terms(BALL, one).encoded == Terms(BALL, one.copy()).encoded
    assert Terms(BALL, one.astype(">u8")).encoded == Terms(BALL, one).encoded


@given(st.lists(st.integers(0, 20), unique=True, max_size=8), st.dictionaries(st.integers(0, 20), st.integers()))
def test_all_alike_count_once(dealers: list[int], scores: dict[int, int]) -> None:
    for terms in (SIGNS, Terms(BALL)):
        assert terms.counted(dealers, scores, None) == dict.fromkeys(dealers, 1)


@given(st.dictionaries(st.integers(0, 20), st.integers(0, 35)), st.integers(1, 2**20))
def test_whose_score_is_zero_does_not_count_and_all_others_as_the_cosine_that_it_follows_from(
    squares: dict[int, int], length: int
) -> None:
    """In closed form: of a reference with numbers 3 l, 4 l and 0, and of the score s² l², it is s / 5."""
    reference = LARGE.elements(np.array([3 * length, -4 * length, 0], np.int64))
    dealers = sorted(squares)[1:]
    scores = {dealer: one**2 * length**2 for dealer, one in squares.items()}
    found = Terms(BALL, reference).counted(dealers, scores, None)
    assert list(found) == [dealer for dealer in dealers if squares[dealer]]
    assert all(math.isclose(weight, squares[dealer] / 5, rel_tol=1e-15) for dealer, weight in found.items())


# Multi-Krum


@settings(max_examples=60)
@given(
    data=st.data(), clients=st.integers(5, 12), size=st.integers(1, 4), reach=st.sampled_from([1, 3, 256]),
    known=st.booleans(),
)  # fmt: skip
def test_the_selected_are_those_of_the_rule_in_the_open(
    data: st.DataObject, clients: int, size: int, reach: int, known: bool
) -> None:
    """Small numbers, so that scores are often equal: then, too, all choose alike. Numbers of dealers have gaps."""
    rows = st.lists(st.integers(-reach, reach), min_size=size, max_size=size)
    updates = np.array(data.draw(st.lists(rows, min_size=clients, max_size=clients)), np.int64)
    malicious = data.draw(st.integers(0, (clients - 3) // 2)) if known else None
    dealers = sorted(data.draw(st.sets(st.integers(0, 30), min_size=clients, max_size=clients)))
    terms = Terms(BALL, distances=True, malicious=malicious)
    weights = terms.counted(dealers, {}, squared(updates))
    assert set(weights.values()) == {1}
    chosen = [dealers.index(dealer) for dealer in weights]
    faults = (clients - 3) // 2 if malicious is None else malicious
    assert len(chosen) == clients - faults - 2
    assert chosen == sorted(chosen)
    expected = multi_krum(updates.astype(float), num_malicious_nodes=malicious)
    assert np.allclose(updates[chosen].sum(axis=0) / len(chosen), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(clients=st.integers(5, 10), seed=st.integers(0, 2**20))
def test_the_first_of_the_rule_in_the_open_is_among_the_selected(clients: int, seed: int) -> None:
    updates = np.random.default_rng(seed).integers(-77, 78, (clients, 6))
    chosen = selected(range(clients), squared(updates), None)
    assert any((updates[one] == krum(updates.astype(float))).all() for one in chosen)


def test_the_far_ones_are_not_selected() -> None:
    """In closed form: 100 and −100 are far, and of the other six three zeros score 2, two ones 3, and the two 8."""
    updates = np.array([[100], [0], [1], [0], [2], [1], [0], [-100]])
    assert selected(range(8), squared(updates), 2) == [1, 2, 3, 6]
    assert selected([3, 5, 8, 9, 11, 12, 20, 21], squared(updates), 2) == [5, 8, 9, 20]


@pytest.mark.parametrize("count", range(5))
def test_of_fewer_than_five_all_are_selected(count: int) -> None:
    updates = np.arange(count)[:, None] ** 3
    assert selected(range(count), squared(updates).reshape(count, count), 1) == list(range(count))


@pytest.mark.parametrize(("clients", "malicious", "expected"), [(5, 9, 2), (6, 2, 3), (7, 2, 3), (7, 3, 3), (9, 1, 6)])
def test_more_malicious_than_so_many_updates_allow_are_taken_for_as_many_as_they_do(
    clients: int, malicious: int, expected: int
) -> None:
    assert len(selected(range(clients), squared(np.arange(clients)[:, None]), malicious)) == expected


@pytest.mark.parametrize(("clients", "least", "expected"), [(5, 3, 3), (5, 2, 2), (9, 3, 4), (9, 6, 6), (6, 9, 6)])
def test_no_fewer_are_selected_than_are_asked_for_while_there_are_so_many(
    clients: int, least: int, expected: int
) -> None:
    """The further ones come in the order of their scores: of a line of numbers, from its middle."""
    far = squared(np.array([[3 * one**2] for one in range(clients)]))
    chosen = selected(range(clients), far, None, least)
    assert len(chosen) == expected
    assert set(selected(range(clients), far, None)) <= set(chosen)
    assert list(KRUM.counted(range(clients), {}, far, least)) == chosen


def test_equal_scores_choose_the_dealer_that_comes_first() -> None:
    """Corners of a square twice over: all scores are the same."""
    updates = np.array([[0, 0], [0, 4], [4, 0], [4, 4]] * 2)
    assert selected(range(8), squared(updates), 2) == [0, 1, 2, 3]


def test_the_longest_distances_of_the_most_peers_are_added_up_exactly_in_floats() -> None:
    """2 n B³ is below the prime, so that n sums of 4 B² stay below 2⁵³ where B is 512 and more, and n a thousand."""
    for bound, peers in ((256, 1000), (512, 4000), (160_000, 281)):
        assert 2 * peers * bound**3 < LARGE.modulus
        assert peers * 4 * bound**2 < 2**53
    most = float(4 * 160_000**2)
    far = np.full((281, 281), most)
    far[0] = far[:, 0] = most - 1  # one unit in 280 sums of 10¹¹
    assert selected(range(281), far, 0)[0] == 0
    far[280, :] = far[:, 280] = most - 2
    assert 280 in selected(range(281), far, 139)
