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

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if "made_up" not in command:
            return subprocess.CompletedProcess(command, 1, "")
        return subprocess.CompletedProcess(command, 0, f"what a library prints\n{told}\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match="failed: missing"):
        bench.main(["missing", "made_up", "--repeats", "3", "--out", str(tmp_path / "out")])
    assert [command[-4:] for command in asked] == [
        [part, "--here", "--repeats", "3"] for part in ("missing", "made_up")
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["made_up.json"]
    assert len(json.loads((tmp_path / "out" / "made_up.json").read_text())["findings"]) == 3
    assert "### missing\n\nfailed" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "complaint"), [(["pgd"], "no part pgd"), (["--repeats", "0"], "at least 1")])
def test_mistakes_are_told(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(arguments)
    assert complaint in capsys.readouterr().err
