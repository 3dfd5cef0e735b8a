"""Rules and the protocol are twins: what a secure round ends with is what the rule says in plain numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from common.rules.krum import multi_krum
from common.rules.median import median as plain_median
from peers.secure.ball import bound_for
from peers.secure.cheats import CHEATS
from peers.secure.field import LARGE, SMALL, Elements
from peers.secure.layout import packed
from peers.secure.party import Player
from peers.secure.plan import rules_of
from peers.secure.rounds import RoundResult
from peers.secure.rules.box import Box
from peers.secure.rules.rule import Rule
from peers.secure.rules.signs import Signs
from tests.peers.secure.described import a_whole_round, agreed_result, described, lots_of

PEERS, SIZE = 7, 20
REFERENCE = np.random.default_rng(11).normal(scale=0.4, size=SIZE)
UNIT = 1 / np.sqrt(256**2 - SIZE / 2)
"""What 1 stands for in an update of norm 1: the bound of so few numbers is 256."""
TRUST_UNIT = UNIT / 4 * math.sqrt((REFERENCE**2).sum())
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Twin:
    """A rule, and the same in plain numbers.

    Attributes:
        secure: the description's section.
        plain: updates [n, d] → the step, as the rule's paper has it, without lots; None: lots decide it.
        error: how far rounding may move a number of the step.
        reference: for FLTrust.
    """

    secure: dict[str, object]
    plain: Callable[[Rows], Rows] | None = None
    error: float = 0.0
    reference: Rows | None = None


def shortened(rows: Rows, norm: float) -> Rows:
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return np.where(lengths > norm, rows / lengths * norm, rows)


def trusted(rows: Rows) -> Rows:
    """Return Σ TSᵢ · ‖g₀‖/‖gᵢ‖ · gᵢ over Σ TSᵢ, with TSᵢ = ReLU(cos(gᵢ, g₀)): Cao et al. 2021, equations 2 to 4."""
    length, lengths = np.sqrt((REFERENCE**2).sum()), np.sqrt((rows**2).sum(axis=1))
    scores = np.maximum(rows @ REFERENCE / (lengths * length), 0)
    step: Rows = (scores * length / lengths) @ rows / scores.sum()
    return step


def nearest_together(rows: Rows) -> Rows:
    """Return multi-Krum's mean; of fewer than five updates, all of them."""
    short = shortened(rows, 1.0)
    return short.mean(axis=0) if len(rows) < 5 else multi_krum(short)


TWINS = {
    "rsa": Twin({"rule": "rsa", "step_size": 0.1}, lambda rows: 0.1 * np.sign(rows).mean(axis=0), 1e-12),
    "box-clipping": Twin({"rule": "box-clipping", "radius": 0.5}),  # right on average alone: tests/…/test_box.py
    "norm-bounded-mean": Twin(
        {"rule": "norm-bounded-mean", "norm": 1.0}, lambda rows: shortened(rows, 1.0).mean(axis=0), 0.02
    ),
    "multi-krum": Twin({"rule": "multi-krum", "norm": 1.0}, nearest_together, 0.02),
    "fltrust": Twin({"rule": "fltrust"}, trusted, 0.04, REFERENCE),
    "median": Twin({"rule": "median", "radius": 1.5, "votes": 5}, plain_median, 1.5 / 2**5),
}
EACH = pytest.mark.parametrize("name", TWINS)
OF_MEANS = [name for name in TWINS if name != "median"]


def updates(peers: int = PEERS) -> Rows:
    """Return updates that point the reference's way more than not, and the last one against it."""
    rows: Rows = 0.6 * REFERENCE + np.random.default_rng(7).normal(scale=0.4, size=(peers, SIZE))
    rows[-1] = -REFERENCE
    return rows


def a_round_of(name: str, rows: Rows, cheats: Mapping[int, type[Player]] | None = None, **more: object) -> RoundResult:
    """Return how a secure round of a rule ended for the honest."""
    twin = TWINS[name]
    experiment = described(len(rows), **{"faults": 1, "coalition": 1} | twin.secure | more)
    return agreed_result(a_whole_round(experiment, rows, cheats, reference=twin.reference), cheats)


