"""Rounds over a network: equal to a simulation byte for byte, and what one peer cannot do to the others.

Where a rule of waiting is tested, limits that must not be reached are minutes: a test of a broken rule would not end.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.peer_certificates import make_peer_certificates
from peers.neighbours import Unreachable
from peers.secure.broadcast import Incoming, Outgoing
from peers.secure.cheats import SumLiar, TwoTongues
from peers.secure.columns import Columns
from peers.secure.field import SMALL
from peers.secure.layout import packed
from peers.secure.mailbox import GONE, LETTER, NOT_YET, NOTHING, PART, Mailbox, Wanted, decode_wanted
from peers.secure.network import Carried, EndedEarlyError, Limits, Post, carry
from peers.secure.party import Outcome, Player, Steps, play
from peers.secure.simulation import Traffic, simulate
from peers.secure.transcript import write_transcript
from peers.speech import PIECE
from tests.peers.network_fixture import stub
from tests.peers.secure.rounds import context_of, entropy_of, keys_of, votes
from tests.waiting import until

FIVE = packed(5, faults=1, coalition=1, field=SMALL)
NAMES = {peer: f"peer {peer}" for peer in range(5)}
NUMBERS = {name: peer for peer, name in NAMES.items()}
RUN = context_of(5).run
LONG = Limits(begin=600, absent=600, exchange=600, grace=600)
Heard = list[dict[int, bytes]]
Answer = Callable[[str, bytes], Iterable["bytes | Unreachable"]]
"""(Asker, question) → pieces of the answer."""


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of five peers; not to be changed."""
    folder = tmp_path_factory.mktemp("five")
    make_peer_certificates(folder, list(NAMES.values()))
    return folder


def teller(
    me: int, exchanges: int, pause: Callable[[int], None] = lambda _: None
) -> Generator[Outgoing, Incoming, Heard]:
    """Tell everybody the time, and return what was heard in each exchange."""
    heard: Heard = []
    for exchange in range(exchanges):
        pause(exchange)
        incoming = yield {other: b"%d to %d at %d" % (me, other, exchange) for other in NAMES if other != me}
        heard.append(dict(incoming))
    return heard


def everything(me: int, exchange: int, but: Collection[int] = ()) -> dict[int, bytes]:
    """What is heard in an exchange where all but some speak."""
    return {peer: b"%d to %d at %d" % (peer, me, exchange) for peer in NAMES if peer not in {me, *but}}


def others(me: int) -> list[int]:
    return [peer for peer in NAMES if peer != me]


def directly(answers: Mapping[int, Answer]) -> dict[int, Post]:
    """A way to the others for each peer: calls in place of a network."""
    boxes = {peer: Mailbox(RUN, NUMBERS, wait=0.2) for peer in NAMES}
    answer: dict[int, Answer] = {peer: box.letters for peer, box in boxes.items()} | dict(answers)

    def asking(me: int) -> Any:
        def ask(name: str, question: bytes, timeout: float) -> Generator[bytes | Unreachable, None, None]:
            yield from answer[NUMBERS[name]](NAMES[me], question)

        return ask

    return {peer: Post(RUN, box, asking(peer), NAMES, peer, faults=1) for peer, box in boxes.items()}


@contextlib.contextmanager
def connected(
    folder: Path, answers: Mapping[int, Callable[[str, bytes], Iterator[bytes]]]
) -> Iterator[dict[int, Post]]:
    """The same over mutual TLS on loopback."""
    boxes = {peer: Mailbox(RUN, NUMBERS, wait=0.5) for peer in NAMES}
    answer: dict[int, Callable[[str, bytes], Iterator[bytes]]] = {peer: box.letters for peer, box in boxes.items()}
    with contextlib.ExitStack() as stack:
        stubs = {
            peer: stack.enter_context(stub(folder / name, letters=(answer | dict(answers))[peer]))
            for peer, name in NAMES.items()
        }
        addresses = {NAMES[peer]: one.address for peer, one in stubs.items()}
        yield {
            peer: Post(RUN, boxes[peer], stack.enter_context(one.dialling(addresses)).letters, NAMES, peer, faults=1)
            for peer, one in stubs.items()
        }


