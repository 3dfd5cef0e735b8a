"""What follows from what was said: recomputed here with Python's integers, or from boards with one thing changed."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.broadcast import Board
from peers.secure.cheats import Crooked, FalseComplainer, Liar, Silent, SilentAfterDealing, Spoiler, Withholder
from peers.secure.checks import fingerprint
from peers.secure.columns import Columns
from peers.secure.deal import Deal
from peers.secure.field import SMALL
from peers.secure.hearing import AbortedError, Culprit
from peers.secure.labels import BEACON, HEAD
from peers.secure.layout import Layout, packed
from peers.secure.messages import Message
from peers.secure.party import Outcome, Player, Talk
from peers.secure.pieces import joined
from peers.secure.ruling import TOO_MANY, Ruling
from peers.secure.sharing import pack
from peers.secure.stream import Stream
from tests.peers.secure.rounds import NINE, SIZE, a_round, agreed, context_of, entropy_of, votes

PRIME = SMALL.modulus
COLUMNS = Columns(NINE, SIZE)
FIVE = packed(5, faults=1, coalition=1, field=SMALL)
PHASES = (
    "keys", "commitments", "complaints", "beacon 1", "checks", "sums", "beacon 2", "fingerprints", "rows", "results",
)  # fmt: skip
"""Of a round in which nobody cheats."""
SIZES = {
    "keys": 32,
    "commitments": 9 * 32,
    "complaints": 9,
    "beacon 1": 9 * 5 * 4,  # of each dealer five numbers of 30 bits and more, for 128
    "checks": 9 * 2 * 2 * 4,  # two checks, each twice: 31 bits each, of 40 + 2 + log₂ 36
    "sums": 32,
    "beacon 2": 9 * 5 * 4,
    "fingerprints": 2 * 4,
    "rows": SIZE * 4,
    "results": 32,
}
"""Bytes that every honest peer says in each."""
PART = 32 + SIZE * 4 + (2 * 5 + 2 * 2) * 4
"""Bytes of a member's part: a salt, its shares of the update, of two beacons, and of two masks for each check."""
Change = Callable[[Board], Board]


@cache
def honest() -> Outcome:
    return agreed(a_round())


@cache
def cheated(cheat: type[Player], size: int = 12) -> Outcome:
    """Return how a round of five ended in which the last one cheats."""
    return agreed(a_round(FIVE, {4: cheat}, votes(5, size)), {4: cheat})


def rulings(outcome: Outcome) -> Iterator[tuple[str, Ruling, Board]]:
    """Yield each phase of a round, what is known before it, and what is said in it."""
    known = outcome.ruling
    ruling = Ruling(known.context, known.columns, known.members)
    for (phase, take), (told, said) in zip(ruling.steps(), outcome.boards, strict=True):
        assert phase == told
        yield phase, ruling, said
        take(said)


@cache
def _before() -> dict[str, Ruling]:
    return {phase: copied(ruling) for phase, ruling, _ in rulings(honest())}


def copied(ruling: Ruling) -> Ruling:
    other = copy(ruling)
    vars(other).update({name: copy(value) for name, value in vars(ruling).items() if isinstance(value, dict | list)})
    return other


def before(phase: str) -> Ruling:
    """Return what follows from all that is said before a phase of an honest round."""
    return copied(_before()[phase])


def take(ruling: Ruling, phase: str, said: Board) -> None:
    """Tell a ruling what was said in a phase."""
    takes: dict[str, Callable[[Board], None]] = {
        "beacon 1": partial(ruling.take_beacon, which=0),
        "beacon 2": partial(ruling.take_beacon, which=1),
        "checks": ruling.take_scalars,
    }
    (takes.get(phase) or getattr(ruling, f"take_{phase}"))(said)


def ruled(until: str, changes: dict[str, Change] | None = None) -> Ruling:
    """Return what follows from an honest round's boards up to a phase, some of them changed."""
    changes = changes or {}
    first = next(phase for phase in PHASES if phase in {*changes, until})
    ruling = before(first)
    for phase in PHASES[PHASES.index(first) : PHASES.index(until) + 1]:
        said = dict(honest().boards)[phase]
        take(ruling, phase, changes[phase](said) if phase in changes else said)
    return ruling


def saying(peer: int, change: Callable[[bytes], bytes]) -> Change:
    """A peer says something else."""

    def changed(board: Board) -> Board:
        return Board(board.said | {peer: Message(peer, change(board.said[peer].body), b"")}, board.twice)

    return changed


def silence(*peers: int) -> Change:
    """Some peers say nothing."""
    return lambda board: Board({peer: one for peer, one in board.said.items() if peer not in peers}, board.twice)


def two_things(peer: int) -> Change:
    """A peer says what it should, and something else."""

    def changed(board: Board) -> Board:
        message = board.said[peer]
        rest = silence(peer)(board)
        return Board(rest.said, {peer: (message, Message(peer, message.body + b"x", b""))})

    return changed


def both(*changes: Change) -> Change:
    def changed(board: Board) -> Board:
        for change in changes:
            board = change(board)
        return board

    return changed