def exact_step(name: str, rows: Rows, accepted: Sequence[int]) -> tuple[Rows, dict[int, float]]:
    """Return the step, and who counts how much: in Python's integers, from how the rule itself rounds each update.

    Of the rules with one aggregation; there is no error but that of the last division.
    """
    twin = TWINS[name]
    (rule,) = rules_of(described(len(rows), **twin.secure), twin.reference)
    dealt = {peer: [int(one) for one in rule.encode(rows[peer], lots_of(peer))] for peer in accepted}
    weights = weights_of(name, dealt)
    total = [sum(dealt[peer][place] for peer in weights) for place in range(SIZE)]
    one = {"rsa": 0.1, "box-clipping": 0.5, "fltrust": TRUST_UNIT}.get(name, UNIT)
    return np.array([one * number / sum(weights.values()) for number in total]), weights


def weights_of(name: str, dealt: Mapping[int, list[int]]) -> dict[int, float]:
    """Return whose integers count, and how much."""
    if name == "fltrust":
        known = [round(float(number / TRUST_UNIT)) for number in REFERENCE]
        length = math.sqrt(sum(number**2 for number in known))
        scores = {peer: sum(one * other for one, other in zip(row, known, strict=True)) for peer, row in dealt.items()}
        return {peer: math.sqrt(score) / length for peer, score in scores.items() if score > 0}
    if name == "multi-krum":
        count = len(dealt) - (len(dealt) - 3) // 2 - 2
        chosen = sorted(dealt, key=lambda peer: krum_score(dealt, peer, count))[:count]
        return dict.fromkeys(sorted(chosen), 1.0)
    return dict.fromkeys(dealt, 1.0)


def krum_score(dealt: Mapping[int, list[int]], peer: int, neighbours: int) -> int:
    """Return the sum of the squared distances to the nearest others."""
    distances = sorted(
        sum((one - two) ** 2 for one, two in zip(dealt[peer], row, strict=True))
        for other, row in dealt.items()
        if other != peer
    )
    return sum(distances[:neighbours])


def step_of(result: RoundResult) -> Rows:
    assert result.step is not None, result.aborted
    return result.step


