"""What a peer has for each other peer in each exchange of a round, until it is taken.

Peers pull: each asks the others for what they have for it. Who asks is known by its certificate, and nobody gets what
is another's. A question is answered by one letter after the other, as they come, for a while: a question for each would
cost more than most letters. It says that all before has been taken, and so that is dropped; what nobody takes is
dropped two rounds later.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from peers.secure.broadcast import Outgoing
from peers.secure.context import RUN_BYTES
from peers.speech import PIECE
from peers.wire import RefusedError

WAIT = 2.0
"""Seconds after which it is said that there is nothing yet."""
AT_ONCE, LONGEST = 16, 20.0
"""Letters that answer one question, and seconds after which none is begun any more: then it is to be asked again."""
NOT_YET, NOTHING, GONE, PART, LETTER = b"w", b"n", b"g", b"p", b"l"
"""How a piece of an answer begins: still waiting; nothing for you in this exchange; no more from me in this round; what
follows, and more of the letter in the next piece; what follows, and that ends the letter."""
_PIECE = PIECE - 1
_PREFIX = b"mail"
_QUESTION_BYTES = len(_PREFIX) + RUN_BYTES + 8 + 4


@dataclass(frozen=True)
class Wanted:
    """A question for what a peer has.

    Attributes:
        run: 32 bytes that name the run.
        round: counts from 1.
        exchange: of the round, from 0.
    """

    run: bytes
    round: int
    exchange: int

    def encode(self) -> bytes:
        """Return it as bytes."""
        return _PREFIX + self.run + self.round.to_bytes(8, "big") + self.exchange.to_bytes(4, "big")


def decode_wanted(question: bytes) -> Wanted:
    """Read a question. Raises RefusedError: it is none."""
    if len(question) != _QUESTION_BYTES or not question.startswith(_PREFIX):
        raise RefusedError("its question is not one for a mailbox")
    body = question[len(_PREFIX) :]
    return Wanted(
        body[:RUN_BYTES],
        int.from_bytes(body[RUN_BYTES : RUN_BYTES + 8], "big"),
        int.from_bytes(body[RUN_BYTES + 8 :], "big"),
    )


class Mailbox:
    """One peer's; may be used from several threads.

    Args:
        run: 32 bytes that name the run.
        numbers: each other peer's name → its number.
        wait: seconds, as ``WAIT``.
    """

    def __init__(self, run: bytes, numbers: dict[str, int], wait: float = WAIT) -> None:
        self._run, self._numbers, self._wait = run, dict(numbers), wait
        self._changed = threading.Condition()
        self._posted: dict[int, int] = {}
        self._left: set[int] = set()
        self._letters: dict[tuple[int, int], dict[int, bytes]] = {}
        self._last = 0

    def put(self, round_: int, exchange: int, letters: Outgoing) -> None:
        """Have ``letters`` (receiver → bytes) for whoever asks for this exchange; exchanges come in order.

        What is left of the round before the last is dropped.
        """
        with self._changed:
            self._advance(round_)
            for receiver, raw in letters.items():
                self._letters.setdefault((round_, receiver), {})[exchange] = raw
            self._posted[round_] = exchange + 1
            self._changed.notify_all()

    def leave(self, round_: int) -> None:
        """Say no more in a round; what was put can still be taken."""
        with self._changed:
            self._advance(round_)
            self._left.add(round_)
            self._changed.notify_all()

    def letters(self, asker: str, question: bytes) -> Iterator[bytes]:
        """Return the pieces of what is there for ``asker``, whose certificate says so, from an exchange on.

        Raises:
            RefusedError: the question is malformed, or of another run, or the asker is no peer of it.
        """
        wanted = decode_wanted(question)
        if wanted.run != self._run:
            raise RefusedError("the question belongs to another run: its description, data, code or keys differ")
        if asker not in self._numbers:
            raise RefusedError("it is no peer of this run")
        receiver = self._numbers[asker]
        with self._changed:
            self._drop_taken(receiver, wanted)
        return self._from(receiver, wanted.round, wanted.exchange)

    def kept(self) -> int:
        """Return the bytes that are kept, where each letter counts for itself."""
        with self._changed:
            return sum(len(raw) for letters in self._letters.values() for raw in letters.values())

    def _from(self, receiver: int, round_: int, exchange: int) -> Iterator[bytes]:
        until, last = time.monotonic() + LONGEST, exchange + AT_ONCE
        while exchange < last and time.monotonic() < until:
            kind, raw = self._next(receiver, round_, exchange)
            for start in range(0, len(raw) - _PIECE, _PIECE):
                yield PART + raw[start : start + _PIECE]
            yield kind + raw[(len(raw) - 1) // _PIECE * _PIECE :]
            if kind == GONE:
                return
            exchange += kind != NOT_YET

    def _next(self, receiver: int, round_: int, exchange: int) -> tuple[bytes, bytes]:
        """Return what there is in an exchange, as a kind and what follows; wait a little where it is not there yet."""
        until = time.monotonic() + self._wait
        with self._changed:
            while True:
                if exchange < self._posted.get(round_, 0):
                    raw = self._letters.get((round_, receiver), {}).get(exchange)
                    return (NOTHING, b"") if raw is None else (LETTER, raw)
                if round_ in self._left or round_ < self._last - 1:
                    return GONE, b""
                left = until - time.monotonic()
                if left <= 0:
                    return NOT_YET, b""
                self._changed.wait(left)

    def _drop_taken(self, receiver: int, wanted: Wanted) -> None:
        for (round_, other), letters in self._letters.items():
            if other == receiver and round_ <= wanted.round:
                for exchange in [one for one in letters if (round_, one) < (wanted.round, wanted.exchange)]:
                    del letters[exchange]

    def _advance(self, round_: int) -> None:
        self._last = max(self._last, round_)
        oldest = self._last - 1
        self._posted = {one: count for one, count in self._posted.items() if one >= oldest}
        self._left = {one for one in self._left if one >= oldest}
        self._letters = {place: letters for place, letters in self._letters.items() if place[0] >= oldest}
