"""Whole rounds: several votes one after another, committees of some of the peers, and what becomes of who cheats."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import UserError
from peers.secure.broadcast import Board, Outgoing
from peers.secure.cheats import CHEATS, Crooked, OutOfRange, Silent, SumLiar, Withholder
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.deal import Deal
from peers.secure.field import SMALL, Elements
from peers.secure.layout import committee
from peers.secure.party import Outcome, Player, play
from peers.secure.plan import layout_of, members_of
from peers.secure.rounds import RoundResult
from peers.secure.ruling import TOO_MANY
from peers.secure.simulation import simulate
from peers.secure.transcript import Verified, verify_transcript, write_transcript
from tests.peers.secure.described import RUN, a_whole_round, agreed_result, described
from tests.peers.secure.rounds import a_round, agreed, entropy_of, keys_of, votes

SIZE = 8
RADIUS = 2.0
VOTES = 4
SEVEN = described(7, rule="median", radius=RADIUS, votes=VOTES, faults=1, coalition=1)
TWELVE = described(12, members=5, faults=1, coalition=1)
Rows = NDArray[np.float64]
Cheating = Mapping[int, type[Player]]


def updates(peers: int) -> Rows:
    rows: Rows = np.random.default_rng(3).uniform(-1.5, 1.5, (peers, SIZE))
    return rows


def verified(folder: Path, outcome: Outcome) -> Verified:
    """Return what follows from an aggregation's transcript, under the peers' known keys."""
    peers = outcome.ruling.layout.peers
    names = {peer: f"peer {peer}" for peer in range(peers)}
    known = {names[peer]: key.public_key().public_bytes_raw() for peer, key in keys_of(peers).items()}
    write_transcript(folder / "transcript.jsonl", outcome.ruling, outcome.boards, names)
    return verify_transcript(folder / "transcript.jsonl", known)


def same(found: Verified, outcome: Outcome) -> bool:
    """Tell whether a transcript says what the peers came to."""
    ruling = outcome.ruling
    if (found.sum is None) != (outcome.sum is None) or found.aborted != outcome.aborted:
        return False
    told = (found.accepted, found.culprits, dict(found.silent))
    alike = told == (tuple(ruling.dealers), tuple(ruling.culprits), dict(ruling.silent))
    return alike and (found.sum is None or np.array_equal(found.sum, cast(Any, outcome.sum)))


def from_vote(cheat: type[Player], first: int, last: int = 1000) -> type[Player]:
    """Return a peer that is honest in the aggregations before one, and after another."""

    def made(*told: Any) -> Player:
        return (cheat if first <= told[2].round <= last else Player)(*told)

    return cast(type[Player], made)


def named(result: RoundResult) -> list[tuple[int, str]]:
    return [(culprit.peer, culprit.phase) for culprit in result.culprits]


def beyond_the_middle(step: Rows, rows: Rows) -> float:
    """Return how far a step is from what is between the two middle numbers, at most."""
    ordered = np.sort(rows, axis=0)
    low, high = ordered[(len(rows) - 1) // 2], ordered[len(rows) // 2]
    return float(np.maximum(low - step, step - high).max())


def step_of(result: RoundResult) -> Rows:
    assert result.step is not None, result.aborted
    return result.step


# --- one aggregation


def test_a_round_of_one_aggregation_is_the_step_of_its_rule() -> None:
    rows = updates(5)
    result = agreed_result(a_whole_round(described(5, step_size=0.5), rows))
    assert step_of(result) == pytest.approx(0.5 * np.sign(rows).mean(axis=0))
    assert (result.aborted, result.culprits, len(result.outcomes)) == ("", (), 1)


def test_who_has_no_update_deals_one_of_weights_that_have_not_changed() -> None:
    rows = updates(5)
    experiment = described(5, rule="norm-bounded-mean", norm=10.0)
    result = agreed_result(a_whole_round(experiment, rows, without=[1, 4]))
    rows[[1, 4]] = 0
    assert result.outcomes[0].ruling.dealers == [0, 1, 2, 3, 4]
    assert step_of(result) == pytest.approx(rows.mean(axis=0), abs=10 / 256)


@pytest.mark.parametrize("number", [1, 2, 40])
def test_the_step_counts_those_that_take_part(number: int) -> None:
    """Who was caught in an earlier round has no key any more, and its place is empty."""
    rows = updates(5)
    result = agreed_result(a_whole_round(described(5, step_size=1.0), rows, number=number, there=[0, 1, 3, 4]))
    assert step_of(result) == pytest.approx(np.sign(rows[[0, 1, 3, 4]]).mean(axis=0))
    assert result.outcomes[0].ruling.context.round == number


# --- several


@cache
def rounds_of(cheating: str = "") -> tuple[RoundResult, ...]:
    """Return three rounds of four votes; whoever cheats is left out from the next round on."""
    told, there = [], set(range(7))
    for number in (1, 2, 3):
        cheats = {2: CHEATS[cheating]} if cheating and 2 in there else {}
        result = agreed_result(a_whole_round(SEVEN, updates(7), cheats, number=number, there=sorted(there)), cheats)
        there -= {culprit.peer for culprit in result.culprits}
        told.append(result)
    return tuple(told)


@pytest.mark.parametrize("cheating", ["", "wrong-sum"])
def test_no_two_votes_of_any_rounds_have_the_same_number(cheating: str) -> None:
    """What was said in one vote could be played back in another else."""
    numbers = [outcome.ruling.context.round for result in rounds_of(cheating) for outcome in result.outcomes]
    assert numbers == list(range(1, 3 * VOTES + 1))
    heads = {outcome.boards[0][1].said[0].signature for result in rounds_of(cheating) for outcome in result.outcomes}
    keys = {outcome.boards[0][1].said[0].body for result in rounds_of(cheating) for outcome in result.outcomes}
    assert len(heads) == len(keys) == 3 * VOTES


def test_each_vote_halves_what_is_left() -> None:
    rows = updates(7)
    for result in rounds_of():
        moves = [RADIUS / 2 ** (vote + 1) * np.sign(SMALL.signed(cast(Any, outcome.sum)))
                 for vote, outcome in enumerate(result.outcomes)]  # fmt: skip
        assert np.array_equal(step_of(result), np.sum(moves, axis=0))
        assert np.abs(step_of(result) - np.median(rows, axis=0)).max() <= RADIUS / 2**VOTES


@pytest.mark.parametrize("vote", [1, 2, 4])
@pytest.mark.parametrize(("cheat", "phase"), [(OutOfRange, "checks"), (SumLiar, "fingerprints"), (Crooked, "evidence")])
def test_who_is_caught_in_a_vote_takes_no_part_in_the_later_ones(
    cheat: type[Player], phase: str, vote: int, tmp_path: Path
) -> None:
    rows, cheats = updates(7), {3: from_vote(cheat, vote)}
    results = a_whole_round(SEVEN, rows, cheats)
    result = agreed_result(results, cheats)
    assert named(result) == [(3, phase)]
    assert len(result.outcomes) == VOTES
    for place, outcome in enumerate(result.outcomes, start=1):
        there = set(outcome.ruling.context.keys)
        assert there == set(range(7)) - ({3} if place > vote else set())
        assert (3 in outcome.ruling.dealers) == (place < vote or (place == vote and cheat is SumLiar))
        assert outcome.ruling.liars() == (0 if place >= vote else 1)
        found = verified(tmp_path, outcome)
        assert same(found, outcome)
        assert found.attested
        assert [one.peer for one in found.culprits] == ([3] if place == vote else [])
    honest = np.delete(rows, 3, axis=0)
    assert beyond_the_middle(step_of(result), honest) <= RADIUS / 2**VOTES
    own = results[3]
    assert (own.step is None) == (vote < VOTES)
    assert bool(own.aborted) == (vote < VOTES)
    if vote < VOTES:
        assert own.aborted == "this peer was caught before the last vote, and took no further part"


def test_who_is_silent_in_one_vote_is_silent_in_the_rest_of_the_round_and_no_culprit() -> None:
    """It has not heard what came of the vote, and cannot tell on which side of the middle its numbers are."""
    rows, cheats = updates(7), {3: from_vote(Silent, 2, 2)}
    result = agreed_result(a_whole_round(SEVEN, rows, cheats), cheats)
    assert result.culprits == ()
    assert [3 in outcome.ruling.dealers for outcome in result.outcomes] == [True, False, False, False]
    assert [set(outcome.ruling.silent) for outcome in result.outcomes] == [set(), {3}, {3}, {3}]
    assert beyond_the_middle(step_of(result), np.delete(rows, 3, axis=0)) <= RADIUS / 2**VOTES


def test_a_vote_that_is_aborted_ends_the_round_and_names_whom_earlier_votes_have_caught(tmp_path: Path) -> None:
    """Three silent ones are more than one cheater's worth, which is two."""
    cheats: Cheating = {0: OutOfRange, **dict.fromkeys((4, 5), from_vote(Silent, 3))}
    result = agreed_result(a_whole_round(SEVEN, updates(7), cheats), cheats)
    assert result.step is None
    assert len(result.outcomes) == 3
    assert named(result) == [(0, "checks")]
    assert result.aborted.startswith("peers 0, 4, 5 were silent or cheated, and 2 such are withstood at most")
    for outcome in result.outcomes:
        found = verified(tmp_path, outcome)
        assert (found.sum is None) == (outcome.sum is None)
        assert found.aborted == outcome.aborted


