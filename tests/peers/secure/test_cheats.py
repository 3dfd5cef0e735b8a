"""Whoever cheats, in whatever step: the sum is exactly that of the accepted updates, and no honest peer suffers."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import event, given, settings
from hypothesis import strategies as st

from peers.secure import cheats
from peers.secure.ball import ball, bound_for
from peers.secure.broadcast import Board, Incoming, Outgoing
from peers.secure.cheats import (
    Crooked,
    FalseComplainer,
    Halves,
    Liar,
    OutOfRange,
    Silent,
    SilentAfterDealing,
    Spoiler,
    SumLiar,
    TwoTongues,
    Withholder,
)
from peers.secure.columns import Columns
from peers.secure.commitment import SALT_BYTES, Leaf
from peers.secure.deal import Deal
from peers.secure.field import LARGE, SMALL, Elements
from peers.secure.layout import Layout, packed
from peers.secure.lengths import refused
from peers.secure.party import Outcome, Player, Steps, Talk
from peers.secure.sharing import pack
from peers.secure.small import shares_of
from peers.secure.terms import Terms
from tests.peers.secure.rounds import NINE, a_round, agreed, context_of, votes

FIVE = packed(5, faults=1, coalition=1, field=SMALL)
"""The least that withstands one cheater."""
SIZE = 12
PRIME = SMALL.modulus
Result = TypeVar("Result")
PHASES = (
    "keys", "commitments", "complaints", "beacon 1", "checks", "sums", "beacon 2", "fingerprints", "rows", "results",
)  # fmt: skip


def meddled(
    steps: Generator[Outgoing, Incoming, Result], change: Callable[[Outgoing], Outgoing]
) -> Generator[Outgoing, Incoming, Result]:
    """Do all steps, with what is sent changed."""
    outgoing = next(steps)
    while True:
        incoming = yield change(outgoing)
        try:
            outgoing = steps.send(incoming)
        except StopIteration as ended:
            result: Result = ended.value
            return result


# --- more ways to cheat


class Says(Player):
    """Says something else, in the phases named."""

    phases: tuple[str, ...] = ()

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        yield from super().say(phase, self.changed(body) if phase in self.phases else body, take)

    def changed(self, body: bytes) -> bytes:
        return body


class Short(Says):
    def changed(self, body: bytes) -> bytes:
        return body[:-1]


class Long(Says):
    """Says more than is heard."""

    def changed(self, body: bytes) -> bytes:
        return body + bytes(10_000)


class NoNumbers(Says):
    def changed(self, body: bytes) -> bytes:
        return b"\xff" * len(body)


class Two(TwoTongues):
    """Says two things, where it says anything."""

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        yield from super().say(phase, body, take) if body else Player.say(self, phase, body, take)


class Quiet(Player):
    """Is away in one phase."""

    phase = "checks"

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        spoken = super().say(phase, body, take)
        yield from meddled(spoken, lambda outgoing: {}) if phase == self.phase else spoken


class Gone(Player):
    """Is away from one phase on."""

    phase = "checks"
    gone = False

    def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
        self.gone = self.gone or phase == self.phase
        spoken = super().say(phase, body, take)
        yield from meddled(spoken, lambda outgoing: {}) if self.gone else spoken


class Complainer(Player):
    """Says of as many dealers as may cheat, its neighbours, that their parts did not come."""

    def complaints(self) -> bytes:
        count, faults = len(self.ruling.dealers), self.columns.layout.faults
        return bytes((place - self.me) % count in range(1, faults + 1) for place in range(count))


class ChangedDeal(Deal):
    """A deal in which pieces were changed before they were committed to."""

    change: Callable[[int, int, bytes], bytes]

    def pieces(self) -> Iterator[list[bytes]]:
        pieces = [
            [self.change(number, place, raw) for place, raw in enumerate(piece)]
            for number, piece in enumerate(super().pieces())
        ]
        self.parts = [b"".join(piece[place] for piece in pieces) for place in range(self._columns.layout.members)]
        self.leaves = [
            Leaf(self._binding, self._dealer, place).feed(part).digest() for place, part in enumerate(self.parts)
        ]
        yield from pieces

    def part(self, place: int) -> bytes:
        return self.parts[place]


class Redealer(Player):
    """Deals something else than its update, and commits to that."""

    def deal(self, secrets: Elements) -> Deal:
        deal = super().deal(secrets)
        deal.__class__ = ChangedDeal
        deal.change = self.changed  # type: ignore[attr-defined]
        return deal

    def changed(self, number: int, place: int, raw: bytes) -> bytes:
        """Return what a member gets in place of a piece."""
        columns = self.columns
        if number == columns.pieces - 1:
            small = SMALL.from_bytes(raw, columns.small).copy()
            self.bend(place, small)
            return SMALL.to_bytes(small)
        return raw

    def bend(self, place: int, small: Elements) -> None:
        """Change what a member gets beside the update."""


def bent(place: int) -> int:
    """Return a member's share of a polynomial of a degree that is far too high, and not near any other."""
    return pow(place + 1, 8, PRIME)


