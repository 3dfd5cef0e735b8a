import pytest

from common.progress import show_with, tell, track


def test_progress_reports_the_start_and_every_step() -> None:
    seen: list[tuple[str, int, int]] = []
    show_with(lambda *step: seen.append(step))
    try:
        assert list(track("abc", "letters", 3)) == ["a", "b", "c"]
    finally:
        show_with(None)
    assert seen == [("letters", done, 3) for done in range(4)]


def test_silence_is_the_default() -> None:
    assert list(track(range(3), "numbers", 3)) == [0, 1, 2]


def test_what_all_should_know_is_told_where_anybody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    try:
        tell("nobody watches")
        show_with(lambda *_: None)
        tell("it takes longer")
        show_with(lambda *_: None, said.append)
        tell("a sentence")
    finally:
        show_with(None)
    assert (capsys.readouterr().err, said) == ("psreval: it takes longer\n", ["a sentence"])
