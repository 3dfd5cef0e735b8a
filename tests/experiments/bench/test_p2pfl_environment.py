"""The environment of p2pfl: made once, and a sentence where it cannot be."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from experiments.bench.p2pfl_environment import VERSION, p2pfl_python


def test_it_is_made_once_with_our_own_torch_and_its_size_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []
    said: list[str] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        said.append(capsys.readouterr().out)
        tmp_path.joinpath("p2pfl").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("experiments.bench.p2pfl_environment.subprocess.run", run)
    python = p2pfl_python(tmp_path / "p2pfl")
    assert [command[2] for command in commands] == ["venv", "pip"]
    assert f"torch=={version('torch').partition('+')[0]}" in commands[1]
    assert said[0].startswith(f"p2pfl {VERSION} is installed now, in {tmp_path / 'p2pfl'}: about 1.7 GB")
    assert p2pfl_python(tmp_path / "p2pfl") == python
    assert len(commands) == 2
    assert capsys.readouterr().out == ""


def test_a_failed_installation_is_told_in_a_sentence_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: no\nERROR: no matching distribution\n\n")

    monkeypatch.setattr("experiments.bench.p2pfl_environment.subprocess.run", run)
    for _ in range(2):
        with pytest.raises(UserError, match=r"could not be installed in .*: ERROR: no matching distribution"):
            p2pfl_python(tmp_path / "p2pfl")
