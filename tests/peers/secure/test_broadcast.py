"""Whatever some peers send to whom, and when, the others end with the same board, and with all that they said.

The adversary is a script: what each cheater says first, which messages it claims to have, and which ones it passes on,
with which witnesses, to whom, in which stage. It has all cheaters' keys, and of honest peers' signatures those that it
has been sent. The bytes that it sends are written here, not by what reads them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from peers.secure.broadcast import Board, Outgoing, Speaker, broadcast
from peers.secure.messages import Message, is_genuine, say, witness
from peers.secure.simulation import simulate
from tests.peers.secure.rounds import context_of, keys_of

PEERS, LAST = 6, 5
STAGES = 4
"""So three of the six may cheat."""
EXCHANGES = STAGES + 1
"""What each says; what each has; then a stage an exchange, but for the first."""
LIMIT = 12
PHASE, HEAD = "checks", bytes(range(32))
CONTEXT, KEYS = context_of(PEERS), keys_of(PEERS)
Boards = dict[int, Board]


def body_of(peer: int) -> bytes:
    """Return what a peer that keeps to the protocol says."""
    return b"body %d" % peer


@cache
def said(peer: int, body: bytes, phase: str = PHASE, head: bytes = HEAD) -> Message:
    """Return a message, signed by its sender."""
    return say(KEYS[peer], CONTEXT, phase, peer, head, body)


@cache
def seen(peer: int, message: Message) -> tuple[int, bytes]:
    """Return a witness: who it is, and its signature."""
    return peer, witness(KEYS[peer], CONTEXT, PHASE, HEAD, message)


def relay(message: Message, witnesses: Iterable[tuple[int, bytes]]) -> bytes:
    """Return a message as it is passed on."""
    chain, raw = list(witnesses), message.encode()
    head = message.sender.to_bytes(4, "big") + len(chain).to_bytes(4, "big") + len(raw).to_bytes(8, "big")
    return head + b"".join(peer.to_bytes(4, "big") + signature for peer, signature in chain) + raw


def chained(message: Message, peers: Iterable[int]) -> bytes:
    """Return a message, passed on by some peers."""
    return relay(message, [seen(peer, message) for peer in peers])


def to_all(raw: bytes) -> Outgoing:
    return dict.fromkeys(range(PEERS), raw)


def ended(
    meddle: Callable[[int, int, Outgoing], Outgoing] | None = None, *, heads: Mapping[int, bytes] | None = None,
    stages: int = STAGES, bodies: Mapping[int, bytes] | None = None, limits: Mapping[int, int] | None = None,
) -> Boards:  # fmt: skip
    """Return every peer's board."""
    steps = {
        peer: broadcast(
            Speaker(peer, KEYS[peer], CONTEXT, stages), PHASE, (heads or {}).get(peer, HEAD),
            (bodies or {}).get(peer, body_of(peer)), limit=lambda peer: (limits or {}).get(peer, LIMIT),
        )
        for peer in range(PEERS)
    }  # fmt: skip
    return simulate(steps, meddle)  # type: ignore[arg-type, return-value]


def scripted(script: Mapping[tuple[int, int], Outgoing]) -> Boards:
    """Return every peer's board where (exchange, peer) sends something else than it should."""
    return ended(lambda exchange, sender, outgoing: script.get((exchange, sender), outgoing))


def summary(board: Board) -> tuple[dict[int, bytes], set[int]]:
    """Return what a board says: a cheater may sign one thing twice, or say three things, and that is no difference."""
    return {sender: message.body for sender, message in board.said.items()}, set(board.twice)


def agreed(boards: Boards, cheaters: Iterable[int]) -> Board:
    """Return what all honest peers have heard, after all that a broadcast promises has been checked."""
    honest = [peer for peer in range(PEERS) if peer not in set(cheaters)]
    for peer in honest:
        board = boards[peer]
        assert summary(board) == summary(boards[honest[0]])
        assert not set(board.said) & set(board.twice)
        for other in honest:
            assert board.said[other].body == body_of(other)
        for sender, message in board.said.items():
            assert message.sender == sender
            assert len(message.body) <= LIMIT
            assert is_genuine(CONTEXT, PHASE, HEAD, message)
        for sender, pair in board.twice.items():
            assert pair[0].body != pair[1].body
            assert all(message.sender == sender and is_genuine(CONTEXT, PHASE, HEAD, message) for message in pair)
    return boards[honest[0]]


# --- where nobody cheats