def together(work: Mapping[int, Callable[[], Carried[Any]]]) -> dict[int, Carried[Any]]:
    """Do all of it at the same time, and return what came of each."""
    done: dict[int, Carried[Any]] = {}

    def do(peer: int, one: Callable[[], Carried[Any]]) -> None:
        done[peer] = one()

    threads = [threading.Thread(target=do, args=item, daemon=True) for item in work.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert done.keys() == work.keys()
    return done


def told(
    ways: Mapping[int, Post], exchanges: int, limits: Limits = LONG, without: Collection[int] = (), **more: Any
) -> dict[int, Carried[Heard]]:
    """Let peers tell each other the time; ``without``: who does not."""
    return together(
        {
            peer: lambda p=peer, way=way: carry(teller(p, exchanges), way, 1, others(p), limits, **more)
            for peer, way in ways.items()
            if peer not in without
        }
    )


def parties(cheats: Mapping[int, type[Player]]) -> dict[int, Steps]:
    """Each peer's part of a small round, the same each time."""
    columns, context, keys, said = Columns(FIVE, 50), context_of(5), keys_of(5), votes(5)
    return {
        peer: play(
            peer, keys[peer], context, columns, tuple(range(5)), SMALL.elements(said[peer]), entropy_of(peer),
            cheats.get(peer),
        )
        for peer in range(5)
    }  # fmt: skip


def transcript(folder: Path, outcome: Outcome) -> bytes:
    file = folder / "transcript.jsonl"
    write_transcript(file, outcome.ruling, outcome.boards, NAMES)
    return file.read_bytes()


@pytest.mark.parametrize("cheats", [{}, {3: SumLiar}, {1: TwoTongues}], ids=["honest", "liar", "equivocator"])
def test_a_round_over_connections_leaves_the_transcript_of_a_simulation(
    tmp_path: Path, five: Path, cheats: dict[int, type[Player]]
) -> None:
    traffic = {peer: Traffic() for peer in NAMES}
    simulated = simulate(parties(cheats), traffic=traffic)
    steps = parties(cheats)
    with connected(five, {}) as ways:
        done = together(
            {peer: lambda p=peer, w=way: carry(steps[p], w, 1, others(p), LONG) for peer, way in ways.items()}
        )
    for peer, carried in done.items():
        assert set(carried.missed) <= set(cheats)  # who says two things ends before the others
        assert transcript(tmp_path, carried.result) == transcript(tmp_path, simulated[peer])
    honest = [peer for peer in NAMES if peer not in cheats]
    assert len({transcript(tmp_path, done[peer].result) for peer in honest}) == 1
    if 1 not in cheats:
        assert {peer: carried.traffic for peer, carried in done.items()} == traffic


@settings(max_examples=10, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(NAMES)), st.integers(1, 12), min_size=5))
def test_what_is_heard_is_what_a_simulation_hears(exchanges: dict[int, int]) -> None:
    """Also where some have more to say than others."""
    expected = simulate({peer: teller(peer, count) for peer, count in exchanges.items()})
    ways = directly({})
    done = together(
        {
            peer: lambda p=peer, count=count: carry(teller(p, count), ways[p], 1, others(p), LONG)
            for peer, count in exchanges.items()
        }
    )
    assert {peer: carried.result for peer, carried in done.items()} == expected


def test_rounds_follow_each_other_and_letters_of_one_are_not_the_others(five: Path) -> None:
    with connected(five, {}) as ways:
        for number in (1, 2, 3, 7):
            done = together(
                {p: lambda p=p, w=w, n=number: carry(teller(p, 3), w, n, others(p), LONG) for p, w in ways.items()}
            )
            assert all(one.result == [everything(p, at) for at in range(3)] for p, one in done.items())
            assert all(way.heard == dict.fromkeys(others(peer), number) for peer, way in ways.items())