# --- committees


@cache
def of_twelve(kind: str, cheater: int) -> RoundResult:
    """Return a round of twelve peers, five of whom hold shares."""
    cheats = {cheater: CHEATS[kind]} if kind else {}
    return agreed_result(a_whole_round(TWELVE, updates(12), cheats), cheats)


def drawn() -> tuple[int, ...]:
    """Return the committee of the first round."""
    return members_of(Context(RUN, 1, {}), layout_of(TWELVE), 12)


MEMBER, OTHER = drawn()[2], next(peer for peer in range(1, 12) if peer not in drawn())


def right(outcome: Outcome, told: NDArray[np.int64]) -> bool:
    """Tell whether the sum is that of the accepted updates, as Python's integers have it."""
    assert outcome.sum is not None, outcome.aborted
    accepted = outcome.ruling.dealers
    expected = [sum(int(told[peer, place]) for peer in accepted) for place in range(told.shape[1])]
    return [int(one) for one in SMALL.signed(outcome.sum)] == expected


def test_the_committee_is_the_one_that_is_drawn_and_another_in_each_round_and_vote() -> None:
    assert of_twelve("", 0).outcomes[0].ruling.members == drawn()
    rows = updates(12)
    experiment = described(12, members=5, faults=1, coalition=1, rule="median", votes=2, radius=RADIUS)
    told = [
        outcome.ruling
        for number in (1, 2)
        for outcome in agreed_result(a_whole_round(experiment, rows, number=number)).outcomes
    ]
    assert [ruling.members for ruling in told] == [members_of(ruling.context, ruling.layout, 12) for ruling in told]
    assert len({ruling.members for ruling in told}) == 4