def board(bodies: dict[int, bytes]) -> Board:
    return Board({peer: Message(peer, body, b"") for peer, body in bodies.items()})


def numbers(body: bytes) -> list[int]:
    return [int.from_bytes(body[start : start + 4], "little") for start in range(0, len(body), 4)]


def raw(integers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in integers)


def at(points: Sequence[int], values: Sequence[int], wanted: int) -> int:
    """Return a polynomial's value, from its values at some points: Lagrange's formula."""
    total = 0
    for one, value in zip(points, values, strict=True):
        for other in points:
            if other != one:
                value = value * (wanted - other) * pow(one - other, -1, PRIME) % PRIME
        total += value
    return total % PRIME


# --- what is said that cannot be


def shorter(body: bytes) -> bytes:
    return body[:-1]


def longer(body: bytes) -> bytes:
    return body + b"\0"


def nothing(body: bytes) -> bytes:
    return b""


def no_numbers(body: bytes) -> bytes:
    return b"\xff" * len(body)


BEFORE_THE_SUMS = PHASES[: PHASES.index("sums")]
LIAR = 1
"""A peer whose share of the sum is asked for."""


def settled(phase: str) -> str:
    """Return the phase in which it is settled whose updates count: of complaints, the next one."""
    return "beacon 1" if phase == "complaints" else phase


@pytest.mark.parametrize("change", [shorter, longer, nothing])
@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "rows"])
def test_who_says_too_much_or_too_little_is_convicted(phase: str, change: Callable[[bytes], bytes]) -> None:
    ruling = ruled(phase, {phase: saying(LIAR, change)})
    size = len(change(bytes(SIZES[phase])))
    assert ruling.culprits == [Culprit(LIAR, phase, f"said {size} bytes instead of {SIZES[phase]}")]
    assert not ruling.silent
    assert LIAR not in ruling.active


@pytest.mark.parametrize("phase", ["beacon 1", "checks", "beacon 2", "fingerprints"])
def test_who_opens_what_is_no_number_is_convicted(phase: str) -> None:
    ruling = ruled(phase, {phase: saying(LIAR, no_numbers)})
    assert [(culprit.peer, culprit.phase) for culprit in ruling.culprits] == [(LIAR, phase)]
    assert "opened what is no number" in ruling.culprits[0].reason


@pytest.mark.parametrize("change", [shorter, longer, nothing, no_numbers])
def test_who_shows_no_share_of_the_sum_is_convicted_and_another_is_asked(change: Callable[[bytes], bytes]) -> None:
    ruling = ruled("rows", {"rows": saying(LIAR, change)})
    assert [(culprit.peer, culprit.phase) for culprit in ruling.culprits] == [(LIAR, "rows")]
    assert "showed no share of the sum" in ruling.culprits[0].reason
    assert sorted(ruling.rows) == [0, 2]
    assert ruling.wanted() == [3]


@pytest.mark.parametrize("phase", PHASES)
def test_who_says_two_things_is_convicted(phase: str) -> None:
    ruling = ruled(phase, {phase: two_things(LIAR)})
    assert ruling.culprits == [Culprit(LIAR, phase, "said different things to different peers")]
    assert not ruling.silent


@pytest.mark.parametrize("phase", PHASES)
def test_who_is_silent_is_no_culprit(phase: str) -> None:
    ruling = ruled(phase, {phase: silence(LIAR)})
    assert ruling.silent == {LIAR: phase}
    assert not ruling.culprits
    assert LIAR not in ruling.active
    assert (LIAR in ruling.dealers) == (phase not in ("keys", "commitments"))


@pytest.mark.parametrize("change", [saying(LIAR, nothing), two_things(LIAR)])
@pytest.mark.parametrize("phase", BEFORE_THE_SUMS)
def test_a_culprits_update_is_left_out(phase: str, change: Change) -> None:
    ruling = ruled(settled(phase), {phase: change})
    assert ruling.dealers == [0, *range(2, 9)]


@pytest.mark.parametrize("change", [saying(LIAR, nothing), two_things(LIAR)])
@pytest.mark.parametrize("phase", PHASES[PHASES.index("sums") :])
def test_an_update_that_is_in_the_sum_stays_among_the_accepted(phase: str, change: Change) -> None:
    """The members have committed to their shares of it: who cheats from then on is named, no more."""
    until = "beacon 2" if phase == "sums" else phase
    assert ruled(until, {phase: change}).dealers == list(range(9))


def test_what_a_culprit_says_later_counts_no_more() -> None:
    """Nor is it named twice."""
    ruling = ruled("commitments", {"keys": two_things(LIAR), "commitments": two_things(LIAR)})
    assert [(culprit.peer, culprit.phase) for culprit in ruling.culprits] == [(LIAR, "keys")]
    assert LIAR not in ruling.commitments


# --- what is said that may be


def test_the_phases_of_an_honest_round() -> None:
    assert [phase for phase, _ in honest().boards] == list(PHASES)
    assert ruled("results").result().tolist() == SMALL.elements(votes(9).sum(axis=0)).tolist()
    assert not ruled("results").culprits


