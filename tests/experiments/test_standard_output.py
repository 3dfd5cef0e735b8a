"""Standard output that cannot be written is a mistake to mend; whatever else it is asked, it answers as before."""

import errno
import io
import sys
from contextlib import redirect_stdout

import pytest

from common.errors import UserError
from experiments.standard_output import checked_output


class Broken(io.StringIO):
    """Takes text, or refuses it at once or when it is flushed."""

    encoding = "latin-1"

    def __init__(self, write: OSError | None = None, flush: OSError | None = None) -> None:
        super().__init__()
        self._write, self._flush = write, flush

    def write(self, text: str) -> int:
        if self._write is not None:
            raise self._write
        return super().write(text)

    def flush(self) -> None:
        if self._flush is not None:
            raise self._flush


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("stream", [Broken(write=FULL), Broken(flush=FULL)], ids=["write", "flush"])
def test_what_cannot_be_written_is_told_in_a_sentence(stream: Broken) -> None:
    with (
        redirect_stdout(stream),
        pytest.raises(UserError, match=r"^standard output cannot be written: No space left on device; send it"),
        checked_output(),
    ):
        print("verdict")


@pytest.mark.parametrize("kind", ["write", "flush"])
def test_a_reader_that_left_is_left_alone(kind: str) -> None:
    stream = Broken(**{kind: BrokenPipeError()})
    with redirect_stdout(stream), pytest.raises(BrokenPipeError), checked_output():
        print("verdict")


def test_what_goes_well_is_as_before() -> None:
    with redirect_stdout(Broken()) as stream:
        with checked_output():
            print("verdict")
            assert sys.stdout.encoding == "latin-1"
            assert not sys.stdout.isatty()
        assert sys.stdout is stream
    assert stream.getvalue() == "verdict\n"


def test_an_error_of_another_file_stays_what_it_is() -> None:
    with redirect_stdout(Broken()), pytest.raises(OSError) as caught, checked_output():
        raise FULL
    assert caught.value is FULL