class HighDegree(Redealer):
    """Deals polynomials of one degree more; the same numbers are packed into them."""

    def changed(self, number: int, place: int, raw: bytes) -> bytes:
        seeded = self.columns.seeded(self.me)
        if number != 1 or place in seeded:
            return raw
        by = 1
        for zero in [*(-slot for slot in range(1, self.columns.layout.packing + 1)), *(one + 1 for one in seeded)]:
            by = by * (place + 1 - zero) % PRIME
        shares = SMALL.from_bytes(raw, self.columns.update)
        return SMALL.to_bytes(SMALL.add(shares, np.full_like(shares, by)))


class BentBeacon(Redealer):
    """Deals a beacon that cannot be read."""

    which = 0

    def bend(self, place: int, small: Elements) -> None:
        small[self.columns.beacons[self.which].start] = bent(place)


class BentSecondBeacon(BentBeacon):
    which = 1


class BentMask(Redealer):
    def bend(self, place: int, small: Elements) -> None:
        small[self.columns.degree_masks.start] = bent(place)


class BentZeroMask(Redealer):
    def bend(self, place: int, small: Elements) -> None:
        small[self.columns.zero_masks.start] = bent(place)


class ShiftedZeroMask(Redealer):
    """Deals a mask that does not vanish where the packed numbers are."""

    def bend(self, place: int, small: Elements) -> None:
        here = slice(self.columns.zero_masks.start, self.columns.zero_masks.start + 1)
        small[here] = SMALL.add(small[here], np.ones(1, np.uint32))


class CrookedToTwo(Redealer):
    """Deals two members of five shares that are on no polynomial of the others'."""

    def bend(self, place: int, small: Elements) -> None:
        if place in ((self.me + 1) % 5, (self.me + 2) % 5):
            small[:] = bent(place)


class Garbler(Player):
    """Sends some members what they cannot open."""

    victims = 1

    def hand_out(self, deal: Deal, secret: X25519PrivateKey) -> Talk:
        others = [peer for peer in self.context.peers if peer != self.me][: self.victims]
        yield from meddled(
            super().hand_out(deal, secret), lambda outgoing: outgoing | dict.fromkeys(others, b"cannot be opened")
        )


class GarblerToMany(Garbler):
    victims = 3


class Framer(Redealer):
    """Deals a member a share that is on no polynomial, in a part that it cannot show as it came."""

    step = 3
    salt = SALT_BYTES - 1

    def changed(self, number: int, place: int, raw: bytes) -> bytes:
        if place != self.victim:
            return raw
        if number == 0:
            return (raw + bytes(8))[: self.salt] if self.step == 3 else raw
        if number == 1:
            return raw if self.step == 3 else b"more"
        return SMALL.to_bytes(np.full(self.columns.small, 7, np.uint32))

    @property
    def victim(self) -> int:
        return (self.me + self.step) % self.columns.layout.members


class LongSaltFramer(Framer):
    salt = SALT_BYTES + 1


class SeedFramer(Framer):
    """The same, with more than a seed for who should get a seed alone."""

    step = 1


class Colluder(Player):
    """Adds the same to its share of the sum as all others of its kind, and stands by it."""

    def open_sum(self) -> Talk:
        assert self.holding is not None
        total = self.holding.total
        self.holding.total = lambda dealers: SMALL.add(  # type: ignore[method-assign]
            total(dealers), np.ones(self.columns.update, np.uint32)
        )
        yield from super().open_sum()


def at(cheat: type[Player], phase: str) -> type[Player]:
    """Return a cheat that happens in one phase."""
    return type(f"{cheat.__name__} in {phase}", (cheat,), {"phase": phase, "phases": (phase,)})


ALL: list[type[Player]] = [
    Silent, SilentAfterDealing, Spoiler, Withholder, Crooked, OutOfRange, FalseComplainer, Complainer, SumLiar,
    HighDegree, BentBeacon, BentSecondBeacon, BentMask, BentZeroMask, ShiftedZeroMask, Garbler, GarblerToMany,
    *(at(cheat, phase) for cheat in (Liar, Halves, Quiet, Gone, Long, Two, Short, NoNumbers)
      for phase in (*PHASES, "answers", "evidence")),
]  # fmt: skip


