"""What is said of those who are turned away: each reason once a minute, however often somebody knocks."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MINUTE = 60.0
REMEMBERED = 1_000
"""Addresses and reasons that are remembered; the oldest is forgotten first."""
AT_MOST = 120
"""Sentences a minute, whoever knocks from however many addresses."""


class Refusals:
    """Tells of refusals without letting whoever is refused fill the log.

    Args:
        report: called with one sentence.
        clock: seconds, for tests.
    """

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._minute, self._told = clock(), 0

    def tell(self, who: str, reason: str) -> None:
        """Report that ``who`` (an address, or a name and an address) was refused, and why."""
        now = self._clock()
        with self._lock:
            told, since = self._last.pop((who, reason), (-MINUTE, 0))
            again = now - told < MINUTE
            if now - self._minute >= MINUTE:
                self._minute, self._told = now, 0
            silent = again or self._told >= AT_MOST
            self._last[who, reason] = (told if silent else now, since + 1 if silent else 0)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
            if silent:
                return
            self._told += 1
        more = f" ({since} times more since this was last said)" if since else ""
        self._report(f"refused {who}: {reason}{more}")
