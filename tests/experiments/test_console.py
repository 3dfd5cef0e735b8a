import pytest

from common.errors import UserError
from common.folder import RunFolder
from common.progress import track
from experiments.console import print_attack, print_known, print_verdict, progress


def test_the_verdict_is_printed_with_its_report(finished_run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    failed = print_verdict(finished_run)
    told = capsys.readouterr().out
    assert all(question in told for question in ("private?", "robust?", "small?", "useful?"))
    assert "report.html" in told
    assert isinstance(failed, list)


def test_an_attack_is_printed_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    print_attack(
        {
            "attack": "pgd",
            "target": "int8",
            "gradients": "twin gradients",
            "eps": 8 / 255,
            "records": 50,
            "seconds": 1.0,
            "score": "dice",
            "clean": (0.9, 0.8, 0.95),
            "attacked": (0.1, 0.05, 0.2),
        }
    )
    told = capsys.readouterr().out
    assert "8/255" in told
    assert "dice  10.0%" in told


def test_away_from_a_terminal_progress_is_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr("common.progress.time.monotonic", lambda: next(clock))
    with progress(quiet=False):
        assert list(track("ab", "letters", 2)) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == ["letters: 1/2", "letters: 2/2"]
    with progress(quiet=True):
        list(track("ab", "letters", 2))
    assert capsys.readouterr().err == ""


def test_an_unknown_list_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'models'"):
        print_known("model")