@pytest.mark.parametrize(
    "answer",
    [
        [Unreachable("nobody listens there")], [], [NOT_YET] * 5, [b"?"], [b""], [b"nonsense"], [GONE + b"!"], [GONE],
        [PART], [PART + b"half"], [PART + b"half", NOT_YET], [PART + b"half", NOTHING], [NOT_YET + b"!"],
        [NOT_YET, Unreachable("it hung up")],
    ],
    ids=lambda answer: " ".join(map(str, answer))[:40] or "nothing",
)  # fmt: skip
def test_one_that_gives_nothing_costs_one_limit_and_not_one_for_each_exchange(
    answer: list[bytes | Unreachable],
) -> None:
    """With half a second for each of 400 exchanges this would not end."""
    asked: list[int] = []

    def nothing(asker: str, question: bytes) -> Iterator[bytes | Unreachable]:
        asked.append(decode_wanted(question).exchange)
        yield from answer

    half = Limits(begin=0.5, absent=0.5, exchange=0.5, grace=600)
    done = told(directly({4: nothing}), 400, half, without=[4])
    for peer, carried in done.items():
        assert set(carried.missed) == {4}
        assert carried.result == [everything(peer, exchange, [4]) for exchange in range(400)]
    assert set(asked) == {0}


def test_garbage_and_one_that_takes_no_part_cost_no_time_at_all() -> None:
    for answer in (b"?", GONE):
        done = told(directly({4: lambda *_, a=answer: [a]}), 3, LONG, without=[4])
        assert all(carried.missed.keys() == {4} for carried in done.values())


def test_a_letter_that_is_too_long_is_not_read_and_its_sender_not_asked_again(five: Path) -> None:
    with connected(five, {4: lambda asker, question: itertools.repeat(PART + bytes(PIECE - 1))}) as ways:
        done = told(ways, 3, without=[4], letter=1_000)
    for peer, carried in done.items():
        assert carried.missed == {4: "its answer has more than 1000 bytes"}
        assert carried.result == [everything(peer, exchange, [4]) for exchange in range(3)]


def test_who_floods_is_read_no_further_than_the_next_exchange() -> None:
    written: list[str] = []

    def flood(asker: str, question: bytes) -> Iterator[bytes]:
        while True:
            written.append(asker)
            yield LETTER + b"x"

    ways = directly({4: flood})
    done = told(ways, 5, without=[4])
    for peer, carried in done.items():
        assert [heard[4] for heard in carried.result] == [b"x"] * 5
        assert written.count(NAMES[peer]) <= 5 + 2


def test_letters_of_megabytes_come_whole(five: Path) -> None:
    def long(me: int) -> Generator[Outgoing, Incoming, Heard]:
        incoming = yield {other: bytes([me, other]) * 1_500_000 for other in others(me)}
        return [dict(incoming)]

    with connected(five, {}) as ways:
        done = together({p: lambda p=p, w=w: carry(long(p), w, 1, others(p), LONG) for p, w in ways.items()})
    for peer, carried in done.items():
        assert carried.result == [{other: bytes([other, peer]) * 1_500_000 for other in others(peer)}]


def test_one_that_accepts_questions_and_never_answers_is_one_of_those_that_may_be_missing(five: Path) -> None:
    over = threading.Event()

    def stuck(asker: str, question: bytes) -> Iterator[bytes]:
        over.wait(300)
        yield NOT_YET

    second = Limits(begin=600, absent=1, exchange=1, grace=600)
    with connected(five, {4: stuck}) as ways:
        done = told(ways, 30, second, without=[4])
        over.set()
    assert all(carried.result[-1] == everything(peer, 29, [4]) for peer, carried in done.items())