def right(outcome: Outcome, told: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    """Tell whether the sum is that of the accepted updates, as Python's integers have it."""
    assert outcome.sum is not None, outcome.aborted
    accepted = outcome.ruling.dealers
    expected = [sum(int(told[peer, place]) for peer in accepted) for place in range(told.shape[1])]
    return [int(one) for one in SMALL.signed(outcome.sum)] == expected


def played(cheating: Mapping[int, type[Player]], layout: Layout = FIVE, size: int = SIZE) -> Outcome:
    """Return how a round ended for the honest, after all that is promised to them has been checked."""
    told = votes(layout.peers, size)
    outcome = agreed(a_round(layout, cheating, told), cheating)
    honest = [peer for peer in range(layout.peers) if peer not in cheating]
    assert not outcome.aborted
    assert set(honest) <= set(outcome.ruling.dealers)
    assert {culprit.peer for culprit in outcome.ruling.culprits} <= set(cheating), outcome.ruling.culprits
    assert set(outcome.ruling.silent) <= set(cheating)
    assert set(outcome.ruling.unheard) <= set(cheating)
    assert right(outcome, told), outcome.ruling.dealers
    return outcome


# --- each cheat breaks the step that it says


def sent(cheat: type[Player]) -> list[Outgoing]:
    """Return all that a cheater sends, exchange by exchange."""
    told: list[Outgoing] = []

    class Overheard(cheat):  # type: ignore[misc, valid-type]
        def play(self) -> Steps:
            def note(outgoing: Outgoing) -> Outgoing:
                told.append(dict(outgoing))
                return outgoing

            outcome: Outcome = yield from meddled(super().play(), note)
            return outcome

    a_round(FIVE, {0: Overheard}, votes(5, SIZE))
    return told


@cache
def honestly_sent() -> list[Outgoing]:
    return sent(Player)


def exchange_of(phase: str) -> int:
    """Return the exchange in which a phase begins, where nobody complains."""
    exchanges = FIVE.stages + 1
    dealing = Columns(FIVE, SIZE).pieces
    if phase == "dealing":
        return exchanges
    return PHASES.index(phase) * exchanges + (dealing if phase != "keys" else 0)


@pytest.mark.parametrize(
    ("cheat", "phase"),
    [
        (Silent, "keys"),
        (SilentAfterDealing, "beacon 1"),
        (TwoTongues, "checks"),
        (Halves, "checks"),
        (Liar, "checks"),
        (SumLiar, "sums"),
        (FalseComplainer, "complaints"),
        (OutOfRange, "dealing"),
        *[(at(cheat, phase), phase) for cheat in (Two, Halves, Liar) for phase in ("keys", "commitments", "results")],
    ],
)
def test_a_cheater_keeps_to_the_protocol_until_it_cheats(cheat: type[Player], phase: str) -> None:
    told, honest = sent(cheat), honestly_sent()
    here = next(exchange for exchange, one in enumerate(honest) if told[exchange] != one)
    start = exchange_of(phase)
    assert here == start or (phase == "dealing" and start < here < exchange_of("commitments"))


@pytest.mark.parametrize("cheat", [Spoiler, Withholder])
def test_a_spoiler_sends_one_member_another_last_piece_and_commits_to_the_right_one(cheat: type[Player]) -> None:
    told, honest = sent(cheat), honestly_sent()
    last = exchange_of("commitments") - 1
    differing = [exchange for exchange in range(exchange_of("beacon 1")) if told[exchange] != honest[exchange]]
    assert differing[0] == last
    assert [peer for peer in range(1, 5) if told[last][peer] != honest[last][peer]] == [1]
    assert exchange_of("commitments") not in differing


def test_crooked_shares_are_committed_to() -> None:
    told, honest = sent(Crooked), honestly_sent()
    last = exchange_of("commitments") - 1
    assert [peer for peer in range(1, 5) if told[last][peer] != honest[last][peer]] == [1]
    assert told[last + 1] != honest[last + 1]


def test_every_kind_that_a_description_may_name_is_a_player() -> None:
    for kind, cheat in cheats.CHEATS.items():
        assert issubclass(cheat, Player)
        assert kind == kind.lower()
    assert len(set(cheats.CHEATS.values())) == len(cheats.CHEATS)


@pytest.mark.parametrize("kind", cheats.CHEATS)
@pytest.mark.parametrize("place", [0, 4])
def test_no_kind_that_a_description_may_name_changes_the_sum(kind: str, place: int) -> None:
    outcome = played({place: cheats.CHEATS[kind]})
    seen = {culprit.peer for culprit in outcome.ruling.culprits} | set(outcome.ruling.silent)
    assert seen == {place}


# --- who says it wrong, in every phase


@pytest.mark.parametrize("cheat", [Two, Short])
@pytest.mark.parametrize("phase", PHASES)
def test_who_says_it_wrong_is_named_and_changes_nothing(cheat: type[Player], phase: str) -> None:
    """Its update is left out, unless its part in the sum had been committed to before."""
    outcome = played({0: at(cheat, phase)})
    assert [(culprit.peer, culprit.phase) for culprit in outcome.ruling.culprits] == [(0, phase)]
    assert (0 in outcome.ruling.dealers) == (PHASES.index(phase) >= PHASES.index("sums"))


@pytest.mark.parametrize("phase", ["beacon 1", "checks", "beacon 2", "fingerprints", "rows"])
def test_who_opens_what_is_no_number_is_named_and_changes_nothing(phase: str) -> None:
    outcome = played({0: at(NoNumbers, phase)})
    assert [(culprit.peer, culprit.phase) for culprit in outcome.ruling.culprits] == [(0, phase)]
    assert (0 in outcome.ruling.dealers) == (PHASES.index(phase) >= PHASES.index("sums"))


@pytest.mark.parametrize("phase", ["commitments", "complaints", "checks", "sums", "rows", "results"])
def test_who_says_more_than_is_heard_is_silent(phase: str) -> None:
    outcome = played({0: at(Long, phase)})
    assert outcome.ruling.silent == {0: phase}
    assert not outcome.ruling.culprits


# --- who deals it wrong


@pytest.mark.parametrize(
    ("cheat", "phase", "reason"),
    [
        (HighDegree, "checks", "is on no polynomials of the right degree"),
        (BentBeacon, "beacon 1", "dealt no random number that can be read"),
        (BentSecondBeacon, "checks", "is on no polynomials of the right degree"),
        (BentMask, "checks", "is on no polynomials of the right degree"),
        (BentZeroMask, "checks", "is on no polynomials of the right degree"),
        (ShiftedZeroMask, "checks", "is neither 1 nor -1"),
        (OutOfRange, "checks", "is neither 1 nor -1"),
        (CrookedToTwo, "beacon 1", "dealt no random number that can be read"),
        (Crooked, "evidence", "a share that is on no polynomial of the others"),
        (Withholder, "answers", "showed no part for member"),
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_who_deals_it_wrong_is_named_and_left_out(cheat: type[Player], phase: str, reason: str, place: int) -> None:
    outcome = played({place: cheat})
    (culprit,) = outcome.ruling.culprits
    assert (culprit.peer, culprit.phase) == (place, phase)
    assert reason in culprit.reason
    assert outcome.ruling.dealers == [peer for peer in range(5) if peer != place]


def test_who_sends_as_many_as_may_cheat_what_they_cannot_open_must_show_it_to_all() -> None:
    outcome = played({4: Garbler})
    assert set(outcome.ruling.shown) == {(4, 0)}
    assert outcome.ruling.dealers == [0, 1, 2, 3, 4]


def test_who_sends_more_what_they_cannot_open_is_left_out_without_a_proof() -> None:
    outcome = played({4: GarblerToMany})
    assert outcome.ruling.unheard == [4]
    assert outcome.ruling.dealers == [0, 1, 2, 3]
    assert not outcome.ruling.culprits


@pytest.mark.parametrize("cheat", [Framer, LongSaltFramer, SeedFramer])
def test_a_dealer_cannot_make_an_honest_member_a_culprit(cheat: type[Player]) -> None:
    played({0: cheat})


# --- any cheaters


@settings(max_examples=12)
@given(
    st.permutations(range(9)), st.lists(st.sampled_from(ALL), max_size=2), st.integers(5, 20),
)  # fmt: skip
def test_no_two_cheaters_change_the_sum_or_hurt_the_honest(
    places: Sequence[int], cheating: list[type[Player]], size: int
) -> None:
    outcome = played(dict(zip(places, cheating, strict=False)), NINE, size)
    event(f"{9 - len(outcome.ruling.dealers)} left out")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FalseComplainer, FalseComplainer),
        (FalseComplainer, Complainer),
        (Complainer, Complainer),
        (Complainer, at(Two, "answers")),
        (Complainer, at(Gone, "answers")),
        (Complainer, at(Liar, "answers")),
        (Complainer, GarblerToMany),
        (Crooked, Crooked),
        (Crooked, Liar),
        (Spoiler, Withholder),
        (HighDegree, Liar),
        (at(Liar, "fingerprints"), at(Liar, "rows")),
        (Liar, at(Liar, "evidence")),
    ],
)
def test_no_two_that_play_together_change_the_sum(one: type[Player], other: type[Player]) -> None:
    """Neighbours, so that what the one deals wrong comes to the other; and two of one kind lie alike."""
    played({3: one, 4: other}, NINE)