@pytest.mark.parametrize("stages", [2, 3, STAGES])
def test_everybody_hears_what_everybody_said(stages: int) -> None:
    for board in ended(stages=stages).values():
        assert summary(board) == ({peer: body_of(peer) for peer in range(PEERS)}, set())


@pytest.mark.parametrize("stages", [2, 3, STAGES])
def test_where_all_have_heard_the_same_nothing_is_passed_on(stages: int) -> None:
    sent: list[tuple[int, Outgoing]] = []
    ended(lambda exchange, sender, outgoing: sent.append((exchange, outgoing)) or outgoing, stages=stages)  # type: ignore[func-returns-value]
    assert {exchange for exchange, _ in sent} == set(range(stages + 1))
    assert all(not outgoing for exchange, outgoing in sent if exchange >= 2)


def test_who_says_nothing_is_on_nobodys_board() -> None:
    board = agreed(ended(lambda exchange, sender, outgoing: {} if sender == 3 else outgoing), {3})
    assert set(board.said) == set(range(PEERS)) - {3}
    assert not board.twice


def test_only_who_lacks_a_message_gets_it_passed_on() -> None:
    """One says its word to two of the others: these tell it to the rest, and nobody tells anything else."""
    passed: dict[int, set[tuple[int, int]]] = {}

    def meddle(exchange: int, sender: int, outgoing: Outgoing) -> Outgoing:
        if exchange == 0 and sender == LAST:
            return {peer: raw for peer, raw in outgoing.items() if peer in (1, 3)}
        if exchange >= 2:
            passed.setdefault(exchange, set()).update((sender, receiver) for receiver in outgoing)
        return outgoing

    board = agreed(ended(meddle), {LAST})
    assert board.said[LAST].body == body_of(LAST)
    assert passed[2] == {(sender, receiver) for sender in (1, 3) for receiver in (0, 2, 4)}


# --- what is not heard


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(64),
        b"x" * 70,
        body_of(3),
        said(3, b"1" * (LIMIT + 1)).encode(),
        said(3, b"other place", phase="sums").encode(),
        said(3, b"other head", head=bytes(32)).encode(),
        said(2, b"another's").encode(),
        said(3, b"bitten").encode()[:-1],
    ],
)
def test_what_is_no_message_of_its_sender_for_this_place_is_not_heard(raw: bytes) -> None:
    board = agreed(scripted({(0, 3): to_all(raw)}), {3})
    assert 3 not in board.said
    assert not board.twice


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_a_message_as_long_as_may_be_is_heard(size: int) -> None:
    """From its sender, and from who passes it on."""
    raw = said(3, b"1" * size).encode()
    for told in (to_all(raw), {LAST: raw}):
        assert agreed(scripted({(0, 3): told}), {3}).said[3].body == b"1" * size


def test_everybody_may_say_as_much_as_it_may_and_no_more() -> None:
    """Said to all, or to one that passes it on."""
    limits, bodies = {0: 0, 1: 3, 2: 300}, {0: b"", 1: b"123", 2: b"2" * 300}
    for board in ended(limits=limits, bodies=bodies).values():
        assert {peer: board.said[peer].body for peer in bodies} == bodies
    for peer, body in bodies.items():
        raw = said(peer, body + b"1").encode()
        for told in (to_all(raw), {LAST: raw}):
            script = {(0, peer): told}
            boards = ended(lambda exchange, one, sent, script=script: script.get((exchange, one), sent), limits=limits)  # type: ignore[misc]
            assert not [other for other in range(PEERS) if other != peer and peer in boards[other].said]


def test_who_has_another_transcript_is_not_understood_and_does_not_understand() -> None:
    boards = ended(heads={3: bytes(32)})
    assert set(agreed(boards, {3}).said) == set(range(PEERS)) - {3}
    assert summary(boards[3]) == ({3: body_of(3)}, set())


def test_a_stranger_counts_for_nothing() -> None:
    key = next(key for peer, key in keys_of(PEERS + 1).items() if peer == PEERS)
    message = say(key, CONTEXT, PHASE, PEERS, HEAD, b"stranger")
    late = said(LAST, b"late")
    steps = broadcast(Speaker(0, KEYS[0], CONTEXT, STAGES), PHASE, HEAD, body_of(0), limit=lambda peer: LIMIT)
    next(steps)
    steps.send({PEERS: message.encode()})
    steps.send({PEERS: bytes(32 * PEERS)})
    steps.send({PEERS: chained(message, [1, 2, 3]) + chained(late, [1, 2, 3]), 1: relay(message, [seen(1, message)])})
    steps.send({})
    with pytest.raises(StopIteration) as stopped:
        steps.send({})
    assert summary(stopped.value.value) == ({0: body_of(0)}, set())