def stalling(box: Mailbox, victims: Collection[int], since: int) -> Answer:
    """A peer that from some exchange on gives nothing to some, and serves the others."""

    def answer(asker: str, question: bytes) -> Iterator[bytes]:
        exchange = decode_wanted(question).exchange
        for piece in box.letters(asker, question):
            if NUMBERS[asker] in victims and exchange >= since:
                yield NOT_YET
            else:
                yield piece
                exchange += piece != NOT_YET

    return answer


def test_who_is_kept_waiting_by_one_goes_on_when_more_than_f_others_have(five: Path) -> None:
    """Peer 4 gives nothing to peer 3: that waits for a moment, not for minutes, and nobody misses it."""
    box = Mailbox(RUN, NUMBERS, wait=0.2)
    ways = directly({4: stalling(box, [3], 2)})
    ways[4] = replace(ways[4], mailbox=box)
    done = told(ways, 6, replace(LONG, grace=0.3))
    assert set(done[3].missed) == {4}
    for peer in (0, 1, 2):
        assert done[peer].missed == {}
        assert done[peer].result == [everything(peer, exchange) for exchange in range(6)]
    assert done[3].result == [everything(3, exchange, [4] if exchange >= 2 else []) for exchange in range(6)]


def test_time_runs_only_when_enough_have_come_so_that_who_was_kept_waiting_is_not_given_up() -> None:
    """Peer 4 keeps three of four waiting for the whole limit; the one that it lets pass waits for these."""
    box = Mailbox(RUN, NUMBERS, wait=0.2)
    ways = directly({4: stalling(box, [1, 2, 3], 2)})
    ways[4] = replace(ways[4], mailbox=box)
    done = told(ways, 5, replace(LONG, exchange=1.5))
    for peer in (0, 1, 2, 3):
        assert set(done[peer].missed) <= {4}
        assert done[peer].result[-1].keys() >= set(range(4)) - {peer}


@pytest.mark.parametrize("doubted", [[], [4]])
def test_one_that_still_trains_and_says_so_is_waited_for_unless_it_was_late_before(doubted: list[int]) -> None:
    """In a single exchange, the first: no limit of later ones can be missed by a busy machine."""
    ways, limits = directly({}), Limits(begin=600, absent=600, exchange=0.5, grace=600)
    given_up = threading.Barrier(5)

    def train() -> None:
        if doubted:  # until all others have given it up
            given_up.wait(100)
            return
        until(lambda: all(ways[peer].mailbox.kept() for peer in range(4)), "the first letters of all others")
        time.sleep(3 * limits.exchange)  # beyond the limit, which would be the wrong one

    def part(me: int) -> Carried[Heard]:
        steps = teller(me, 1, lambda _: train() if me == 4 else None)
        carried = carry(steps, ways[me], 1, others(me), limits, doubted=doubted)
        if doubted and me != 4:
            given_up.wait(100)
        return carried

    done = together({peer: partial(part, peer) for peer in ways})
    for peer in range(4):
        assert done[peer].missed.keys() == set(doubted)


def test_whoever_wants_it_to_end_ends_it() -> None:
    over = threading.Event()
    over.set()
    way = directly(dict.fromkeys(others(0), lambda *_: [NOT_YET]))[0]
    with pytest.raises(EndedEarlyError):
        carry(teller(0, 2), way, 1, others(0), LONG, over=over)
    assert list(way.mailbox.letters(NAMES[1], question(1))) == [GONE]


def test_where_nearly_all_are_away_it_ends_all_the_same() -> None:
    """Beyond what the protocol withstands: time never begins to run, and yet it is bounded."""
    short = Limits(begin=0.2, absent=0.2, exchange=0.2, grace=600)
    done = told(directly(dict.fromkeys(others(0), lambda *_: [NOT_YET])), 10, short, without=others(0))
    assert done[0].result == [{}] * 10


def question(exchange: int) -> bytes:
    return Wanted(RUN, 1, exchange).encode()


