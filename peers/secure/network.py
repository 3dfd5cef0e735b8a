"""A round over the network: what a peer's generator yields goes into its mailbox, and what it is sent was asked for.

All peers make the same exchanges, but nobody tells them when. Each moves on as soon as it has heard everyone whom it
waits for. Where somebody is late, these rules keep honest peers together without a common clock; n peers, f of whom may
cheat, of whom 2 f may be silent at most, and n > 4 f as in every layout:

- Time runs in an exchange only once n − 2 f peers, this one among them, have come to it; f + 1 honest ones among these,
  since n > 4 f. So an honest peer that a cheater has kept waiting in the exchange before sees that f + 1 have moved on,
  waits for a moment, computes, and comes before the limit of those whom the cheater has let pass.
- When f + 1 peers have moved on, one of them is honest, and all that honest peers say can be had: who still waits does
  so for a moment only (``Limits.grace``).
- Else who is missing after ``Limits.exchange`` seconds gives nothing. It is one of the f, or counts half as a silent
  one, and is not waited for or asked again in this round: so each such peer costs a round one time limit, not one for
  each of hundreds of exchanges.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from peers.neighbours import Unreachable, too_long
from peers.secure.broadcast import Incoming, Outgoing
from peers.secure.mailbox import GONE, LETTER, NOT_YET, NOTHING, PART, WAIT, Mailbox, Wanted
from peers.secure.simulation import Traffic
from peers.speech import PIECE

Result = TypeVar("Result")
LONGEST_LETTER = 2**28
"""Bytes that one peer may say to another in one exchange, whatever the sizes of the round."""
_PATIENCE = 3
"""Times the limit after which nobody is waited for, even where too few have come for time to run: more is wrong than
the protocol withstands. In the second exchange it begins when others may at last have given up in the first."""
_QUICK, _PAUSE = 0.05, 0.2
"""Seconds: between two looks at who is late; between two attempts to ask a peer."""


class EndedEarlyError(Exception):
    """Whoever runs this peer wants it to end in the middle of a round."""


Ask: TypeAlias = Callable[[str, bytes, float], Generator[bytes | Unreachable, None, None]]
"""How another peer is asked, as by ``peers.dial.Dialler.letters``: (name, question, seconds) → pieces of its answer."""


@dataclass(frozen=True)
class Limits:
    """How long a peer waits for others, in seconds.

    Attributes:
        begin: in the first exchange of a round, for one that answers: it may still be training.
        absent: in the first exchange, for one that does not answer.
        exchange: in all others; more than the slowest honest peer computes between two exchanges, and ``grace``.
        grace: where others have moved on; more than a letter needs twice.
    """

    begin: float
    absent: float
    exchange: float
    grace: float


@dataclass(frozen=True)
class Post:
    """A peer's way to send and to get letters.

    Attributes:
        run: 32 bytes that name the run.
        mailbox: its own.
        ask: how others are asked.
        names: number → name, of all peers.
        me: its number.
        faults: f.
        heard: other peer → the last round in which something of it has come; kept up here.
    """

    run: bytes
    mailbox: Mailbox
    ask: Ask
    names: Mapping[int, str]
    me: int
    faults: int
    heard: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Carried(Generic[Result]):
    """What came of a round.

    Attributes:
        result: what the generator has returned.
        missed: peer → why it was waited for no longer.
        traffic: the letters' bytes, without what carries them.
    """

    result: Result
    missed: Mapping[int, str]
    traffic: Traffic


def carry(
    steps: Generator[Outgoing, Incoming, Result],
    post: Post,
    round_: int,
    others: Collection[int],
    limits: Limits,
    *,
    doubted: Collection[int] = (),
    over: threading.Event | None = None,
    letter: int = LONGEST_LETTER,
) -> Carried[Result]:
    """Play a peer's part of a round with the others, and return how it ended.

    Args:
        steps: its part.
        post: how letters go.
        round_: its number.
        others: who else takes part.
        limits: how long to wait.
        doubted: who missed the round before: in the first exchange it is waited for as in any other, and as long as
            ``limits.grace`` where it does not answer.
        over: set by whoever wants this to end early.
        letter: bytes that a letter may have, and ``LONGEST_LETTER`` at most; of a longer one nothing is kept.

    Raises:
        EndedEarlyError: ``over`` was set.
    """
    inbox = _Inbox(post, round_, others, limits, frozenset(doubted), over or threading.Event())
    for peer in others:
        threading.Thread(
            target=_read, args=(inbox, peer, min(letter, LONGEST_LETTER)), name=f"letters {peer}", daemon=True
        ).start()
    traffic, exchange = Traffic(), 0
    try:
        outgoing = next(steps)
        while True:
            traffic.up += sum(len(raw) for peer, raw in outgoing.items() if peer in inbox.letters)
            post.mailbox.put(round_, exchange, outgoing)
            incoming = inbox.exchange(exchange)
            traffic.down += sum(map(len, incoming.values()))
            outgoing = steps.send(incoming)
            exchange += 1
    except StopIteration as ended:
        return Carried(ended.value, inbox.missed, traffic)
    finally:
        post.mailbox.leave(round_)
        inbox.close()


@dataclass
class _Inbox:
    """What has come in a round, and who is still waited for."""

    post: Post
    round: int
    others: Collection[int]
    limits: Limits
    doubted: frozenset[int]
    over: threading.Event
    letters: dict[int, dict[int, bytes | None]] = field(default_factory=dict)
    dropped: dict[int, str] = field(default_factory=dict)
    missed: dict[int, str] = field(default_factory=dict)
    reachable: dict[int, str | None] = field(default_factory=dict)
    lost: dict[int, float] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    now: int = -1
    closed: bool = False
    _gone: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.letters = {peer: {} for peer in self.others}
        self.reachable = dict.fromkeys(self.others, "it has not answered")
        self.lost = dict.fromkeys(self.others, time.monotonic())

    def exchange(self, exchange: int) -> dict[int, bytes]:
        """Wait for an exchange's letters, and return those that have come."""
        post, limits = self.post, self.limits
        quorum = max(1, len(post.names) - 2 * post.faults)
        begun, running, left_behind = time.monotonic(), None, None
        with self.changed:
            self.now = exchange
            self.changed.notify_all()
            while missing := [peer for peer in self.others if self._is_awaited(peer, exchange)]:
                if self.over.is_set():
                    raise EndedEarlyError
                now = time.monotonic()
                if running is None and 1 + sum(exchange in came for came in self.letters.values()) >= quorum:
                    running = now
                if left_behind is None and sum(map(self._has_moved_on, self.others)) > post.faults:
                    left_behind = now
                for peer in missing:
                    limit, patience = self._limit(peer, exchange), self._patience(peer, exchange)
                    since = None if running is None else max(running, self._silent_since(peer, exchange))
                    late = (since is not None and now - since >= limit) or now - begun >= patience
                    if late or (left_behind is not None and now - left_behind >= limits.grace):
                        self._drop(peer, self.reachable[peer] or f"it was late in exchange {exchange}")
                self.changed.wait(_QUICK)
            for peer in self.others:
                if exchange not in self.letters[peer]:
                    self.missed.setdefault(peer, self.dropped[peer])
            came = {peer: self.letters[peer].pop(exchange, None) for peer in sorted(self.others)}
        return {peer: raw for peer, raw in came.items() if raw is not None}

    def take(self, peer: int, exchange: int, raw: bytes | None) -> None:
        """Keep what came; None: the peer has nothing for this one."""
        with self.changed:
            self.reachable[peer] = None
            if raw is not None:
                self.post.heard[peer] = self.round
            if peer not in self.dropped:
                self.letters[peer][exchange] = raw
            self.changed.notify_all()

    def tell(self, peer: int, trouble: str | None) -> None:
        """Note whether a peer answers."""
        with self.changed:
            if self.reachable[peer] is None:
                self.lost[peer] = time.monotonic()
            self.reachable[peer] = trouble

    def end(self, peer: int, why: str, *, gone: bool = False) -> None:
        """Wait for a peer no longer; ``gone``: it has said itself that it will say no more."""
        with self.changed:
            if gone:
                self._gone.add(peer)
            self._drop(peer, why)
            self.changed.notify_all()

    def wants(self, peer: int, exchange: int) -> bool:
        """Wait until an exchange of a peer is to be asked for: the current one, and the next; False: none any more."""
        with self.changed:
            while not self.closed and peer not in self.dropped and exchange > self.now + 1:
                self.changed.wait()
            return not self.closed and peer not in self.dropped

    def close(self) -> None:
        """Ask nobody any more."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _is_awaited(self, peer: int, exchange: int) -> bool:
        return peer not in self.dropped and exchange not in self.letters[peer]

    def _has_moved_on(self, peer: int) -> bool:
        """Tell whether a peer has said something in the exchange after this one, or has ended after this one."""
        came = self.letters[peer]
        return self.now + 1 in came or (peer in self._gone and self.now in came)

    def _limit(self, peer: int, exchange: int) -> float:
        limits, answers = self.limits, self.reachable[peer] is None
        if exchange > 0:
            return limits.exchange
        if peer in self.doubted:
            return limits.exchange if answers else limits.grace
        return limits.begin if answers else limits.absent

    def _silent_since(self, peer: int, exchange: int) -> float:
        """Return from when on a peer that does not answer in the first exchange is waited for: not from its start, or
        one that was training all the while would be given up for a connection that broke for a second."""
        return self.lost[peer] if exchange == 0 and self.reachable[peer] is not None else 0.0

    def _patience(self, peer: int, exchange: int) -> float:
        """Return after how long a peer is not waited for whoever has come."""
        if exchange == 1:
            return self.limits.begin + (_PATIENCE - 1) * self.limits.exchange
        return _PATIENCE * self._limit(peer, exchange)

    def _drop(self, peer: int, why: str) -> None:
        self.dropped.setdefault(peer, why)
        self.changed.notify_all()


def _read(inbox: _Inbox, peer: int, letter: int) -> None:
    """Ask a peer for one exchange after the other, as far as they are wanted."""
    post, exchange = inbox.post, 0
    while inbox.wants(peer, exchange):
        before, said = exchange, False
        question = Wanted(post.run, inbox.round, exchange).encode()
        with contextlib.closing(post.ask(post.names[peer], question, inbox.limits.exchange + WAIT)) as pieces:
            for found in _letters(pieces, letter):
                if isinstance(found, Unreachable):
                    if found.offence:
                        inbox.end(peer, found.reason)
                        return
                    if not said:
                        inbox.tell(peer, found.reason)
                    break
                said = True
                if found == GONE:
                    inbox.end(peer, "it takes no part, or no longer, in this round", gone=True)
                    return
                if found == NOT_YET:
                    inbox.tell(peer, None)
                    time.sleep(_QUICK)  # or who says nothing else, over and over, would keep this peer busy
                    continue
                inbox.take(peer, exchange, found[1:] if found[:1] == LETTER else None)
                exchange += 1
                if not inbox.wants(peer, exchange):
                    return
        if exchange == before:
            time.sleep(_PAUSE)


def _letters(pieces: Iterable[bytes | Unreachable], longest: int) -> Iterator[bytes | Unreachable]:
    """Yield whole letters, and what else is said; for whatever no honest peer says, an offence."""
    letter = bytearray()
    for piece in pieces:
        if isinstance(piece, Unreachable):
            yield piece
            return
        kind = piece[:1]
        if kind in (PART, LETTER):
            letter += piece[1:]
            if len(letter) > longest:
                yield Unreachable(too_long(longest), offence=True)
                return
        if kind == LETTER:
            yield LETTER + bytes(letter)
            letter = bytearray()
        elif not (piece in (NOT_YET, NOTHING, GONE) and not letter) and (kind != PART or len(piece) != PIECE):
            yield Unreachable("it answers what nobody can read", offence=True)
            return
        elif kind != PART:
            yield piece