# --- equivocation


@pytest.mark.parametrize("others", [(0,), (0, 1, 2), (0, 1, 2, 3)])
def test_who_says_two_things_is_found_out_by_all(others: tuple[int, ...]) -> None:
    one, other = said(LAST, b"one").encode(), said(LAST, b"other").encode()
    board = agreed(scripted({(0, LAST): {peer: other if peer in others else one for peer in range(LAST)}}), {LAST})
    assert LAST not in board.said
    assert {message.body for message in board.twice[LAST]} == {b"one", b"other"}


def test_who_says_a_different_thing_to_everybody_is_found_out_by_all() -> None:
    board = agreed(scripted({(0, LAST): {peer: said(LAST, b"to %d" % peer).encode() for peer in range(LAST)}}), {LAST})
    assert set(board.twice) == {LAST}


@pytest.mark.parametrize("stage", range(2, STAGES))
def test_a_second_message_that_comes_late_but_with_enough_witnesses_is_held_against_its_sender(stage: int) -> None:
    cheaters = range(stage)  # as many have signed as the stage wants
    late = chained(said(0, b"late"), cheaters[1:])
    board = agreed(scripted({(stage, 1): {5: late}}), {0, 1, 2})
    assert {message.body for message in board.twice[0]} == {body_of(0), b"late"}


# --- late messages


@pytest.mark.parametrize("stage", range(2, STAGES))
@pytest.mark.parametrize("through", [1, 4])
def test_a_message_told_to_one_with_as_many_signatures_as_the_stage_wants_reaches_all(stage: int, through: int) -> None:
    """Through a cheater whose chain is long enough, whether or not its sender has said it to anybody."""
    message = said(0, b"late")
    script = {(0, 0): {}, (stage, 1): {4: chained(message, range(1, stage))}}
    board = agreed(scripted({**script, (stage, 2): {}} if through == 1 else script), {0, 1, 2})
    assert board.said[0].body == b"late"


@pytest.mark.parametrize("stage", range(2, STAGES + 1))
def test_a_message_with_too_few_signatures_counts_for_nobody(stage: int) -> None:
    message = said(0, b"late")
    raw = chained(message, range(1, stage - 1))
    board = agreed(scripted({(0, 0): {}, (stage, 0): to_all(raw), (stage, 1): {3: raw}}), {0, 1, 2})
    assert 0 not in board.said
    assert 0 not in board.twice


LATE = said(0, b"late")
MINE, ANOTHER = seen(0, LATE), seen(1, LATE)
FORGED = tuple((peer, witness(KEYS[0], CONTEXT, PHASE, HEAD, LATE)) for peer in (3, 4, 5))
ELSEWHERE = tuple((peer, witness(KEYS[peer], CONTEXT, PHASE, bytes(32), LATE)) for peer in (3, 4, 5))
OF_ANOTHER = tuple(seen(peer, said(0, body_of(0))) for peer in (3, 4, 5))
AS_SENDER = tuple((peer, said(peer, LATE.body).signature) for peer in (3, 4, 5))


@pytest.mark.parametrize(
    "witnesses",
    [
        (),
        (MINE,),
        (MINE,) * STAGES,
        (ANOTHER,) * STAGES,
        (ANOTHER, (2, ANOTHER[1]), (3, ANOTHER[1])),
        FORGED,
        ELSEWHERE,
        OF_ANOTHER,
        AS_SENDER,
        (*FORGED, MINE),
        ((99, MINE[1]), (98, MINE[1]), (97, MINE[1])),
        tuple((peer, bytes(64)) for peer in (1, 2, 3)),
    ],
)
def test_what_a_single_cheater_introduces_in_the_last_stage_counts_for_nobody(
    witnesses: tuple[tuple[int, bytes], ...],
) -> None:
    raw = relay(LATE, witnesses)
    for told in (to_all(raw), {4: raw}):
        board = agreed(scripted({(0, 0): {}, (STAGES, 0): told}), {0})
        assert 0 not in board.said
        assert 0 not in board.twice


def test_all_cheaters_together_introduce_nothing_in_the_last_stage() -> None:
    raw = chained(LATE, [1, 2])
    board = agreed(scripted({(0, 0): {}, (STAGES, 0): {4: raw}, (STAGES, 2): {5: raw}}), {0, 1, 2})
    assert 0 not in board.said