def test_a_hostile_caller_gets_only_its_own_letters(five: Path) -> None:
    """The name in the certificate decides, whatever is asked."""
    with connected(five, {}) as ways:
        ways[0].mailbox.put(1, 0, {1: b"for 1", 2: b"for 2"})
        ways[0].mailbox.leave(1)
        assert list(ways[2].ask(NAMES[0], question(0), 30)) == [LETTER + b"for 2", GONE]
        assert list(ways[3].ask(NAMES[0], question(0), 30)) == [NOTHING, GONE]
        (refused,) = ways[2].ask(NAMES[0], b"mail" + bytes(44), 30)
        assert isinstance(refused, Unreachable)
        assert "another run" in refused.reason


def test_a_letter_that_breaks_off_is_asked_for_again() -> None:
    box, broken = Mailbox(RUN, NUMBERS, wait=0.2), set[tuple[str, int]]()

    def breaking(asker: str, question: bytes) -> Iterator[bytes | Unreachable]:
        wanted = decode_wanted(question)
        if (asker, wanted.exchange) not in broken:
            broken.add((asker, wanted.exchange))
            yield PART + bytes(PIECE - 1)
            yield Unreachable("the connection to it broke")
            return
        yield next(box.letters(asker, question))

    ways = directly({4: breaking})
    ways[4] = replace(ways[4], mailbox=box)
    done = told(ways, 5)
    assert all(one.result == [everything(peer, at) for at in range(5)] for peer, one in done.items())
    assert len(broken) >= 4 * 5


def test_a_part_that_is_not_full_is_what_no_honest_peer_says() -> None:
    ways = directly({4: lambda asker, question: itertools.repeat(PART + b"x")})
    done = told(ways, 3, without=[4])
    assert {peer: carried.missed for peer, carried in done.items()} == {
        peer: {4: "it answers what nobody can read"} for peer in range(4)
    }


def test_who_was_let_pass_in_the_first_exchange_waits_for_those_who_were_not() -> None:
    """One says its first word to peer 0 alone, and to the others it seems to train: they wait as long as they may."""

    def stalling(asker: str, question: bytes) -> Iterator[bytes]:
        if asker == NAMES[0]:
            yield LETTER + b"early"
            time.sleep(0.1)
        while True:
            time.sleep(0.05)
            yield NOT_YET

    limits = Limits(begin=6.0, absent=6.0, exchange=3.0, grace=1.0)  # honest letters have a second, at least
    done = told(directly({4: stalling}), 3, limits, without=[4])
    for peer, carried in done.items():
        assert carried.missed.keys() == {4}
        assert carried.result[1:] == [everything(peer, exchange, [4]) for exchange in (1, 2)]


def test_one_that_trains_is_not_given_up_for_a_connection_that_breaks_for_a_moment() -> None:
    """It has trained for longer than ``absent`` when the connection breaks; once it is back, the training ends."""
    limits = Limits(begin=600, absent=1.5, exchange=600, grace=600)
    ways, back, events = directly({}), threading.Event(), list[str]()
    reach, breaks = ways[0].ask, time.monotonic() + limits.absent + 0.2

    def ask(name: str, question: bytes, timeout: float) -> Generator[bytes | Unreachable, None, None]:
        if name == NAMES[3] and events == ["broken"]:
            events.append("not reached")
            yield Unreachable("the connection to it broke")
            return
        for answer in reach(name, question, timeout):
            yield answer
            if name == NAMES[3] and not events and time.monotonic() > breaks:
                events.append("broken")
                return
            if name == NAMES[3] and events[1:]:
                back.set()

    ways[0] = replace(ways[0], ask=ask)

    def part(me: int) -> Carried[Heard]:
        steps = teller(me, 2, lambda exchange: train() if (me, exchange) == (3, 0) else None)
        return carry(steps, ways[me], 1, others(me), limits)

    def train() -> None:
        assert back.wait(100)

    done = together({peer: partial(part, peer) for peer in ways})
    assert events == ["broken", "not reached"]
    assert all(not carried.missed for carried in done.values())