def test_a_committee_sums_the_updates_of_all(tmp_path: Path) -> None:
    result, signs = of_twelve("", 0), np.sign(updates(12)).astype(np.int64)
    (outcome,) = result.outcomes
    assert outcome.ruling.dealers == list(range(12))
    assert right(outcome, signs)
    assert not result.culprits
    assert not outcome.ruling.silent
    found = verified(tmp_path, outcome)
    assert same(found, outcome)
    assert found.attested
    assert found.signed == tuple(range(12))


def test_who_is_no_member_is_dealt_nothing_and_opens_nothing() -> None:
    sent: dict[int, list[Outgoing]] = {}

    def note(exchange: int, sender: int, outgoing: Outgoing) -> Outgoing:
        sent.setdefault(exchange, []).append(outgoing)
        return outgoing

    result = agreed_result(a_whole_round(TWELVE, updates(12), meddle=note))
    layout, ruling = layout_of(TWELVE), result.outcomes[0].ruling
    first = layout.stages + 1
    for exchange in range(first, first + ruling.columns.pieces):
        assert {peer for outgoing in sent[exchange] for peer in outgoing} == set(drawn())
        assert all(len(outgoing) >= 4 for outgoing in sent[exchange])
    spoken = {phase: {peer for peer, message in board.said.items() if message.body}
              for phase, board in result.outcomes[0].boards}  # fmt: skip
    for phase in ("complaints", "beacon 1", "checks", "beacon 2", "fingerprints", "rows"):
        assert spoken[phase] <= set(drawn()), phase
    for phase in ("keys", "commitments", "results"):
        assert spoken[phase] == set(range(12)), phase