def test_one_cheater_more_than_the_stages_allow_for_divides_the_honest() -> None:
    """So the bound is no larger than it must be: four sign what comes in the fourth stage, to one alone."""
    boards = scripted({(0, 0): {}, (STAGES, 0): {4: chained(LATE, [1, 2, 3])}})
    assert boards[4].said[0].body == b"late"
    assert 0 not in boards[5].said


def test_nobody_can_be_made_to_have_said_something() -> None:
    """All the cheaters' signatures together are not one honest peer's."""
    forged = Message(5, b"forged", said(0, b"forged").signature)
    script = {(stage, 0): to_all(chained(forged, [1, 2, 0])) for stage in range(2, STAGES + 1)}
    assert agreed(scripted(script), {0, 1, 2}).said[5].body == body_of(5)


# --- garbage among what is passed on


GENUINE = chained(LATE, [1])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(15),
        bytes(16),
        b"\xff" * 16,
        b"\xff" * 1000,
        GENUINE[:-1],
        GENUINE[:20],
        relay(said(0, b"1" * (LIMIT + 1)), [seen(1, said(0, b"1" * (LIMIT + 1)))]),
        GENUINE[:4] + (2).to_bytes(4, "big") + GENUINE[8:],
        GENUINE[:4] + b"\xff\xff\xff\xff" + GENUINE[8:],
        GENUINE[:8] + b"\xff" * 8 + GENUINE[16:],
        GENUINE[:8] + bytes(8) + GENUINE[16:],
        b"\0" + GENUINE,
    ],
)
def test_what_is_no_relay_is_left_unread(raw: bytes) -> None:
    board = agreed(scripted({(0, 0): {}, (2, 1): to_all(raw)}), {0, 1, 2})
    assert 0 not in board.said


@settings(max_examples=40)
@given(st.binary(max_size=300), st.integers(0, EXCHANGES - 1))
def test_garbage_keeps_nobody_from_being_heard(raw: bytes, exchange: int) -> None:
    agreed(scripted({(exchange, peer): to_all(raw) for peer in (1, 2, LAST)}), {1, 2, LAST})


def test_what_stands_before_garbage_is_read_and_what_is_no_relay_hurts_no_other() -> None:
    board = agreed(scripted({(0, 0): {}, (2, 1): {3: GENUINE + b"garbage"}, (2, 2): {3: b"\xff" * 40}}), {0, 1, 2})
    assert board.said[0].body == b"late"


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_more_than_there_can_be_to_pass_on_is_left_unread(size: int) -> None:
    """So nobody can make others check signatures without end; and two long messages of everybody are not too much."""
    raw = GENUINE + bytes(size)
    assert 0 not in agreed(scripted({(0, 0): {}, (2, 1): to_all(raw)}), {0, 1, 2}).said
    long = [said(peer, bytes([which]) * LIMIT) for peer in (0, 1, 2) for which in (1, 2)]
    script: dict[tuple[int, int], Outgoing] = {(0, peer): {} for peer in (0, 1, 2)}
    script[3, 0] = {3: b"".join(chained(one, {0, 1, 2} - {one.sender}) for one in long)}
    assert set(agreed(scripted(script), {0, 1, 2}).twice) == {0, 1, 2}


@pytest.mark.parametrize("claim", [b"", bytes(32 * PEERS), b"\xff" * (32 * PEERS), b"\xff" * 31, b"\xff" * 10_000])
def test_what_a_cheater_claims_to_have_changes_nothing_for_others(claim: bytes) -> None:
    one, other = said(LAST, b"one").encode(), said(LAST, b"other").encode()
    spoken = {peer: other if peer % 2 else one for peer in range(LAST)}
    script = {(0, LAST): spoken, (1, LAST): to_all(claim), (1, 4): {2: claim}}
    assert set(agreed(scripted(script), {4, LAST}).twice) == {LAST}


# --- everything at once


