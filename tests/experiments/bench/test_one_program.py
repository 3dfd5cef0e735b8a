"""One program of the bench by itself."""

import sys
from pathlib import Path

import pytest

from experiments.bench import one_program
from experiments.bench.one_program import answer

TELLS = (
    "import json, os; print('hello'); print(json.dumps([os.getcwd(), os.getenv('OMP_NUM_THREADS'), os.getenv('MINE')]))"
)


def test_the_last_line_is_the_answer_and_the_environment_is_as_said(tmp_path: Path) -> None:
    assert answer([sys.executable, "-c", TELLS], tmp_path, MINE="4") == [str(tmp_path), "1", "4"]
    assert answer([sys.executable, "-c", TELLS], tmp_path, OMP_NUM_THREADS="2")[1] == "2"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('no such thing')", "it failed: ValueError: no such thing"),
        ("import sys; sys.exit(3)", "it failed: no reason given"),
    ],
)
def test_one_that_fails_is_told_with_the_last_of_its_lines(tmp_path: Path, code: str, reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        answer([sys.executable, "-c", code], tmp_path)


def test_one_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_program, "PATIENCE", 0.2)
    with pytest.raises(RuntimeError, match=r"it took more than 0\.2 s"):
        answer([sys.executable, "-c", "import time; time.sleep(100)"], tmp_path)
