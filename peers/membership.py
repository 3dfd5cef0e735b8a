"""Joining, leaving and coming back: each peer greets all others every few seconds, and compares what they agree on."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator

from common.errors import UserError
from peers.agreement import Agreement, decode_greeting, differences, encode_greeting
from peers.dial import Dialler
from peers.members import LEASE, ONLY_ONE
from peers.neighbours import Unreachable
from peers.wire import RefusedError

BEAT = 2.0
"""Seconds between two greetings."""
GREETING_SECONDS = 5.0
"""Seconds that a greeting waits for its answer."""
GOODBYE = 0.2
"""Seconds between two greetings of a peer that would like to leave."""
MINUTE = 60.0
AT_MOST = 6
"""Sentences a minute about each peer, however often it changes; what it is then, is said with a later greeting."""


class Membership:
    """What this peer says and hears in greetings; may be used from several threads.

    Args:
        mine: what this peer expects of all others.
        report: called with one sentence for each change, ``AT_MOST`` times a minute for each peer.
        clock: seconds, for tests.
    """

    def __init__(
        self, mine: Agreement, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._mine = mine
        self._report = report
        self._clock = clock
        self._told: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._said: dict[str, str] = {}
        self._left: set[str] = set()
        self._elsewhere: set[str] = set()
        self._leaving = False

    def greet(self, asker: str, greeting: bytes) -> bytes:
        """Answer a greeting. Raises RefusedError: it cannot be read."""
        self._hear(asker, greeting)
        return encode_greeting(self._mine, self._leaving)

    def greet_all(self, dialler: Dialler) -> dict[str, bytes | Unreachable]:
        """Greet all others once, note who is there, and return what each answered."""
        answers = dialler.greet_all(encode_greeting(self._mine, self._leaving), GREETING_SECONDS)
        for name, answer in answers.items():
            if isinstance(answer, Unreachable):
                self._say(name, f"cannot be reached: {answer.reason}")
                continue
            try:
                self._hear(name, answer)
            except RefusedError as refused:
                self._say(name, f"is refused: {refused}")
        return answers

    def join(self, dialler: Dialler, patience: float = 2 * LEASE) -> None:
        """Greet all others for the first time.

        A peer that was started again may find that others still take its former process to be there, for some seconds.

        Raises:
            UserError: all who answer say, for ``patience`` seconds, that another process with this identity is there.
        """
        deadline = time.monotonic() + patience
        while True:
            answers = self.greet_all(dialler).values()
            refused = [
                answer.reason for answer in answers if isinstance(answer, Unreachable) and ONLY_ONE in answer.reason
            ]
            accepted = any(not isinstance(answer, Unreachable) for answer in answers)
            if accepted or not refused:  # where nobody is there yet, there is nobody to refuse us
                return
            if time.monotonic() >= deadline:
                raise UserError(
                    f"{refused[0]}: end the other process, or give this one a certificate and a place in the "
                    "agreement of its own"
                )
            time.sleep(GOODBYE)

    def leave(
        self,
        dialler: Dialler,
        patience: float,
        sleep: Callable[[float], bool],
        awaited: Collection[str] = (),
        left_out: Collection[str] = (),
    ) -> None:
        """Say that this peer needs nobody any more, and stay until nobody needs it, ``patience`` seconds at most.

        Args:
            dialler: the way to the others.
            patience: seconds to stay.
            sleep: called with seconds; returns True if this is to end.
            awaited: peers that may come back, if they cannot be reached now; others who cannot be reached need nothing.
            left_out: peers that need nothing, whatever they say.
        """
        self._leaving = True
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            answers = self.greet_all(dialler)
            with self._lock:
                there = {name for name, answer in answers.items() if not isinstance(answer, Unreachable)}
                needed = bool(there.union(awaited) - self._left - self._elsewhere - set(left_out))
            if not needed or sleep(GOODBYE):
                return

    def _hear(self, name: str, greeting: bytes) -> None:
        theirs, leaving = decode_greeting(greeting)
        problem = differences(self._mine, theirs)
        with self._lock:
            if problem:  # who takes part in another run needs nothing of this one, until it is mended
                self._elsewhere.add(name)
            else:
                self._elsewhere.discard(name)
                if leaving:
                    self._left.add(name)  # for good: an answer from before may come later
        self._say(name, f"takes part in another run: {problem}" if problem else "is there")

    def _say(self, name: str, what: str) -> None:
        with self._lock:
            if self._said.get(name) == what:
                return
            now = self._clock()
            told = [then for then in self._told.get(name, []) if now - then < MINUTE]
            if self._leaving or len(told) >= AT_MOST:  # whom this peer does not need any more may come and go
                return
            self._said[name], self._told[name] = what, [*told, now]
        self._report(f"{name} {what}")


@contextlib.contextmanager
def greeting(membership: Membership, dialler: Dialler, *, beat: float = BEAT) -> Iterator[None]:
    """Greet all others every ``beat`` seconds until the block ends."""
    over = threading.Event()

    def greet() -> None:
        while not over.wait(beat):
            membership.greet_all(dialler)

    thread = threading.Thread(target=greet, name="greetings", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=GREETING_SECONDS + 1)