SEEN = {  # kind → what is seen of a member that plays so, and of another
    "silent": ("keys", "keys"),
    "out-of-range": ("checks", "checks"),
    "wrong-shares": ("evidence", "evidence"),
    "wrong-checks": ("evidence", ""),  # who is no member opens nothing that could be wrong
    "wrong-sum": ("fingerprints", ""),
    "equivocation": ("checks", "checks"),
    "false-complaints": (TOO_MANY, ""),
}


@pytest.mark.parametrize("member", [True, False], ids=["member", "other"])
@pytest.mark.parametrize("kind", CHEATS)
def test_whoever_cheats_in_a_committee_or_outside_is_named_and_the_sum_is_exact(
    kind: str, member: bool, tmp_path: Path
) -> None:
    cheater, phase = MEMBER if member else OTHER, SEEN[kind][not member]
    (outcome,) = of_twelve(kind, cheater).outcomes
    ruling = outcome.ruling
    seen = {culprit.peer: culprit.phase for culprit in ruling.culprits} | dict(ruling.silent)
    assert seen == ({cheater: phase} if phase else {})
    assert not ruling.unheard
    assert set(ruling.dealers) >= set(range(12)) - {cheater}
    assert (cheater in ruling.dealers) == (kind not in ("silent", "out-of-range", "wrong-shares", "equivocation")
                                           and (kind != "wrong-checks" or not member))  # fmt: skip
    signs = np.sign(updates(12)).astype(np.int64)
    assert right(outcome, signs)
    found = verified(tmp_path, outcome)
    assert same(found, outcome)
    assert found.attested


def test_two_who_cheat_among_twenty_four_peers_and_thirteen_members() -> None:
    experiment = described(24, members=13, faults=2, coalition=2, step_size=1.0)
    members = members_of(Context(RUN, 1, {}), layout_of(experiment), 24)
    inside, outside = members[4], next(peer for peer in range(24) if peer not in members)
    cheats = {inside: SumLiar, outside: OutOfRange}
    rows = updates(24)
    result = agreed_result(a_whole_round(experiment, rows, cheats), cheats)
    assert sorted(named(result)) == sorted([(inside, "fingerprints"), (outside, "checks")])
    assert layout_of(experiment).packing == 3
    accepted = np.delete(rows, outside, axis=0)
    assert step_of(result) == pytest.approx(np.sign(accepted).mean(axis=0))


@pytest.mark.parametrize("rule", ["norm-bounded-mean", "multi-krum"])
def test_a_committee_checks_lengths_and_opens_distances_of_all(rule: str, tmp_path: Path) -> None:
    experiment = described(12, members=5, faults=1, coalition=1, rule=rule, norm=3.0)
    rows, cheats = updates(12), {MEMBER: OutOfRange}
    result = agreed_result(a_whole_round(experiment, rows, cheats), cheats)
    assert named(result) == [(MEMBER, "checks")]
    (outcome,) = result.outcomes
    assert outcome.ruling.dealers == [peer for peer in range(12) if peer != MEMBER]
    assert len([weight for weight in outcome.ruling.weights.values() if weight]) == (11 if rule != "multi-krum" else 5)
    found = verified(tmp_path, outcome)
    assert same(found, outcome)
    assert found.weights == {peer: outcome.ruling.weights.get(peer, 0) for peer in outcome.ruling.dealers}


def test_members_that_were_caught_before_are_empty_places() -> None:
    there = [peer for peer in range(12) if peer not in drawn()[:2]]
    result = agreed_result(a_whole_round(TWELVE, updates(12), there=there))
    ruling = result.outcomes[0].ruling
    assert ruling.members == drawn()
    assert ruling.dealers == there
    assert set(ruling.silent) == set(drawn()[:2])
    assert step_of(result) == pytest.approx(1e-3 * np.sign(updates(12)[there]).mean(axis=0))


def test_members_that_are_not_those_that_are_drawn_make_no_transcript(tmp_path: Path) -> None:
    """Though all twelve had played the round with them, and signed it."""
    layout, keys = layout_of(TWELVE), keys_of(12)
    context = Context(RUN, 1, {peer: key.public_key() for peer, key in keys.items()})
    members = tuple(peer for peer in range(12) if peer not in drawn())[:5]
    told, columns = SMALL.elements(votes(12, SIZE)), Columns(layout, SIZE)
    ended = simulate({
        peer: play(peer, keys[peer], context, columns, members, told[peer], entropy_of(peer)) for peer in range(12)
    })  # fmt: skip
    assert right(ended[0], votes(12, SIZE))
    with pytest.raises(UserError, match="its members are not those that hold shares in such a round"):
        verified(tmp_path, ended[0])