class Complainer(Player):
    """Says of as many dealers as may cheat, the first ones, that their parts did not come."""

    def complaints(self) -> bytes:
        return bytes(place < self.columns.layout.faults for place in range(len(self.ruling.dealers)))


CHEATS: dict[str, tuple[type[Player], tuple[str, ...]]] = {
    "crooked": (Crooked, ("evidence",)),
    "liar": (Liar, ("evidence",)),
    "spoiler": (Spoiler, ("answers",)),
    "withholder": (Withholder, ("answers",)),
    "complainer": (Complainer, ("answers",)),
    "false complainer": (FalseComplainer, ()),  # of all: nobody believes it
    "silent": (Silent, ()),
    "silent after dealing": (SilentAfterDealing, ()),
}


@pytest.mark.parametrize("name", CHEATS)
def test_the_phases_are_those_that_a_player_goes_through(name: str) -> None:
    """With answers only after complaints, and evidence only after accusations."""
    cheat, more = CHEATS[name]
    outcome = cheated(cheat)  # type: ignore[arg-type]
    gone = [phase for phase, _ in outcome.boards]
    assert [phase for phase in gone if phase not in more] == list(PHASES)
    assert set(more) <= set(gone)
    *_, (_, again, _) = rulings(outcome)
    assert again.head == outcome.ruling.head
    assert again.culprits == outcome.ruling.culprits
    assert (again.dealers, again.silent) == (outcome.ruling.dealers, outcome.ruling.silent)


def test_an_honest_peer_says_as_much_as_it_may_and_no_more() -> None:
    for phase, ruling, told in rulings(honest()):
        for peer, message in told.said.items():
            asked = phase != "rows" or peer in ruling.wanted()
            assert len(message.body) == ruling.limit(phase, peer) == (SIZES[phase] if asked else 0)


class LiesOfAll(Player):
    """Lies about every dealer, and then shows all its parts."""

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        changed = raw([number ^ 1 for number in numbers(body)]) if phase == "checks" else body
        yield from super().say(phase, changed, take)


@pytest.mark.parametrize("size", [1, 7, 8, 9])
@pytest.mark.parametrize("cheat", [Complainer, LiesOfAll, Crooked])
def test_nobody_says_more_than_it_may(cheat: type[Player], size: int) -> None:
    """However small the update, and though a seed is then longer than what follows from it."""
    outcome = cheated(cheat, size=size)  # type: ignore[arg-type]
    for phase, ruling, told in rulings(outcome):
        assert all(len(message.body) <= ruling.limit(phase, peer) for peer, message in told.said.items())
    assert outcome.ruling.dealers == [0, 1, 2, 3] + [4] * (cheat is Complainer)


def test_who_is_complained_of_by_as_many_as_may_be_says_all_that_it_may() -> None:
    """Of the first two dealers, both that complain have seeds of one: its answer is shorter than it may be."""
    cheats: dict[int, type[Player]] = {2: Complainer, 3: Complainer}
    outcome = agreed(a_round(cheats=cheats), cheats)
    limits = {phase: (copied(ruling), told) for phase, ruling, told in rulings(outcome)}
    ruling, told = limits["answers"]
    assert [ruling.limit("answers", peer) for peer in range(9)] == [2 * (8 + PART)] * 2 + [0] * 7
    assert COLUMNS.seeded(0) == (1, 2)
    assert COLUMNS.seeded(1) == (2, 3)
    assert [len(told.said[peer].body) for peer in range(3)] == [
        2 * (8 + PART) - (SIZE * 4 - 32), 2 * (8 + PART) - 2 * (SIZE * 4 - 32), 0
    ]  # fmt: skip


def test_who_is_accused_by_all_says_all_that_it_may() -> None:
    limits = {phase: (copied(ruling), told) for phase, ruling, told in rulings(cheated(LiesOfAll))}
    ruling, told = limits["evidence"]
    most = 5 * (8 + 32 + 12 * 4 + (2 * 5 + 2 * 2) * 4)
    assert [ruling.limit("evidence", peer) for peer in range(5)] == [0, 0, 0, 0, most]
    assert len(told.said[4].body) == most - (12 * 4 - 32)  # it has a seed of one


def test_who_holds_no_shares_has_none_to_show() -> None:
    layout = Layout(6, 5, 1, 1, 1, SMALL, 2)
    cheats: dict[int, type[Player]] = {4: LiesOfAll}
    outcome = agreed(a_round(layout, cheats, votes(6, 12)), cheats)
    for phase, ruling, told in rulings(outcome):
        assert all(len(message.body) <= ruling.limit(phase, peer) for peer, message in told.said.items())
        if phase in ("evidence", "rows"):
            assert ruling.limit(phase, 5) == 0
    assert {"evidence", "rows"} <= {phase for phase, _ in outcome.boards}


