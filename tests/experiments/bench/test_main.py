"""``python -m experiments.bench``: which parts run, what is written, and that one that fails does not stop the rest."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from experiments.bench import __main__ as bench
from experiments.bench.findings import Finding, at_most
from experiments.bench.page import finding_of, table

FINDING = Finding("a path", "", "wall s", [1.0, 2.0], [], at_most(2.0))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part that is made up, and another that is not there."""
    part = ModuleType("experiments.bench.made_up")
    part.find = lambda repeats: [FINDING] * repeats  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, part.__name__, part)
    monkeypatch.setattr(bench, "PARTS", ("made_up", "missing"))


@pytest.mark.usefixtures("made_up")
def test_a_part_tells_its_findings_and_what_they_depend_on() -> None:
    told = json.loads(json.dumps(bench.run_part("made_up", 2)))
    assert [finding_of(entry) for entry in told["findings"]] == [FINDING] * 2
    assert told["part"] == "made_up"
    assert told["repeats"] == 2
    assert len(told["code"]) == 64
    assert told["commit"] is None or len(told["commit"]) >= 40
    assert told["machine"]["cores"] >= 1
    assert told["versions"]["torch"]
    assert table(told).count("a path") == 2


@pytest.mark.usefixtures("made_up")
def test_in_this_process_it_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["made_up", "--here", "--repeats", "1"])
    assert json.loads(capsys.readouterr().out)["part"] == "made_up"


@pytest.mark.usefixtures("made_up")
def test_each_part_has_its_process_and_one_that_fails_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []
    told = json.dumps(bench.run_part("made_up", 3))

    class Child:
        def __init__(self, command: list[str], **_: Any) -> None:
            asked.append(command)
            self.returncode = 0 if "made_up" in command else 1

        def __enter__(self) -> "Child":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def communicate(self) -> tuple[str, None]:
            return ("" if self.returncode else f"what a library prints\n{told}\n"), None

    monkeypatch.setattr(subprocess, "Popen", Child)
    with pytest.raises(SystemExit, match="failed: missing"):
        bench.main(["missing", "made_up", "--repeats", "3", "--out", str(tmp_path / "out")])
    assert [command[-4:] for command in asked] == [
        [part, "--here", "--repeats", "3"] for part in ("missing", "made_up")
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["made_up.json"]
    assert len(json.loads((tmp_path / "out" / "made_up.json").read_text())["findings"]) == 3
    assert "### missing\n\nfailed" in capsys.readouterr().out


@pytest.mark.usefixtures("made_up")
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something is measured"))
    with pytest.raises(SystemExit):
        bench.main(["made_up", "--out", str(tmp_path / "file" / "out")])
    assert "name a folder that can be written" in capsys.readouterr().err


def test_ctrl_c_is_heard_when_the_part_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    class Child:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self) -> "Child":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def communicate(self) -> None:
            waited.append(True)
            if len(waited) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Child)
    with pytest.raises(SystemExit) as end:
        bench.main(["start", "--out", str(tmp_path)])
    assert (end.value.code, len(waited)) == (130, 2)


@pytest.mark.parametrize(("arguments", "complaint"), [(["pgd"], "no part pgd"), (["--repeats", "0"], "at least 1")])
def test_mistakes_are_told(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(arguments)
    assert complaint in capsys.readouterr().err
