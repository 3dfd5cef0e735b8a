from pathlib import Path

import pytest

from common.errors import UserError
from common.loading import load


def test_a_known_name_is_returned() -> None:
    assert load("a", {"a": 1}, "field") == 1


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"clients.strategy = 'honets' is not known; did you mean 'honest'\?"):
        load("honets", {"honest": 1, "other": 2}, "clients.strategy")


def test_an_object_from_a_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("value = 7\n")
    assert load(f"{tmp_path / 'mine.py'}:value", {}, "field") == 7


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("value = 7\n")
    assert load(f"{file}:value", {}, "field") == 7
    file.write_text("value = 8\n")
    assert load(f"{file}:value", {}, "field") == 8


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (None, "value", "there is no file"),
        ("valeu = 1", "value", "did you mean 'valeu'"),
        ("import nothing_of_this_name", "value", "could not be imported: ModuleNotFoundError"),
        ("def broken(:", "value", "could not be imported: SyntaxError"),
        ("import sys; sys.exit(0)", "value", "could not be imported: SystemExit"),
        ("1 / 0", "value", "could not be imported: ZeroDivisionError"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: str | None, name: str, words: str) -> None:
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UserError, match=words):
        load(f"{tmp_path / 'mine.py'}:{name}", {}, "field")