@pytest.mark.parametrize(
    "change", [lambda told: told[::-1], lambda told: told[1:], lambda told: [*told[:-1], 11 - told[-1]]]
)
def test_a_transcript_with_other_members_in_its_head_is_refused(
    change: Callable[[list[int]], list[int]], tmp_path: Path
) -> None:
    (outcome,) = of_twelve("", 0).outcomes
    ruling = replace_members(outcome, tuple(change(list(drawn()))))
    with pytest.raises(UserError, match="its members are not those that hold shares in such a round"):
        verified(tmp_path, ruling)


def replace_members(outcome: Outcome, members: tuple[int, ...]) -> Outcome:
    """Return an outcome whose transcript names other members."""
    ruling = type(outcome.ruling)(outcome.ruling.context, outcome.ruling.columns, members)
    return replace(outcome, ruling=ruling)


# --- how many cheaters a committee withstands: those among all peers, and those among its members

TWENTY = committee(20, 12, faults=4, coalition=3, field=SMALL, security=0)
"""Four of the peers may cheat, and two of the members, who are the first twelve."""


def of_twenty(cheats: Cheating) -> Outcome:
    outcome = agreed(a_round(TWENTY, cheats, votes(20, SIZE)), cheats)
    if outcome.sum is not None:
        assert right(outcome, votes(20, SIZE))
    return outcome


def complaining(count: int) -> type[Player]:
    """Return a peer that says of so many of the dealers, the last ones, that nothing came."""

    class Complainer(Player):
        def complaints(self) -> bytes:
            dealers = len(self.ruling.dealers)
            return bytes(place >= dealers - count for place in range(dealers)) if self.place is not None else b""

    return Complainer


def test_the_layout_is_one_whose_peers_and_members_bear_differently_many() -> None:
    assert (TWENTY.faults, TWENTY.borne, TWENTY.coalition) == (4, 2, 3)


def test_as_many_dealers_as_may_cheat_are_left_out() -> None:
    outcome = of_twenty(dict.fromkeys((1, 13, 14, 19), CHEATS["out-of-range"]))
    assert {one.peer for one in outcome.ruling.culprits} == {1, 13, 14, 19}
    assert outcome.ruling.dealers == [peer for peer in range(20) if peer not in (1, 13, 14, 19)]


class Unreadable(Player):
    """Deals a number, of the beacon or of the mask of a check, that is on no polynomial."""

    column: Callable[[Columns], int]

    def deal(self, secrets: Elements) -> Deal:
        deal = super().deal(secrets)
        powers = [pow(place + 1, 11, SMALL.modulus) for place in range(self.columns.layout.members)]
        deal.small[:, type(self).column(self.columns)] = powers
        return deal


class UnreadableBeacon(Unreadable):
    column = staticmethod(lambda columns: columns.beacons[0].start)


class UnreadableMask(Unreadable):
    column = staticmethod(lambda columns: columns.degree_masks.start)


@pytest.mark.parametrize(("kind", "phase"), [(UnreadableBeacon, "beacon 1"), (UnreadableMask, "checks")])
@pytest.mark.parametrize("count", [4, 5])
def test_as_many_dealers_as_may_cheat_can_have_dealt_what_cannot_be_read(
    kind: type[Player], phase: str, count: int
) -> None:
    outcome = of_twenty(dict.fromkeys(range(20 - count, 20), kind))
    if count == 5:
        assert outcome.aborted.startswith("what peers 15, 16, 17, 18, 19 dealt cannot be read")
    else:
        assert [(one.peer, one.phase) for one in outcome.ruling.culprits] == [(peer, phase) for peer in range(16, 20)]
        assert outcome.ruling.dealers == list(range(16))


@pytest.mark.parametrize(("count", "silent"), [(4, False), (5, True)])
def test_who_complains_of_more_dealers_than_may_cheat_lies(count: int, silent: bool) -> None:
    outcome = of_twenty({0: complaining(count)})
    assert set(outcome.ruling.silent) == ({0} if silent else set())
    assert len(outcome.ruling.shown) == (0 if silent else count)
    assert outcome.ruling.dealers == list(range(20))


