"""Standard output: where it cannot be written, that is told apart from trouble with any other file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from common.errors import UserError


class _Output:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _told():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told():
            self._stream.flush()


@contextmanager
def checked_output() -> Iterator[None]:
    """Raise UserError where standard output cannot be written, at the end of the block at the latest.

    A ``BrokenPipeError`` stays one: whoever read has read enough.
    """
    with redirect_stdout(_Output(sys.stdout)):
        yield
        sys.stdout.flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"standard output cannot be written: {error.strerror}; send it to a terminal, or where there is room "
            "(finished work is kept)"
        ) from None
