"""Rules and the protocol are twins: what a secure round opens means what the rule says in plain numbers."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from peers.secure.field import LARGE, SMALL
from peers.secure.layout import packed
from peers.secure.party import Player
from peers.secure.rules.box import Box
from peers.secure.rules.rule import Rule
from peers.secure.rules.signs import Signs
from tests.peers.secure.rounds import NINE, a_round, agreed

RULES: dict[str, Rule] = {"signs": Signs(0.1), "box": Box(0.5)}
EACH = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))


def updates(peers: int, size: int = 20) -> NDArray[np.float64]:
    return np.random.default_rng(7).normal(scale=0.4, size=(peers, size))


def encoded(rule: Rule, told: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.stack([rule.encode(update, np.random.default_rng(peer)) for peer, update in enumerate(told)])


def step_of_a_round(
    rule: Rule, told: NDArray[np.int64], cheats: Mapping[int, type[Player]] | None = None
) -> tuple[list[int], NDArray[np.float64]]:
    """Return whose updates a secure round accepted, and what it changes the weights by."""
    outcome = agreed(a_round(NINE, cheats, told), cheats)
    assert outcome.sum is not None
    accepted = outcome.ruling.dealers
    return accepted, rule.decode(SMALL.signed(outcome.sum), len(accepted))


@EACH
def test_a_round_computes_what_the_plain_rule_computes(rule: Rule) -> None:
    votes = encoded(rule, updates(9))
    accepted, step = step_of_a_round(rule, votes)
    assert accepted == list(range(9))
    assert np.array_equal(step, rule.decode(votes.sum(axis=0), 9))


@EACH
def test_who_deals_what_the_rule_does_not_allow_is_left_out_of_the_mean(rule: Rule) -> None:
    votes = encoded(rule, updates(9))
    votes[2] *= 50
    accepted, step = step_of_a_round(rule, votes)
    assert accepted == [0, 1, 3, 4, 5, 6, 7, 8]
    assert np.array_equal(step, rule.decode(votes[accepted].sum(axis=0), 8))


def test_signs_of_a_round_are_the_mean_of_the_signs() -> None:
    told = updates(9)
    _, step = step_of_a_round(RULES["signs"], encoded(RULES["signs"], told))
    assert step == pytest.approx(0.1 * np.sign(told).mean(axis=0))


@pytest.mark.parametrize("field", [SMALL, LARGE])
@EACH
def test_sums_of_a_hundred_peers_are_read_from_the_field_without_wrapping(rule: Rule, field: object) -> None:
    arithmetic = SMALL if field is SMALL else LARGE
    assert packed(100, faults=3, coalition=5, field=arithmetic).peers < arithmetic.modulus // 2
    for sign in (1, -1):
        votes = np.full((100, 3), sign)
        total = arithmetic.total(arithmetic.elements(votes), axis=0)
        assert np.array_equal(rule.decode(arithmetic.signed(total), 100), rule.decode(votes.sum(axis=0), 100))


@EACH
def test_whatever_is_encoded_is_what_the_checks_allow(rule: Rule) -> None:
    told = np.concatenate([updates(5).reshape(-1), [0.0, -0.0, 1e-300, -1e300, np.inf, -np.inf]])
    assert set(rule.encode(told, np.random.default_rng(0)).tolist()) <= {-1, 1}


@EACH
def test_a_rule_says_in_a_sentence_what_it_leaks(rule: Rule) -> None:
    assert rule.leaks.endswith(".")
    assert rule.leaks[0].isupper()