@pytest.mark.parametrize("away", [(), (0, 8), (2, 3, 4), (0, 2, 4, 6)])
@pytest.mark.parametrize("phase", ["keys", "beacon 1", "checks"])
def test_twice_as_many_may_be_away_as_may_cheat(away: tuple[int, ...], phase: str) -> None:
    outcome = played(dict.fromkeys(away, at(Gone, phase)), NINE)
    assert outcome.ruling.silent == dict.fromkeys(away, phase)
    assert not outcome.ruling.culprits


# --- more cheaters than agreed


LIARS = (SumLiar, at(Liar, "sums"), at(Liar, "fingerprints"), at(Liar, "rows"))


@settings(max_examples=25)
@given(st.lists(st.sampled_from([Player, *LIARS]), min_size=5, max_size=5))
def test_however_many_lie_about_the_sum_it_is_right_or_there_is_none(players: list[type[Player]]) -> None:
    told = votes(5, SIZE)
    outcomes = a_round(FIVE, dict(enumerate(players)), told)
    liars = sum(player is not Player for player in players)
    for outcome in outcomes.values():
        assert outcome.sum is None or right(outcome, told)
        assert (outcome.sum is None) == bool(outcome.aborted)
        assert outcome.sum is not None or liars > FIVE.faults
        assert outcome.ruling.dealers == list(range(5))
    event(f"{liars} liars: {'none' if outcomes[0].sum is None else 'right'}")