@pytest.mark.parametrize("phase", PHASES)
def test_what_is_said_is_bound_to_all_that_was_said_before(phase: str) -> None:
    former = before(phase).head
    told = dict(honest().boards)[phase]
    link = HEAD + former + phase.encode()
    link += b"".join(hashlib.sha256(told.said[peer].body).digest() for peer in range(9))
    assert ruled(phase).head == hashlib.sha256(link).digest()
    without = link[: -7 * 32] + bytes(32) + link[-6 * 32 :]
    assert ruled(phase, {phase: silence(2)}).head == hashlib.sha256(without).digest()
    assert ruled(phase, {phase: saying(2, longer)}).head != ruled(phase).head


@pytest.mark.parametrize("phase", PHASES)
def test_silence_and_two_things_are_told_apart_by_what_follows(phase: str) -> None:
    """Else the proof that a peer said two things can be taken out of a transcript: see test_transcript.py."""
    assert ruled(phase, {phase: two_things(LIAR)}).head != ruled(phase, {phase: silence(LIAR)}).head


def test_rounds_and_runs_have_chains_of_their_own() -> None:
    heads = {Ruling(context_of(9, number), COLUMNS, range(9)).head for number in (1, 2, 256)}
    assert len(heads) == 3


@pytest.mark.parametrize(
    ("columns", "members"),
    [
        (Columns(NINE, SIZE + 1), range(9)),
        (Columns(replace(NINE, faults=1), SIZE), range(9)),
        (COLUMNS, [1, 0, *range(2, 9)]),
    ],
)
def test_a_chain_begins_with_all_that_a_ruling_depends_on(columns: Columns, members: Sequence[int]) -> None:
    assert Ruling(context_of(9), columns, members).head != new().head


# --- who still counts


def new() -> Ruling:
    return Ruling(context_of(9), COLUMNS, range(9))


@pytest.mark.parametrize(("out", "liars"), [(0, 2), (1, 1), (2, 1), (3, 0), (4, 0), (5, 0), (9, 0)])
def test_who_is_silent_or_was_caught_counts_half(out: int, liars: int) -> None:
    """2 · liars + silent ≤ 2 · faults."""
    for caught in range(out + 1):
        ruling = new()
        ruling.culprits = [Culprit(peer, "keys", "cheated") for peer in range(caught)]
        ruling.silent = dict.fromkeys(range(caught, out), "keys")
        assert ruling.liars() == liars == max(0, (4 - out) // 2)
        assert ruling.active == list(range(out, 9))
        ruling.silent |= dict.fromkeys(range(caught), "keys")  # who was caught, and is silent now, counts once
        assert ruling.liars() == liars


def test_who_holds_no_shares_is_no_liar_less() -> None:
    layout = Layout(11, 9, 2, 2, 1, SMALL, 2)
    ruling = Ruling(context_of(11), Columns(layout, SIZE), [10, 8, *range(7)])
    ruling.silent = {9: "keys", 7: "keys"}
    assert ruling.liars() == 2
    ruling.silent = {10: "keys"}
    assert ruling.liars() == 1
    assert ruling.active == list(range(1, 9))  # places, not numbers


# --- complaints


def complaints(of: int, by: Sequence[int]) -> Board:
    return board({peer: bytes(peer in by and dealer == of for dealer in range(9)) for peer in range(9)})


@pytest.mark.parametrize("count", range(10))
def test_more_complaints_than_faults_leave_a_dealer_out_and_convict_nobody(count: int) -> None:
    ruling = before("complaints")
    by = list(range(9))[::-1][:count]
    ruling.take_complaints(complaints(3, by))
    assert ruling.unheard == ([3] if count > 2 else [])
    assert ruling.dealers == [peer for peer in range(9) if peer != 3 or count <= 2]
    assert ruling.complaints == ([(3, place) for place in sorted(by)] if count <= 2 else [])
    assert not ruling.culprits
    assert not ruling.silent
    assert ruling.active == list(range(9))  # its shares of others still count


@given(st.dictionaries(st.tuples(st.integers(0, 8), st.integers(0, 8)), st.integers(1, 255), max_size=25))
def test_complaints_are_counted_dealer_by_dealer(marks: dict[tuple[int, int], int]) -> None:
    """Any byte but zero is one; who complains of more dealers than may cheat is not believed, and taken for silent."""
    ruling = before("complaints")
    said = board({peer: bytes(marks.get((dealer, peer), 0) for dealer in range(9)) for peer in range(9)})
    mistaken = {peer for peer in range(9) if sum(other == peer for _, other in marks) > 2}
    if len(mistaken) > 4:
        with pytest.raises(AbortedError, match="were silent or cheated, and 4 such are withstood at most"):
            ruling.take_complaints(said)
        return
    ruling.take_complaints(said)
    pairs = [(dealer, peer) for dealer, peer in marks if peer not in mistaken]
    counts = {dealer: sum(one == dealer for one, _ in pairs) for dealer in range(9)}
    assert ruling.unheard == [dealer for dealer in range(9) if counts[dealer] > 2]
    assert sorted(ruling.complaints) == sorted(pair for pair in pairs if counts[pair[0]] <= 2)
    assert ruling.silent == dict.fromkeys(mistaken, TOO_MANY)
    assert not ruling.culprits


@cache
def part(dealer: int, place: int) -> bytes:
    """Return what an honest dealer gave to a member."""
    secrets = pack(SMALL, SMALL.elements(votes(9)[dealer]), NINE.packing, filler=1)
    return Deal(context_of(9).binding, dealer, COLUMNS, secrets, entropy_of(dealer)).part(place)


def complained(of: int, by: Sequence[int]) -> Ruling:
    ruling = before("complaints")
    ruling.take_complaints(complaints(of, by))
    return ruling


def test_a_dealer_that_shows_what_it_had_committed_to_stays() -> None:
    ruling = complained(3, [0, 4])
    ruling.take_answers(board({3: joined([part(3, 0), part(3, 4)])}))
    assert 3 in ruling.dealers
    assert not ruling.culprits
    assert {key: shown for key, (_, shown) in ruling.shown.items()} == {(3, 0): part(3, 0), (3, 4): part(3, 4)}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        part(3, 0),
        joined([part(3, 0)]),
        joined([part(3, 0), part(3, 0)]),
        joined([part(3, 4), part(3, 0)]),
        joined([part(2, 0), part(2, 4)]),
        joined([part(3, 0), part(3, 4)[:-1]]),
        joined([part(3, 0), part(3, 4) + b"\0"]),
        joined([part(3, 0), b"\0" + part(3, 4)[1:]]),
        joined([part(3, 0), part(3, 4)])[:-1],
        b"\xff" * 500,
    ],
)
def test_a_dealer_that_shows_anything_else_is_convicted(answer: bytes) -> None:
    ruling = complained(3, [0, 4])
    ruling.take_answers(board({3: answer}))
    assert [(culprit.peer, culprit.phase) for culprit in ruling.culprits] == [(3, "answers")]
    assert "showed no part for member" in ruling.culprits[0].reason
    assert 3 not in ruling.dealers


