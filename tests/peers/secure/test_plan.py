"""From a description: sizes, rules, and who holds shares in a round."""

import hashlib
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from peers.secure.context import Context
from peers.secure.field import LARGE, SMALL
from peers.secure.labels import COMMITTEE
from peers.secure.layout import Layout, packed
from peers.secure.plan import check_size, layout_of, members_of, rules_of
from peers.secure.rules.box import Box
from peers.secure.rules.norm import MultiKrum, NormBounded
from peers.secure.rules.signs import Signs
from peers.secure.rules.trust import FLTrust
from peers.secure.rules.vote import Vote
from tests.peers.secure.described import described
from tests.peers.secure.rounds import context_of

FIVE_OF_TWELVE = layout_of(described(12, members=5, faults=1, coalition=1))


def drawn(number: int, layout: Layout = FIVE_OF_TWELVE, peers: int = 12, run: bytes = b"run") -> tuple[int, ...]:
    """Return who holds shares in a round."""
    return members_of(Context(hashlib.sha256(run).digest(), number, {}), layout, peers)


@pytest.mark.parametrize(("peers", "faults", "packing"), [(3, 0, 1), (5, 1, 1), (9, 2, 1), (20, 4, 2), (100, 24, 2)])
def test_without_a_word_as_many_may_cheat_as_the_peers_withstand(peers: int, faults: int, packing: int) -> None:
    layout = layout_of(described(peers))
    assert (layout.faults, layout.coalition, layout.packing) == (faults, max(1, faults), packing)
    assert layout.liars(layout.product_degree) >= faults


def test_a_description_says_how_many_cheat_and_pool_what_they_see() -> None:
    layout = layout_of(described(100, faults=20, coalition=20))
    assert (layout.faults, layout.coalition, layout.packing) == (20, 20, 10)


@pytest.mark.parametrize(
    ("peers", "secure", "said"),
    [
        (2, {}, "with 2 peers"),
        (8, {"faults": 2}, "need at least 9 peers, not 8"),
        (8, {"faults": 2, "coalition": 1}, "secure.coalition = 1 is less than secure.faults = 2"),
        (9, {"members": 10}, r"secure.members = 10: a committee has between 1 and all 9 peers"),
        (
            100,
            {"members": 16, "faults": 20, "coalition": 5},
            r"secure.members = 16 .* probability 0.67, .* leave it out",
        ),
        (100, {"members": 21, "faults": 20, "coalition": 5}, r"secure.members = 21 .* probability 0.21"),
        (100, {"members": 31, "faults": 20, "coalition": 7}, r"secure.members = 31 .* probability 0.24"),
        (100, {"members": 31}, r"secure.members = 31 is too few for secure.coalition = 24, .* at least 49 members"),
        (4, {"rule": "multi-krum"}, r"secure.rule = 'multi-krum' needs at least 5 peers, not 4"),
        (
            10,
            {"rule": "multi-krum", "num_malicious_nodes": 4},
            r"secure.rule = 'multi-krum' and secure.num_malicious_nodes = 4 needs at least 11 peers, not 10",
        ),
    ],
)
def test_what_is_unsafe_is_refused(peers: int, secure: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("leave it out", "leave secure.members out")):
        layout_of(described(peers, **secure))


def test_multi_krum_takes_as_many_malicious_as_the_peers_allow() -> None:
    assert layout_of(described(11, rule="multi-krum", num_malicious_nodes=4)).peers == 11
    assert layout_of(described(5, rule="multi-krum")).peers == 5


@pytest.mark.parametrize("rule", ["norm-bounded-mean", "multi-krum", "fltrust"])
def test_lengths_need_the_large_field_and_votes_the_small_one(rule: str) -> None:
    assert layout_of(described(9, rule=rule)).field is LARGE
    for one in ("rsa", "box-clipping", "median"):
        assert layout_of(described(9, rule=one)).field is SMALL


def test_a_committee_of_all_is_no_committee() -> None:
    assert (
        layout_of(described(9, members=9)) == layout_of(described(9)) == packed(9, faults=2, coalition=2, field=SMALL)
    )
    with pytest.raises(UserError, match="coalition = 1 is less than"):
        layout_of(described(9, members=9, faults=2, coalition=1))


def test_rules_have_their_names_and_their_sizes() -> None:
    assert rules_of(described(5, step_size=0.5)) == (Signs(0.5),)
    assert rules_of(described(5, rule="box-clipping", radius=0.25)) == (Box(0.25),)
    assert rules_of(described(5, rule="norm-bounded-mean", norm=2.5)) == (NormBounded(2.5),)
    assert rules_of(described(5, rule="multi-krum", norm=2.5)) == (MultiKrum(2.5, num_malicious_nodes=None),)
    assert rules_of(described(5, rule="multi-krum", num_malicious_nodes=1)) == (MultiKrum(1.0, num_malicious_nodes=1),)
    assert rules_of(described(5, rule="median", radius=4.0, votes=3)) == (Vote(2.0), Vote(1.0), Vote(0.5))
    assert len(rules_of(described(5, rule="median"))) == 8