@dataclass
class Adversary:
    """A script for the cheaters, and what they have overheard.

    Attributes:
        says: (cheater, receiver) → what it says first; None: as it should.
        claims: (cheater, receiver) → what it claims to have; None: the truth.
        relays: (stage, cheater, receiver) → messages, with those whose signatures are hung on, as far as they can be.
        tails: (stage, cheater) → bytes after that.
        overheard: (message's digest, honest peer) → its signature as a witness.
    """

    cheaters: Sequence[int]
    says: dict[tuple[int, int], bytes | None]
    claims: dict[tuple[int, int], bytes | None]
    relays: dict[tuple[int, int, int], list[tuple[Message, tuple[int, ...]]]]
    tails: dict[tuple[int, int], bytes]
    overheard: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    counted: int = 0

    def __call__(self, exchange: int, sender: int, outgoing: Outgoing) -> Outgoing:
        if sender not in self.cheaters:
            if exchange >= 2:
                for receiver in self.cheaters:
                    self.overhear(outgoing.get(receiver, b""))
            return outgoing
        told: dict[int, bytes | None] = {}
        for receiver in range(PEERS):
            if exchange == 0:
                told[receiver] = self.says.get((sender, receiver), outgoing.get(receiver))
            elif exchange == 1:
                told[receiver] = self.claims.get((sender, receiver), outgoing.get(receiver))
            else:
                relays = self.relays.get((exchange, sender, receiver), [])
                parts = [relay(message, self.signed(message, chain)) for message, chain in relays]
                told[receiver] = b"".join(parts) + self.tails.get((exchange, sender), b"")
        return {receiver: raw for receiver, raw in told.items() if raw is not None and receiver != sender}

    def signed(self, message: Message, chain: Iterable[int]) -> list[tuple[int, bytes]]:
        """Return signatures: cheaters' own, honest peers' where they have given them, and else forged ones."""
        signatures = []
        for peer in chain:
            if peer in self.cheaters:
                signatures.append(seen(peer, message))
            else:
                known = self.overheard.get((message.digest, peer))
                self.counted += known is not None
                signatures.append((peer, known or bytes(64)))
        return signatures

    def overhear(self, raw: bytes) -> None:
        """Keep the signatures on what an honest peer passes on."""
        while raw:
            sender, count = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")
            size, signed, raw = int.from_bytes(raw[8:16], "big"), raw[16 : 16 + 68 * count], raw[16 + 68 * count :]
            message, raw = Message(sender, raw[64:size], raw[:64]), raw[size:]
            for start in range(0, len(signed), 68):
                peer = int.from_bytes(signed[start : start + 4], "big")
                self.overheard[message.digest, peer] = signed[start + 4 : start + 68]


def adversary_of(seed: int) -> Adversary:
    """Return some script; half of them let cheaters sleep first, so that everything hangs on the relays."""
    lot = Random(seed)
    cheaters = lot.sample(range(PEERS), lot.randint(1, STAGES - 1))
    told = [said(peer, body) for peer in cheaters for body in (body_of(peer), b"two", b"three")]
    odd = [said(cheaters[0], b"1" * (LIMIT + 1)), Message(cheaters[0], b"unsigned", bytes(64)),
           said(cheaters[0], b"two", head=bytes(32))]  # fmt: skip
    pairs = [(peer, receiver) for peer in cheaters for receiver in range(PEERS) if receiver != peer]
    asleep = lot.random() < 0.5
    says: dict[tuple[int, int], bytes | None] = {}
    for peer, receiver in pairs:
        own = [message.encode() for message in told + odd if message.sender == peer]
        if asleep:
            says[peer, receiver] = lot.choice(own) if lot.random() < 0.1 else None
        elif lot.random() < 0.7:
            says[peer, receiver] = lot.choice([None, lot.randbytes(80), *own])
    claims = {pair: lot.choice([None, bytes(32 * PEERS), lot.randbytes(40)]) for pair in pairs if lot.random() < 0.2}
    relays: dict[tuple[int, int, int], list[tuple[Message, tuple[int, ...]]]] = {}
    for _ in range(lot.randint(0, 10)):
        stage, message = lot.randint(2, STAGES), lot.choice(told[:3] + told)
        others = [peer for peer in lot.sample(range(PEERS), PEERS) if peer != message.sender]
        others.sort(key=lambda peer: peer not in cheaters)  # cheaters first: their signatures can be had
        if lot.random() < 0.2:
            message, others = lot.choice(told + odd), lot.choices(range(PEERS), k=PEERS)
        chain = tuple(others[: max(0, stage - 1 + lot.choice([-1, 0, 0, 1]))])
        relays.setdefault((stage, *lot.choice(pairs)), []).append((message, chain))
    turns = [(stage, peer) for stage in range(2, STAGES + 1) for peer in cheaters]
    tails = {turn: lot.randbytes(50) for turn in turns if lot.random() < 0.1}
    return Adversary(cheaters, says, claims, relays, tails)


@settings(max_examples=120)
@given(st.integers(0, 1 << 32))
def test_all_honest_peers_end_with_the_same_board(seed: int) -> None:
    adversary = adversary_of(seed)
    board = agreed(ended(adversary), adversary.cheaters)
    event(f"{len(board.twice)} said two things, {PEERS - len(board.said) - len(board.twice)} nothing")
    event(f"honest signatures were used again: {adversary.counted > 0}")