def test_a_dealer_that_is_silent_when_asked_is_left_out_and_not_convicted() -> None:
    """It may have been killed; but nobody has its part."""
    ruling = complained(3, [0, 4])
    ruling.take_answers(board({}))
    assert ruling.silent == {3: "answers"}
    assert not ruling.culprits
    assert 3 not in ruling.dealers


def test_a_dealer_that_answers_two_things_is_convicted_of_that() -> None:
    ruling = complained(3, [0])
    right = joined([part(3, 0)])
    ruling.take_answers(Board({}, {3: (Message(3, right, b""), Message(3, right + b"x", b""))}))
    assert ruling.culprits == [Culprit(3, "answers", "said different things to different peers")]
    assert 3 not in ruling.dealers


def test_who_answers_though_nobody_asked_is_not_heard() -> None:
    ruling = complained(3, [0])
    ruling.take_answers(board({3: joined([part(3, 0)]), 5: b"me, too"}))
    assert not ruling.culprits
    assert set(ruling.shown) == {(3, 0)}


# --- beacons

BEACONS = pytest.mark.parametrize("phase", ["beacon 1", "beacon 2"])


def opened(phase: str) -> dict[int, list[int]]:
    """Return what each member opened of a beacon: 9 dealers' five numbers."""
    told = dict(honest().boards)[phase]
    return {peer: numbers(message.body) for peer, message in told.said.items()}


def beacon_of(phase: str, told: dict[int, list[int]]) -> bytes:
    """Return the beacon that follows from what members open; of whom none is convicted."""
    ruling = before(phase)
    take(ruling, phase, board({peer: raw(one) for peer, one in told.items()}))
    assert not ruling.culprits
    return ruling.beacon


@BEACONS
def test_a_beacon_is_the_hash_of_all_dealers_secrets_and_of_what_was_said_before(phase: str) -> None:
    which = {"beacon 1": 0, "beacon 2": 1}[phase]
    told = opened(phase)
    hashed = hashlib.sha256(BEACON + context_of(9).binding + bytes([which]) + before(phase).head)
    for dealer in range(9):
        secrets = [at([2, 5, 9], [told[place - 1][5 * dealer + one] for place in (2, 5, 9)], -1) for one in range(5)]
        hashed.update(dealer.to_bytes(4, "big") + raw(secrets))
    assert ruled(phase).beacon == hashed.digest()


@BEACONS
@settings(max_examples=25)
@given(st.data())
def test_a_beacon_does_not_depend_on_what_is_said_while_it_is_opened(phase: str, data: st.DataObject) -> None:
    """One liar that says anything, and one that is away: together no more than two cheaters."""
    liar, away = data.draw(st.permutations(range(9)))[:2]
    lie = st.one_of(st.binary(max_size=200), st.lists(st.integers(0, PRIME - 1), min_size=45, max_size=45).map(raw))
    change = saying(liar, lambda body: data.draw(lie))
    if data.draw(st.booleans()):
        change = both(change, silence(away))
    elif data.draw(st.booleans()):
        change = both(change, two_things(away))
    ruling = ruled(phase, {phase: change})
    assert ruling.beacon == ruled(phase).beacon
    assert {culprit.peer for culprit in ruling.culprits} <= {liar, away}


