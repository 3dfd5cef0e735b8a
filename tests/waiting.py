"""Waiting in tests: until something is so, never for a time that is hoped to be enough."""

import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds after which a test gives up; far beyond what any step takes on a busy machine."""


def until(
    true: Callable[[], object], what: str | Callable[[], str], seconds: float = PATIENCE, *, every: float = 0.02
) -> None:
    """Wait until ``true()`` holds.

    Raises:
        AssertionError: it did not within ``seconds``; ``what`` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what if isinstance(what, str) else what()}: not within {seconds:g} s")
        time.sleep(every)
