"""Which process speaks for an identity, and that no second one does.

A peer is there as long as its connection is. A process that is started again speaks for its identity at once, since the
connections of the one before ended with it. A second process with the same certificate is refused as long as the first
one is there.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from peers.wire import RefusedError

LEASE = 10.0
"""Seconds for which a peer counts as there after it was heard last, if its connection is open."""
ONLY_ONE = "another process with the identity"
"""Of every refusal of a second process."""


@dataclass
class _Present:
    instance: str
    heard: float
    connection: str


class Members:
    """Which process speaks for each other peer; may be used from several threads.

    Attributes:
        instance: of this process; others tell it from another one with the same certificate.

    Args:
        is_open: tells whether a connection has not been closed.
        clock: seconds, for tests.
    """

    def __init__(self, is_open: Callable[[str], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self.instance = secrets.token_hex(16)
        self._is_open = is_open
        self._clock = clock
        self._lock = threading.Lock()
        self._present: dict[str, _Present] = {}

    def admit(self, name: str, instance: str, connection: str) -> None:
        """Take note that a process speaks for ``name`` over a connection.

        Raises:
            RefusedError: another process does, too, and was there before; or it does not say which it is.
        """
        if not (8 <= len(instance) <= 64 and instance.isascii() and instance.isalnum()):
            raise RefusedError("it does not say which process it is")
        with self._lock:
            there = self._present.get(name)
            if there is not None and there.instance != instance and self._is_there(there):
                raise RefusedError(f"{ONLY_ONE} '{name}' is connected, and only one may take part")
            self._present[name] = _Present(instance, self._clock(), connection)

    def is_there(self, name: str) -> bool:
        """Tell whether a peer has been heard lately, over a connection that is still open."""
        with self._lock:
            there = self._present.get(name)
            return there is not None and self._is_there(there)

    def _is_there(self, present: _Present) -> bool:
        return self._clock() - present.heard < LEASE and self._is_open(present.connection)