@BEACONS
@settings(max_examples=25)
@given(st.dictionaries(st.integers(0, 8), st.integers(1, PRIME - 1), min_size=2, max_size=2), st.integers(0, 44))
def test_two_that_lie_together_do_not_change_a_beacon(phase: str, lies: dict[int, int], number: int) -> None:
    told = opened(phase)
    for place, by in lies.items():
        told[place][number] = (told[place][number] + by) % PRIME
    assert beacon_of(phase, told) == ruled(phase).beacon


@BEACONS
@pytest.mark.parametrize("dealer", range(9))
def test_a_beacon_depends_on_every_dealers_secret_and_on_nothing_else_of_its_polynomial(
    phase: str, dealer: int
) -> None:
    shifted, bent = opened(phase), opened(phase)
    for place in range(9):
        shifted[place][5 * dealer + 4] = (shifted[place][5 * dealer + 4] + 1) % PRIME
        bent[place][5 * dealer] = (bent[place][5 * dealer] + 77 * (place + 2)) % PRIME  # 77 (X + 1): 0 at the slot −1
    assert beacon_of(phase, shifted) != ruled(phase).beacon
    assert beacon_of(phase, bent) == ruled(phase).beacon


def test_a_beacon_depends_on_what_was_said_before() -> None:
    """So nobody knows the challenge before all have committed."""
    ruling = before("complaints")
    ruling.take_complaints(complaints(LIAR, [LIAR]))
    ruling.take_beacon(dict(honest().boards)["beacon 1"], 0)
    assert ruling.beacon != ruled("beacon 1").beacon


def test_the_two_beacons_of_a_round_are_two() -> None:
    assert ruled("beacon 1").beacon != ruled("beacon 2").beacon


def test_a_dealer_whose_part_of_the_beacon_is_on_no_polynomial_is_convicted() -> None:
    told = opened("beacon 1")
    for place in (0, 3, 7):  # three of nine: no two liars explain that
        told[place][5 * 6 + 2] = (told[place][5 * 6 + 2] + place + 1) % PRIME
    ruling = before("beacon 1")
    ruling.take_beacon(board({peer: raw(one) for peer, one in told.items()}), 0)
    assert ruling.culprits == [Culprit(6, "beacon 1", "dealt no random number that can be read")]
    assert ruling.dealers == [0, 1, 2, 3, 4, 5, 7, 8]


def test_a_second_beacon_that_cannot_be_read_ends_the_round_and_convicts_nobody() -> None:
    """The checks have shown that it was dealt well: more members lie than may cheat."""
    told = opened("beacon 2")
    for place in (0, 3, 7):
        told[place][5 * 6 + 2] = (told[place][5 * 6 + 2] + place + 1) % PRIME
    ruling = before("beacon 2")
    with pytest.raises(AbortedError, match="what peers 6 dealt cannot be read"):
        ruling.take_beacon(board({peer: raw(one) for peer, one in told.items()}), 1)
    assert not ruling.culprits


# --- checks