def beyond_the_middle(step: Rows, rows: Rows) -> float:
    """Return how far a step is from what is between the two middle numbers, of an even number of peers, at most."""
    ordered = np.sort(rows, axis=0)
    low, high = ordered[(len(rows) - 1) // 2], ordered[len(rows) // 2]
    return float(np.maximum(low - step, step - high).max())


# --- without a cheater


@pytest.mark.parametrize("name", [name for name, twin in TWINS.items() if twin.plain])
def test_a_round_of_an_odd_number_of_peers_is_the_plain_rule_but_for_rounding(name: str) -> None:
    rows, plain = updates(), TWINS[name].plain
    assert plain is not None
    result = a_round_of(name, rows)
    assert result.culprits == ()
    assert all(outcome.ruling.dealers == list(range(PEERS)) for outcome in result.outcomes)
    assert np.abs(step_of(result) - plain(rows)).max() <= TWINS[name].error


@pytest.mark.parametrize("name", OF_MEANS)
def test_a_round_is_exactly_the_weighted_mean_of_what_was_dealt(name: str) -> None:
    rows = updates()
    result, (step, weights) = a_round_of(name, rows), exact_step(name, rows, range(PEERS))
    assert step_of(result) == pytest.approx(step, rel=1e-12)
    assert result.outcomes[0].ruling.weights == pytest.approx(weights)


def test_of_an_even_number_of_peers_the_median_is_between_the_two_in_the_middle() -> None:
    rows = updates(6)
    assert beyond_the_middle(step_of(a_round_of("median", rows)), rows) <= 1.5 / 2**5


def test_more_votes_are_nearer_to_the_median() -> None:
    rows = updates()
    far, near = (np.abs(step_of(a_round_of("median", rows, votes=votes)) - plain_median(rows)) for votes in (2, 10))
    assert far.max() > 1.5 / 2**10 >= near.max()


# --- with a cheater


@pytest.mark.parametrize("kind", CHEATS)
@EACH
def test_whoever_cheats_the_round_is_the_plain_rule_over_those_that_are_accepted(name: str, kind: str) -> None:
    """The median's peers may be other ones in each vote: it is between what it is with the cheater and without."""
    rows, cheater = updates(), 2
    result = a_round_of(name, rows, {cheater: CHEATS[kind]})
    accepted = result.outcomes[-1].ruling.dealers
    honest = [peer for peer in range(PEERS) if peer != cheater]
    assert set(accepted) >= set(honest)
    assert {culprit.peer for culprit in result.culprits} <= {cheater}
    seen = {*(culprit.peer for culprit in result.culprits), *result.outcomes[0].ruling.silent}
    assert seen == {cheater}
    if name == "median":
        assert beyond_the_middle(step_of(result), rows[honest]) <= TWINS[name].error
        return
    assert step_of(result) == pytest.approx(exact_step(name, rows, accepted)[0], rel=1e-12)
    if plain := TWINS[name].plain:
        assert np.abs(step_of(result) - plain(rows[accepted])).max() <= TWINS[name].error


@pytest.mark.parametrize("name", ["norm-bounded-mean", "multi-krum", "fltrust"])
def test_no_allowed_update_moves_the_step_farther_than_the_bound(name: str) -> None:
    """Peers deal what the rule makes of a huge update; then the step is within the ball, and for the mean each has its
    share of it.
    """
    rows = updates()
    length = float(np.linalg.norm(REFERENCE)) if name == "fltrust" else 1.0
    before = step_of(a_round_of(name, rows))
    rows[3] *= -1e6
    after = step_of(a_round_of(name, rows))
    assert float(np.linalg.norm(after)) <= length * 1.002
    if name == "norm-bounded-mean":
        assert float(np.linalg.norm(after - before)) <= 2 * length / PEERS * 1.002 + 0.02


@pytest.mark.parametrize("name", ["rsa", "box-clipping"])
def test_a_huge_update_moves_a_number_no_farther_than_one_vote(name: str) -> None:
    rows = updates()
    before = step_of(a_round_of(name, rows))
    rows[3] *= -1e6
    most = {"rsa": 0.1, "box-clipping": 0.5}[name] * 2 / PEERS
    moved = np.abs(step_of(a_round_of(name, rows)) - before)
    assert 0 < moved.max() <= most * (1 + 1e-9)


# --- FLTrust


def test_an_update_against_the_reference_has_no_weight() -> None:
    ruling = a_round_of("fltrust", updates()).outcomes[0].ruling
    assert ruling.dealers == list(range(PEERS))
    assert list(ruling.weights) == list(range(PEERS - 1))


@pytest.mark.parametrize("with_it", [0, 1, 2, 3])
def test_a_round_in_which_too_few_updates_point_the_references_way_is_aborted_with_a_sentence(with_it: int) -> None:
    """Of two, one peer could tell the other's from the sum."""
    rows = np.abs(updates()) * np.sign(REFERENCE)
    rows[with_it:] *= -1
    result = a_round_of("fltrust", rows)
    assert result.culprits == ()
    assert (result.step is None) == (with_it < 3)
    assert result.aborted.startswith(f"only {with_it} updates would count") == (with_it < 3)


@pytest.mark.parametrize("wraps", [1, -1, 2])
def test_an_inner_product_that_is_right_modulo_the_prime_alone_convicts(wraps: int) -> None:
    """Else one cheater had nearly all of the weight, and made each step nothing."""

    class Boaster(Player):
        def score(self, reference: Elements) -> int:
            return super().score(reference) + wraps * LARGE.modulus

    rows, honest = updates(), [0, 1, 3, 4, 5, 6]
    result = a_round_of("fltrust", rows, {2: Boaster})
    assert [(one.peer, one.phase) for one in result.culprits] == [(2, "commitments")]
    assert np.abs(step_of(result) - trusted(rows[honest])).max() <= TWINS["fltrust"].error


@pytest.mark.parametrize("more", [1, -1, 10_000])
def test_an_inner_product_that_is_another_convicts(more: int) -> None:
    class Boaster(Player):
        def score(self, reference: Elements) -> int:
            return super().score(reference) + more

    result = a_round_of("fltrust", updates(), {2: Boaster})
    assert [(one.peer, one.phase) for one in result.culprits] == [(2, "checks")]


# --- multi-Krum


def test_multi_krum_leaves_outliers_out() -> None:
    """Those that agree among themselves, too, as long as they are no more than it takes for malicious."""
    rows = 0.1 * np.random.default_rng(5).normal(size=(9, SIZE)) / np.sqrt(SIZE)
    rows[[1, 6]] = 0.9 * REFERENCE / float(np.linalg.norm(REFERENCE))
    result = a_round_of("multi-krum", rows, faults=2, coalition=2, num_malicious_nodes=2)
    weights = result.outcomes[0].ruling.weights
    assert set(result.outcomes[0].ruling.dealers) == set(range(9))
    chosen = {peer for peer, weight in weights.items() if weight}
    assert len(chosen) == 9 - 2 - 2
    assert not chosen & {1, 6}
    assert set(weights.values()) <= {0, 1}
    assert float(np.linalg.norm(step_of(result))) < 0.12


@pytest.mark.parametrize("malicious", [0, 1, 2])
def test_multi_krum_takes_as_many_as_the_plain_rule(malicious: int) -> None:
    rows = updates()
    step = step_of(a_round_of("multi-krum", rows, num_malicious_nodes=malicious))
    plain = multi_krum(shortened(rows, 1.0), num_malicious_nodes=malicious)
    assert np.abs(step - plain).max() <= TWINS["multi-krum"].error


# --- the field


BITS: dict[str, Rule] = {"signs": Signs(0.1), "box": Box(0.5)}


@pytest.mark.parametrize("field", [SMALL, LARGE])
@pytest.mark.parametrize("rule", BITS.values(), ids=list(BITS))
def test_sums_of_a_hundred_peers_are_read_from_the_field_without_wrapping(rule: Rule, field: object) -> None:
    arithmetic = SMALL if field is SMALL else LARGE
    assert packed(100, faults=3, coalition=5, field=arithmetic).peers < arithmetic.modulus // 2
    for sign in (1, -1):
        votes = np.full((100, 3), sign)
        total = arithmetic.total(arithmetic.elements(votes), axis=0)
        assert np.array_equal(rule.decode(arithmetic.signed(total), 100), rule.decode(votes.sum(axis=0), 100))


@pytest.mark.parametrize("size", [1, 20, 10_000])
def test_the_largest_weighted_sum_of_a_hundred_peers_does_not_wrap(size: int) -> None:
    """Each of the bound's length in one number, with the weight of the reference itself."""
    bound = bound_for(size)
    assert 100 * bound**3 < LARGE.modulus // 2


@pytest.mark.parametrize("rule", BITS.values(), ids=list(BITS))
def test_whatever_is_encoded_is_what_the_checks_allow(rule: Rule) -> None:
    told = np.concatenate([updates(5).reshape(-1), [0.0, -0.0, 1e-300, -1e300, np.inf, -np.inf]])
    assert set(rule.encode(told, np.random.default_rng(0)).tolist()) <= {-1, 1}


@EACH
def test_a_rule_says_in_a_sentence_what_it_leaks(name: str) -> None:
    for rule in rules_of(described(PEERS, **TWINS[name].secure), REFERENCE):
        assert rule.leaks.endswith(".")
        assert rule.leaks[0].isupper()
