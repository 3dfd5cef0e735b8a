from hypothesis import given
from hypothesis import strategies as st

from server.refusal import short


def test_the_last_line_of_a_traceback_is_what_is_told() -> None:
    assert short("Traceback (most recent call last):\n  File x\nValueError: no disk\n\n") == "ValueError: no disk"


def test_nothing_said_is_told() -> None:
    assert short(" \n\t\n") == "no reason given"


@given(st.text(max_size=3000))
def test_what_is_told_is_short_and_no_terminal_obeys_it(text: str) -> None:
    told = short(text)
    assert 0 < len(told) <= 300
    assert told.isprintable()