@settings(max_examples=30)
@given(st.data())
def test_who_opens_wrong_numbers_is_accused_by_all_whom_they_concern(data: st.DataObject) -> None:
    """Two liars that change any numbers of any dealers by anything: these, and nobody else."""
    liars = data.draw(st.permutations(range(9)))[:2]
    changes = data.draw(
        st.dictionaries(st.tuples(st.sampled_from(liars), st.integers(0, 35)), st.integers(1, PRIME - 1), max_size=12)
    )
    told = {peer: numbers(message.body) for peer, message in dict(honest().boards)["checks"].said.items()}
    for (liar, number), by in changes.items():
        told[liar][number] = (told[liar][number] + by) % PRIME
    ruling = before("checks")
    ruling.take_scalars(board({peer: raw(one) for peer, one in told.items()}))
    assert set(ruling.accusations) == {(number // 4, liar) for liar, number in changes}
    assert not ruling.culprits
    assert ruling.accused() == sorted({liar for liar, _ in changes})
    assert all(
        ruling.asked(liar) == sorted({number // 4 for other, number in changes if other == liar}) for liar in liars
    )


def accused(dealers: Sequence[int], member: int) -> Ruling:
    """Return what is known after a member has opened wrong numbers of some dealers."""

    def lie(body: bytes) -> bytes:
        told = numbers(body)
        for dealer in dealers:
            told[4 * dealer] ^= 1
        return raw(told)

    return ruled("checks", {"checks": saying(member, lie)})


def test_a_member_that_lied_convicts_itself_with_the_part_that_it_shows() -> None:
    ruling = accused([2, 5], 7)
    assert (ruling.accused(), ruling.asked(7)) == ([7], [2, 5])
    ruling.take_evidence(board({7: joined([part(2, 7), part(5, 7)])}))
    assert ruling.culprits == [
        Culprit(7, "evidence", "opened another number of peer 2 than follows from its part")
    ]  # and not twice
    assert ruling.dealers == [peer for peer in range(9) if peer != 7]
    assert 7 not in ruling.active


def test_all_that_are_accused_are_judged() -> None:
    def lie(body: bytes) -> bytes:
        return raw([numbers(body)[0] ^ 1, *numbers(body)[1:]])

    ruling = ruled("checks", {"checks": both(saying(6, lie), saying(7, lie))})
    assert ruling.accused() == [6, 7]
    ruling.take_evidence(board({6: joined([part(0, 6)]), 7: joined([part(0, 7)])}))
    assert [culprit.peer for culprit in ruling.culprits] == [6, 7]
    assert ruling.dealers == [0, 1, 2, 3, 4, 5, 8]


@pytest.mark.parametrize(
    "shown",
    [b"", joined([part(2, 7)]), joined([part(5, 7), part(2, 7)]), joined([part(2, 6), part(5, 6)]), b"\xff" * 700],
)
def test_a_member_that_shows_something_else_is_convicted(shown: bytes) -> None:
    ruling = accused([2, 5], 7)
    ruling.take_evidence(board({7: shown}))
    assert [(culprit.peer, culprit.phase) for culprit in ruling.culprits] == [(7, "evidence")]
    assert ruling.dealers == [peer for peer in range(9) if peer != 7]


def test_a_member_that_is_silent_when_accused_counts_no_more_and_is_not_convicted() -> None:
    ruling = accused([2, 5], 7)
    ruling.take_evidence(board({}))
    assert not ruling.culprits
    assert ruling.silent == {7: "evidence"}
    assert 7 not in ruling.active
    assert ruling.dealers == list(range(9))
    assert ruling.accused() == []


def test_a_member_that_shows_two_things_is_convicted_of_that() -> None:
    ruling = accused([2], 7)
    right = joined([part(2, 7)])
    ruling.take_evidence(Board({}, {7: (Message(7, right, b""), Message(7, right + b"x", b""))}))
    assert ruling.culprits == [Culprit(7, "evidence", "said different things to different peers")]


def test_a_dealer_whose_share_is_on_no_polynomial_is_convicted_by_the_member_that_has_it() -> None:
    outcome = cheated(Crooked)
    assert outcome.ruling.accusations == [(4, 0)]
    (culprit,) = outcome.ruling.culprits
    assert culprit == Culprit(4, "evidence", "dealt member 0 a share that is on no polynomial of the others")


# --- the sum


@settings(max_examples=30)
@given(st.dictionaries(st.integers(0, 8), st.tuples(st.integers(0, 1), st.integers(1, PRIME - 1)), max_size=9))
def test_who_gives_a_wrong_fingerprint_is_convicted_or_there_is_no_sum(lies: dict[int, tuple[int, int]]) -> None:
    """Up to two are told from the others; of more, nothing is believed."""
    told = {peer: numbers(message.body) for peer, message in dict(honest().boards)["fingerprints"].said.items()}
    for liar, (number, by) in lies.items():
        told[liar][number] = (told[liar][number] + by) % PRIME
    ruling = before("fingerprints")
    said = board({peer: raw(one) for peer, one in told.items()})
    if len(lies) > 2:
        with pytest.raises(AbortedError, match="more members lied"):
            ruling.take_fingerprints(said)
        return
    ruling.take_fingerprints(said)
    assert {culprit.peer for culprit in ruling.culprits} == set(lies)
    assert ruling.wanted() == [place for place in range(9) if place not in lies][:3]
    assert ruling.dealers == list(range(9))


@pytest.mark.parametrize("liars", [(), (0,), (8,), (0, 1), (3, 8)])
def test_all_that_give_wrong_fingerprints_are_convicted(liars: tuple[int, ...]) -> None:
    ruling = before("fingerprints")
    lies = [saying(liar, lambda body: raw([numbers(body)[0] ^ 1, *numbers(body)[1:]])) for liar in liars]
    ruling.take_fingerprints(both(*lies)(dict(honest().boards)["fingerprints"]))
    assert ruling.culprits == [Culprit(liar, "fingerprints", "gave a wrong share of the sum") for liar in liars]


@pytest.mark.parametrize("change", [lambda body: bytes(len(body)), lambda body: body[:4] + body[:4] + body[8:]])
def test_a_share_of_the_sum_that_was_not_committed_to_is_not_taken(change: Callable[[bytes], bytes]) -> None:
    ruling = ruled("rows", {"rows": saying(LIAR, change)})
    assert ruling.culprits == [Culprit(LIAR, "rows", "showed another share of the sum than it had committed to")]
    assert ruling.wanted() == [3]


def test_a_share_that_fits_its_fingerprint_and_was_not_committed_to_is_not_taken() -> None:
    """Who knows the beacon finds many that do: that is why all commit before it is opened."""
    ruling = before("rows")
    coefficients = Stream(SMALL, ruling.beacon, "fingerprint").draw(2, SIZE)
    one, other = ([int(number) for number in row[:3]] for row in coefficients)
    by = [(one[place - 2] * other[place - 1] - one[place - 1] * other[place - 2]) % PRIME for place in range(3)]

    def moved(body: bytes) -> bytes:
        return raw([(number + more) % PRIME for number, more in zip(numbers(body), by + [0] * (SIZE - 3), strict=True)])

    told = dict(honest().boards)["rows"]
    wrong = SMALL.from_bytes(moved(told.said[LIAR].body), SIZE)
    assert fingerprint(SMALL, ruling.beacon, 2, wrong).tolist() == numbers(
        dict(honest().boards)["fingerprints"].said[LIAR].body
    )
    ruling.take_rows(saying(LIAR, moved)(told))
    assert ruling.culprits == [Culprit(LIAR, "rows", "showed another share of the sum than it had committed to")]


def test_a_share_that_was_committed_to_and_does_not_fit_its_fingerprint_is_not_taken() -> None:
    ruling = before("rows")
    ruling.sums[LIAR] = hashlib.sha256(bytes(SIZES["rows"])).digest()
    ruling.take_rows(saying(LIAR, lambda body: bytes(len(body)))(dict(honest().boards)["rows"]))
    assert ruling.culprits == [Culprit(LIAR, "rows", "showed another share of the sum than it had committed to")]


def test_shares_are_asked_of_as_few_as_are_needed_and_of_the_next_where_one_fails() -> None:
    ruling = before("rows")
    assert ruling.wanted() == [0, 1, 2]
    ruling.take_rows(silence(0, 2)(dict(honest().boards)["rows"]))
    assert (sorted(ruling.rows), ruling.wanted()) == ([1], [3, 4])
    ruling.take_rows(board({3: bytes(200), 4: bytes(200)}))
    assert {culprit.peer for culprit in ruling.culprits} == {3, 4}
    assert ruling.wanted() == [5, 6]


def test_where_too_few_shares_are_left_there_is_no_sum() -> None:
    ruling = before("rows")
    ruling.culprits = [Culprit(peer, "rows", "cheated") for peer in range(7)]
    with pytest.raises(AbortedError, match="3 more right shares of the sum are needed, and 2 members are left"):
        ruling.wanted()


def test_the_sum_is_that_of_the_shares() -> None:
    ruling = ruled("rows")
    expected = [
        at([place + 1 for place in ruling.rows], [int(row[column]) for row in ruling.rows.values()], -1)
        for column in range(SIZE)
    ]
    assert ruling.result().tolist() == expected == [int(one) % PRIME for one in votes(9).sum(axis=0)]


@pytest.mark.parametrize("change", [lambda body: bytes(32), lambda body: body[:-1] + bytes([body[-1] ^ 1])])
def test_who_signs_another_result_is_convicted(change: Callable[[bytes], bytes]) -> None:
    ruling = ruled("results", {"results": saying(LIAR, change)})
    assert ruling.culprits == [Culprit(LIAR, "results", "signed another result than follows from what was said")]
    assert ruling.dealers == list(range(9))


def test_a_result_tells_the_sum_and_whose_updates_are_in_it() -> None:
    one, other = ruled("rows"), ruled("rows")
    other.dealers = other.dealers[1:]
    changed = ruled("rows")
    changed.rows[0] = SMALL.add(changed.rows[0], np.eye(1, SIZE, 3, dtype=np.uint32)[0])
    assert len({one.result_digest(), other.result_digest(), changed.result_digest()}) == 3


# --- too few


@pytest.mark.parametrize("left", range(10))
def test_a_sum_of_too_few_updates_is_none(left: int) -> None:
    """Of fewer than are left where as many as may be are away: it would tell too much of each."""
    ruling = before("sums")
    ruling.dealers = list(range(left))
    told = dict(honest().boards)["sums"]
    if left >= 5:
        ruling.take_sums(told)
        assert len(ruling.sums) == 9
    else:
        with pytest.raises(AbortedError, match=f"only {left} updates are left of 9"):
            ruling.take_sums(told)


@pytest.mark.parametrize("away", range(10))
@pytest.mark.parametrize("phase", PHASES)
def test_silence_convicts_nobody_and_more_of_it_than_is_withstood_ends_the_round(phase: str, away: int) -> None:
    ruling = before(phase)
    said = silence(*range(9 - away, 9))(dict(honest().boards)[phase])
    asked = [place < 3 for place in range(9 - away, 9)] if phase == "rows" else [True] * away
    if sum(asked) > 4:
        with pytest.raises(AbortedError, match="were silent or cheated, and 4 such are withstood at most"):
            take(ruling, phase, said)
    else:
        take(ruling, phase, said)
    assert not ruling.culprits


@pytest.mark.parametrize("phase", ["beacon 1", "checks", "beacon 2"])
def test_lies_of_more_than_may_cheat_convict_no_dealer(phase: str) -> None:
    """Three that change what concerns every dealer make all of them unreadable: nobody can tell whose fault it is."""

    def lie(body: bytes) -> bytes:
        return raw([(number + 1 + number % 1000) % PRIME for number in numbers(body)])

    ruling = before(phase)
    with pytest.raises(AbortedError, match="cannot be read: more members lie than are withstood"):
        take(ruling, phase, both(*(saying(liar, lie) for liar in (1, 4, 6)))(dict(honest().boards)[phase]))
    assert not ruling.culprits