@pytest.mark.parametrize(("members", "heard"), [(2, True), (3, False)])
def test_a_dealer_of_whom_more_members_complain_than_may_lie_is_left_out(members: int, heard: bool) -> None:
    """Else so many of its parts were shown to all that a coalition, with them, knew its update."""
    outcome = of_twenty(dict.fromkeys(range(members), complaining(1)))
    assert outcome.ruling.unheard == ([] if heard else [19])
    assert (19 in outcome.ruling.dealers) == heard
    assert outcome.ruling.culprits == []
    assert len(outcome.ruling.shown) == (members if heard else 0)


def test_a_dealer_outside_that_deals_a_member_another_part_and_shows_none_is_out() -> None:
    outcome = of_twenty({19: Withholder})
    assert [(one.peer, one.phase) for one in outcome.ruling.culprits] == [(19, "answers")]
    assert outcome.ruling.dealers == list(range(19))


@pytest.mark.parametrize(("count", "aborted"), [(4, False), (5, True)])
def test_twice_as_many_members_may_be_silent_as_may_cheat(count: int, aborted: bool) -> None:
    outcome = of_twenty(dict.fromkeys(range(count), Silent))
    told = ", ".join(map(str, range(count)))
    assert outcome.aborted == (
        f"peers {told} were silent or cheated, and 4 such are withstood at most" if aborted else ""
    )


def test_others_that_are_silent_count_for_no_member() -> None:
    outcome = of_twenty({**dict.fromkeys((0, 1), SumLiar), **dict.fromkeys(range(16, 20), Silent)})
    assert not outcome.aborted
    assert {one.peer for one in outcome.ruling.culprits} == {0, 1}
    assert set(outcome.ruling.silent) == set(range(16, 20))


def test_more_silent_peers_than_count_for_so_many_cheaters_end_the_round() -> None:
    """Of 20 peers eight may be silent, and nine are too many: too few updates are left to hide one among them."""
    eight = of_twenty(dict.fromkeys(range(12, 20), Silent))
    assert not eight.aborted
    nine = of_twenty(dict.fromkeys(range(11, 20), Silent))
    assert nine.aborted == "only 11 updates are left of 20"


class Together(Player):
    """Adds the same to its share of the sum as all others of its kind, and stands by it."""

    def total(self) -> Any:
        told = super().total()
        return None if told is None else SMALL.add(told, np.ones_like(told))


@pytest.mark.parametrize("members", [1, 2])
def test_as_many_members_as_may_lie_together_do_not_change_the_sum(members: int) -> None:
    outcome = of_twenty({**dict.fromkeys(range(members), Together), **dict.fromkeys((18, 19), Together)})
    assert {one.peer for one in outcome.ruling.culprits} == set(range(members))
    assert outcome.ruling.liars() == 2 - members + members // 2


@pytest.mark.parametrize("phase", ["complaints", "beacon 1", "checks", "sums", "fingerprints"])
def test_who_says_two_things_where_only_members_speak_is_a_culprit_too(phase: str, tmp_path: Path) -> None:
    tongues = type("Tongues", (CHEATS["equivocation"],), {"phase": phase})
    cheats = {OTHER: tongues}
    result = agreed_result(a_whole_round(TWELVE, updates(12), cheats), cheats)
    assert named(result) == [(OTHER, phase)]
    assert right(result.outcomes[0], np.sign(updates(12)).astype(np.int64))
    assert same(verified(tmp_path, result.outcomes[0]), result.outcomes[0])


def test_a_transcript_that_only_members_have_signed_shows_no_more_than_they_say(tmp_path: Path) -> None:
    """Five of twelve may all be made up; ten of them hold an honest one for sure."""
    (outcome,) = of_twelve("", 0).outcomes
    phase, last = outcome.boards[-1]
    order = [*drawn(), *(peer for peer in range(12) if peer not in drawn())]
    for count in (5, 9, 10):
        told = Board({peer: last.said[peer] for peer in order[:count]}, {})
        found = verified(tmp_path, replace(outcome, boards=[*outcome.boards[:-1], (phase, told)]))
        assert len(found.signed) == count
        assert found.attested == (count >= 10)
