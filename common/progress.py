"""Progress of long steps: a bar on a terminal, plain lines elsewhere, nothing unless a command line asks for it."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Report = Callable[[str, int, int], None]
"""Receives (title, steps done, steps in all)."""

_report: Report | None = None


def show_with(report: Report | None) -> None:
    """Send progress to ``report`` from now on; None silences it."""
    global _report
    _report = report


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