def test_fltrust_trusts_the_reference_that_is_given() -> None:
    reference = np.arange(3.0)
    (rule,) = rules_of(described(5, rule="fltrust"), reference)
    assert isinstance(rule, FLTrust)
    assert rule.reference is reference


# --- committees


@settings(max_examples=30)
@given(number=st.integers(1, 10**6), peers=st.integers(5, 60))
def test_a_committee_has_its_size_no_peer_twice_and_the_same_order_for_all(number: int, peers: int) -> None:
    layout = layout_of(described(peers, members=5, faults=1, coalition=1))
    members = drawn(number, layout, peers)
    assert len(members) == 5
    assert list(members) == sorted(set(members))
    assert set(members) <= set(range(peers))
    assert members == drawn(number, layout, peers)


def test_where_no_committee_is_named_all_are_members() -> None:
    assert drawn(3, layout_of(described(9)), 9) == tuple(range(9))


def test_those_are_drawn_whose_hashes_of_run_round_and_number_are_lowest() -> None:
    """So that anyone can draw them again."""
    for number in range(1, 300):
        told = hashlib.sha256(b"run").digest() + number.to_bytes(8, "big")
        order = sorted(range(12), key=lambda peer: hashlib.sha256(COMMITTEE + told + bytes([0, 0, 0, peer])).digest())
        assert drawn(number) == tuple(sorted(order[:5]))


def test_another_round_and_another_run_draw_another_committee() -> None:
    rounds = {drawn(number) for number in range(1, 101)}
    runs = {drawn(1, run=b"%d" % run) for run in range(100)}
    assert min(len(rounds), len(runs)) > 80  # of 792 that there are: 94 on average
    assert drawn(1) != drawn(1, run=b"another")


def test_who_is_excluded_changes_no_committee() -> None:
    """Else those who still take part would choose one by whom they exclude."""
    known = context_of(12)
    fewer = Context(known.run, known.round, {peer: key for peer, key in known.keys.items() if peer != 4})
    assert members_of(known, FIVE_OF_TWELVE, 12) == members_of(fewer, FIVE_OF_TWELVE, 12)


def chi_square(seen: Counter[int], expected: float) -> float:
    return sum((seen[peer] - expected) ** 2 / expected for peer in range(12))


def test_every_peer_is_drawn_as_often_as_any_other() -> None:
    """2,000 draws of 5 of 12. The statistic, of 11 degrees of freedom, is that of draws without repetition: times
    (1 − 5/12) · 12/11. That a fair draw exceeds 31.3 has a chance of 0.1 %; these draws are always the same.
    """
    seen = Counter(peer for number in range(2000) for peer in drawn(number))
    assert sum(seen.values()) == 10_000
    assert chi_square(seen, 10_000 / 12) / ((1 - 5 / 12) * 12 / 11) < 31.3


def test_every_pair_is_drawn_as_often_as_any_other() -> None:
    """Within five standard deviations: 2,000 draws, of which each pair is in 5 · 4 / (12 · 11)."""
    chance = 20 / 132
    pairs = Counter((one, two) for number in range(2000) for one in drawn(number) for two in drawn(number) if one < two)
    deviation = math.sqrt(2000 * chance * (1 - chance))
    assert len(pairs) == 66
    assert max(abs(count - 2000 * chance) for count in pairs.values()) < 5 * deviation


def test_cheaters_are_in_a_committee_as_often_as_the_layout_says() -> None:
    """Two given ones of 12 are both among five with 15 %; in 4,000 draws, within four standard deviations."""
    both = sum({3, 7} <= set(drawn(number)) for number in range(4000))
    chance = 20 / 132
    assert abs(both / 4000 - chance) < 4 * math.sqrt(chance * (1 - chance) / 4000)


@pytest.mark.parametrize("rule", ["norm-bounded-mean", "multi-krum"])
def test_updates_that_are_too_long_for_the_field_are_refused_beforehand(rule: str) -> None:
    check_size(described(100, rule=rule, faults=20), 10**6)
    rules = rules_of(described(100, rule=rule, faults=20))
    with pytest.raises(UserError, match=r"updates of 10000000000 numbers among 100 peers are too long"):
        rules[0].terms(layout_of(described(100, rule=rule, faults=20)), 10**10)


def test_the_reference_takes_part_in_what_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    check_size(described(9, rule="fltrust"), 1000)
    monkeypatch.setattr(FLTrust, "terms", lambda rule, layout, size: (_ for _ in ()).throw(UserError(f"{size}")))
    with pytest.raises(UserError, match="1000"):
        check_size(described(9, rule="fltrust"), 1000)