@pytest.mark.parametrize("liars", range(5))
def test_liars_that_agree_are_not_believed_while_more_are_honest_than_may_cheat(liars: int) -> None:
    """All add the same to the sum, and commit to that; of five, two honest peers still keep it from being believed."""
    cheating: dict[int, type[Player]] = dict.fromkeys(range(liars), Colluder)
    outcome = a_round(FIVE, cheating, votes(5, SIZE))[4]
    if liars <= 1:
        assert right(outcome, votes(5, SIZE))
    elif liars <= 3:
        assert "more members lied about the sum" in outcome.aborted
    else:  # one against four: it is taken for the liar
        assert not right(outcome, votes(5, SIZE))


def test_the_round_of_the_tests_is_the_one_that_is_meant() -> None:
    assert (FIVE.packing, FIVE.degree, FIVE.stages) == (1, 1, 3)
    assert (NINE.packing, NINE.degree, NINE.stages) == (1, 2, 5)
    assert context_of(5).peers == (0, 1, 2, 3, 4)


# --- updates in a ball


BALL_FIVE, BALL_NINE = (
    packed(peers, faults=faults, coalition=faults, field=LARGE) for peers, faults in ((5, 1), (9, 2))
)
BOUND = bound_for(SIZE)
LONG = LARGE.modulus
ROOT = pow(5, (LONG + 1) // 4, LONG)
"""5 is its square, modulo the prime alone."""
BALL_PHASES = (*PHASES[: PHASES.index("checks")], "refusals", "checks", "distances", *PHASES[PHASES.index("sums") :])
NORM, TRUST, KRUM = "norm", "trust", "krum"
LONGER = "it is longer than the bound"


def terms_of(kind: str, layout: Layout) -> Terms:
    """Return what a rule asks: no more than a ball, a reference that all updates are near to, or distances."""
    reference = LARGE.elements(np.full(SIZE, 60)) if kind == TRUST else None
    return Terms(ball(layout, SIZE, BOUND), reference, kind == KRUM)


def in_ball(peers: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return updates that differ, [peers, SIZE]; the first points away from the others, as far as is allowed."""
    told = np.random.default_rng(seed).integers(20, 70, (peers, SIZE))
    told[0] = -73
    return told


def measured(
    kind: str, cheating: Mapping[int, type[Player]], layout: Layout = BALL_FIVE,
    told: np.ndarray[Any, np.dtype[np.int64]] | None = None, seed: int = 0,
) -> Outcome:  # fmt: skip
    """Return how a round ended for the honest, after all that is promised to them has been checked.

    Who counts, and how much, is recomputed from the updates in the open, and the sum from theirs.
    """
    updates = in_ball(layout.peers) if told is None else told
    if kind == TRUST and told is None:
        updates[0] = 0  # whoever points away deals zeros
    terms = terms_of(kind, layout)
    outcome = agreed(a_round(layout, cheating, updates, seed, terms), cheating)
    honest = [peer for peer in range(layout.peers) if peer not in cheating]
    ruling = outcome.ruling
    assert not outcome.aborted
    assert set(honest) <= set(ruling.dealers)
    assert {culprit.peer for culprit in ruling.culprits} <= set(cheating), ruling.culprits
    assert set(ruling.silent) <= set(cheating)
    rows = [[int(one) for one in updates[dealer]] for dealer in ruling.dealers]
    scores = {dealer: 60 * sum(row) for dealer, row in zip(ruling.dealers, rows, strict=True)}
    far = [[sum((x - y) ** 2 for x, y in zip(one, other, strict=True)) for other in rows] for one in rows]
    distances = np.array(far, float) if kind == KRUM else None
    assert ruling.weights == terms.counted(ruling.dealers, scores, distances, layout.coalition + 2)
    assert outcome.sum is not None
    counted = [row for dealer, row in zip(ruling.dealers, rows, strict=True) if dealer in ruling.weights]
    expected = [sum(column) for column in zip(*counted, strict=True)]
    assert [int(one) for one in LARGE.signed(outcome.sum)] == expected
    return outcome


class Refuser(Player):
    """Refuses as many projections as it may, though none would show anything."""

    more = 0

    def refusals(self) -> bytes:
        ball = self.columns.terms.ball
        assert ball is not None
        return np.packbits(np.arange(ball.projections) < ball.refusals + self.more).tobytes()


class GreedyRefuser(Refuser):
    more = 1


class RefuserOfMore(Player):
    """Refuses a projection that there is not."""

    def refusals(self) -> bytes:
        ball = self.columns.terms.ball
        assert ball is not None
        assert ball.projections % 8
        return bytes(ball.refusal_bytes - 1) + b"\x01"


class RefuserOfAll(Player):
    def refusals(self) -> bytes:
        return b"\xff" * len(super().refusals())


class Wrapped(Player):
    """Deals a number whose square is small modulo the prime, the bits that belong to it, and refuses what it may."""

    numbers: tuple[int, ...] = (ROOT,)
    square = 5

    def deal(self, secrets: Elements) -> Deal:
        field, layout, columns = self.columns.layout.field, self.columns.layout, self.columns
        whole = np.zeros(SIZE, np.uint64)
        whole[: len(self.numbers)] = self.numbers
        deal = super().deal(pack(field, whole, layout.packing))
        ball = columns.terms.ball
        assert ball is not None
        bits = [(BOUND**2 - self.square) >> place & 1 for place in range(ball.bits)]
        slack = pack(field, np.array(bits, np.uint64), layout.packing)
        random = deal.small[: layout.coalition, columns.slack]
        deal.small[:, columns.slack] = shares_of(columns, slack, random)
        return deal

    def refusals(self) -> bytes:
        ball, challenge = self.columns.terms.ball, self.ruling.challenge
        assert ball is not None
        assert challenge is not None
        whole = np.zeros(SIZE, np.uint64)
        whole[: len(self.numbers)] = self.numbers
        closed = refused(self.columns, challenge, pack(LARGE, whole, self.columns.layout.packing), self.masks)
        closed[np.flatnonzero(closed)[ball.refusals :]] = False
        return np.packbits(closed).tobytes()


class WrappedTwice(Wrapped):
    numbers = (ROOT, LONG - ROOT)
    square = 10


class WrongScorer(Player):
    """Says another inner product: one more."""

    more = 1

    def score(self, reference: Elements) -> int:
        return super().score(reference) + self.more


class ScorerOfMore(WrongScorer):
    """The same modulo the prime."""

    more = LONG


class ScorerOfLess(WrongScorer):
    more = -LONG


class ScorerOfMost(WrongScorer):
    more = 3 * LONG


class ShiftedMasks(Player):
    """Deals masks whose secrets do not add up to zero, in some columns."""

    def deal(self, secrets: Elements) -> Deal:
        deal = super().deal(secrets)
        here = self.where()
        deal.small[:, here] = LARGE.add(deal.small[:, here], np.ones_like(deal.small[:, here]))
        return deal

    def where(self) -> slice:
        return self.columns.sum_masks


class ShiftedDistances(ShiftedMasks):
    def where(self) -> slice:
        return self.columns.distance_masks


class ShiftedDistanceToOne(ShiftedMasks):
    def where(self) -> slice:
        start = self.columns.distance_masks.start
        return slice(start + 2, start + 3)


class BentMasks(ShiftedMasks):
    """Deals masks of a degree that is far too high."""

    def deal(self, secrets: Elements) -> Deal:
        deal = Player.deal(self, secrets)
        members = range(1, self.columns.layout.members + 1)
        deal.small[:, self.where()] = np.array([pow(point, 20, LONG) for point in members], np.uint64)[:, None]
        return deal


class BentDistances(BentMasks):
    def where(self) -> slice:
        return self.columns.distance_masks


class BentProjection(BentMasks):
    def where(self) -> slice:
        start = self.columns.projection_masks.start
        return slice(start, start + 1)


class BentSlack(BentMasks):
    def where(self) -> slice:
        return slice(self.columns.slack.start, self.columns.slack.start + 1)


class FarMask(BentMasks):
    """Deals a mask of a projection that is far out of its range."""

    def deal(self, secrets: Elements) -> Deal:
        deal = Player.deal(self, secrets)
        here = slice(self.columns.projection_masks.start, self.columns.projection_masks.start + 1)
        deal.small[:, here] = LARGE.add(deal.small[:, here], np.full_like(deal.small[:, here], LONG // 2))
        return deal


class NoBits(Player):
    """Deals 2 where a bit belongs."""

    def deal(self, secrets: Elements) -> Deal:
        deal = super().deal(secrets)
        here = slice(self.columns.slack.start, self.columns.slack.start + 1)
        deal.small[:, here] = LARGE.add(deal.small[:, here], np.full_like(deal.small[:, here], 2))
        return deal


class DistanceLiar(Player):
    """Lies about one distance, by one unit or as far as it likes, and stands by it."""

    by = 1

    def distances(self) -> bytes:
        numbers = LARGE.from_bytes(super().distances(), len(self.ruling.dealers) * (len(self.ruling.dealers) - 1) // 2)
        changed = numbers.copy()
        changed[-1] = (int(changed[-1]) + self.by) % LONG
        return LARGE.to_bytes(changed)


class FarDistanceLiar(DistanceLiar):
    by = LONG // 2


IN_BALL: dict[type[Player], tuple[str, str, str]] = {
    OutOfRange: (NORM, "checks", LONGER),
    Wrapped: (NORM, "checks", "a projection of it is too large"),
    WrappedTwice: (NORM, "checks", "a projection of it is too large"),
    GreedyRefuser: (NORM, "refusals", "it refused too many projections"),
    RefuserOfMore: (NORM, "refusals", "it refused too many projections"),
    RefuserOfAll: (NORM, "refusals", "it refused too many projections"),
    ShiftedMasks: (NORM, "checks", LONGER),
    BentMasks: (NORM, "checks", "is on no polynomials of the right degree"),
    BentProjection: (NORM, "checks", "is on no polynomials of the right degree"),
    BentSlack: (NORM, "checks", "is on no polynomials of the right degree"),
    FarMask: (NORM, "checks", "a projection of it is too large"),
    NoBits: (NORM, "checks", "is not dealt in bits"),
    WrongScorer: (TRUST, "checks", "the score is not what it says"),
    ScorerOfMore: (TRUST, "commitments", "said an inner product that no update has"),
    ScorerOfLess: (TRUST, "commitments", "said an inner product that no update has"),
    ScorerOfMost: (TRUST, "commitments", "said an inner product that no update has"),
    ShiftedDistances: (KRUM, "checks", LONGER),
    ShiftedDistanceToOne: (KRUM, "checks", LONGER),
    BentDistances: (KRUM, "checks", "is on no polynomials of the right degree"),
    DistanceLiar: (KRUM, "distances", "gave wrong shares of the distances"),
    FarDistanceLiar: (KRUM, "distances", "gave wrong shares of the distances"),
}
"""Cheat → a rule under which it matters, when it is seen, and as what."""


@pytest.mark.parametrize("kind", [NORM, TRUST, KRUM])
@pytest.mark.parametrize("layout", [BALL_FIVE, BALL_NINE], ids=["five", "nine"])
def test_nobody_is_left_out_where_nobody_cheats(kind: str, layout: Layout) -> None:
    outcome = measured(kind, {}, layout)
    assert outcome.ruling.dealers == list(range(layout.peers))
    assert (0 in outcome.ruling.weights) == (kind == NORM)


@pytest.mark.parametrize("cheat", IN_BALL)
@pytest.mark.parametrize("place", [0, 4])
def test_who_cheats_about_its_length_is_named_and_left_out(cheat: type[Player], place: int) -> None:
    """But who lies once it knows distances is not left out: its update is allowed, and it would choose a selection."""
    kind, phase, reason = IN_BALL[cheat]
    outcome = measured(kind, {place: cheat})
    (culprit,) = outcome.ruling.culprits
    assert (culprit.peer, culprit.phase) == (place, phase)
    assert reason in culprit.reason
    left = [peer for peer in range(5) if peer != place]
    assert outcome.ruling.dealers == (list(range(5)) if phase == "distances" else left)


def test_an_update_that_points_away_or_is_longer_than_its_score_allows_is_not_trusted() -> None:
    """The reference is 60 everywhere. Of 1, 4, 8 and 70 the squares are 1 more than 60 times the sum."""
    for numbers, reason in (
        ([60] * 12, ""), ([1, 4, 8, 70, 1], ""), ([1, 4, 8, 70], "longer than its trust score"), ([61] * 12, "longer"),
        ([-1], "an inner product that no update has"), ([60] * 11, ""), ([60] * 11 + [-60], "longer"),
    ):  # fmt: skip
        told = in_ball(5)
        told[0], told[4] = 0, [*numbers, *[0] * (12 - len(numbers))]
        outcome = measured(TRUST, {4: type("Naive", (Player,), {})}, told=told)
        assert [culprit.peer for culprit in outcome.ruling.culprits] == ([4] if reason else [])
        assert all(reason in culprit.reason for culprit in outcome.ruling.culprits)


@pytest.mark.parametrize("kind", [NORM, KRUM])
def test_one_unit_too_much_is_seen_and_the_longest_is_not(kind: str) -> None:
    told = in_ball(5)
    for more in (0, 1):
        told[4] = [BOUND - 1, 22, 5, 1, more, *[0] * 7]
        assert int((told[4] ** 2).sum()) == BOUND**2 - 1 + more
        measured(kind, {}, told=told)
    told[4, 5] = 1
    outcome = measured(kind, {4: type("Naive", (Player,), {})}, told=told)
    (culprit,) = outcome.ruling.culprits
    assert culprit.peer == 4
    assert LONGER in culprit.reason


def test_the_longest_update_is_allowed_beside_fillers() -> None:
    """Twelve numbers, five on a polynomial: behind the last are three that count for nothing."""
    layout = packed(13, faults=1, coalition=1, field=LARGE)
    assert layout.packing == 5
    told = in_ball(13)
    told[12] = [BOUND - 1, 22, 5, 1, 1, *[0] * 7]
    assert int((told[12] ** 2).sum()) == BOUND**2
    assert len(measured(NORM, {}, layout, told).ruling.dealers) == 13


@pytest.mark.parametrize("away", [2, 3])
def test_no_sum_is_opened_of_so_few_updates_that_one_could_be_told_from_it(away: int) -> None:
    """Two of three are enough for one that knows its own; so three must count, of whom two are another's."""
    told = in_ball(5)
    told[:away] = 0
    outcome = agreed(a_round(BALL_FIVE, {}, told, terms=terms_of(TRUST, BALL_FIVE)))
    assert (outcome.sum is None) == (away == 3)
    assert outcome.aborted.startswith("only 2 updates would count") == (away == 3)
    assert not any(phase == "sums" for phase, _ in outcome.boards[:-1]) or away == 2


def test_who_refuses_what_it_may_is_heard_all_the_same() -> None:
    outcome = measured(NORM, {4: Refuser})
    assert not outcome.ruling.culprits
    assert outcome.ruling.dealers == list(range(5))


@pytest.mark.parametrize("cheat", [Two, Short])
@pytest.mark.parametrize("phase", ["commitments", "refusals", "checks", "distances"])
def test_who_says_it_wrong_in_a_phase_of_balls_is_named(cheat: type[Player], phase: str) -> None:
    outcome = measured(KRUM, {4: at(cheat, phase)})
    assert [(culprit.peer, culprit.phase) for culprit in outcome.ruling.culprits] == [(4, phase)]
    assert (4 in outcome.ruling.dealers) == (phase == "distances")


@pytest.mark.parametrize("phase", ["refusals", "distances"])
@pytest.mark.parametrize("cheat", [Quiet, Gone, Long])
def test_who_is_not_heard_in_a_phase_of_balls_is_no_culprit(cheat: type[Player], phase: str) -> None:
    """Of whom nobody knows what to open, the update is left out; who only opens nothing, its update counts."""
    outcome = measured(KRUM, {4: at(cheat, phase)})
    assert outcome.ruling.silent == {4: phase}
    assert not outcome.ruling.culprits
    assert (4 in outcome.ruling.dealers) == (phase == "distances")


@settings(max_examples=12)
@given(
    st.permutations(range(9)), st.lists(st.sampled_from([
        *IN_BALL, Refuser, Silent, SilentAfterDealing, Crooked, FalseComplainer, Complainer, SumLiar, Garbler, Spoiler,
        *(at(cheat, phase) for cheat in (Liar, Halves, Gone, Long, Two, NoNumbers) for phase in BALL_PHASES),
    ]), max_size=2), st.sampled_from([NORM, TRUST, KRUM]),
)  # fmt: skip
def test_no_two_cheaters_change_a_sum_of_updates_in_balls(
    places: Sequence[int], cheating: list[type[Player]], kind: str
) -> None:
    measured(kind, dict(zip(places, cheating, strict=False)), BALL_NINE)


def test_more_liars_about_distances_than_are_withstood_end_the_round() -> None:
    """Two of five that agree on another distance, and three."""
    for liars in ((3, 4), (2, 3, 4)):
        cheating: dict[int, type[Player]] = dict.fromkeys(liars, DistanceLiar)
        outcome = a_round(BALL_FIVE, cheating, in_ball(5), terms=terms_of(KRUM, BALL_FIVE))[0]
        assert outcome.sum is None
        assert outcome.aborted == "more members lied about the distances than can be told apart"
