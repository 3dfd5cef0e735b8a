"""Progress of long steps: a bar on a terminal, plain lines elsewhere, nothing unless a command line asks for it."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Report = Callable[[str, int, int], None]
"""Receives (title, steps done, steps in all)."""

_report: Report | None = None
_say: Callable[[str], None] | None = None


def show_with(report: Report | None, say: Callable[[str], None] | None = None) -> None:
    """Send progress to ``report`` and sentences to ``say`` from now on; None silences either."""
    global _report, _say
    _report, _say = report, say


def note(sentence: str) -> None:
    """Say what has happened, to whoever watches a run that others take part in."""
    if _say is not None:
        _say(sentence)


def tell(sentence: str) -> None:
    """Say what whoever waits should know, also where nobody asked to be told of rounds."""
    if _say is not None:
        _say(sentence)
    elif _report is not None:
        print(f"psreval: {sentence}", file=sys.stderr, flush=True)


def track(steps: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield each of ``total`` steps, reporting how far along they are."""
    if _report is not None:
        _report(title, 0, total)
    for done, step in enumerate(steps, start=1):
        yield step
        if _report is not None:
            _report(title, done, total)


def plain_lines(title: str, done: int, total: int, *, every: float = 5.0, _last: dict[str, float] = {}) -> None:  # noqa: B006
    """Print a line at most every ``every`` seconds; a step that is shorter stays silent."""
    now = time.monotonic()
    if done == 0:
        _last[title] = now
    elif now - _last.get(title, 0.0) >= every:
        _last[title] = now
        print(f"{title}: {done}/{total}", file=sys.stderr, flush=True)
