"""What lists tell is what there is."""

import json
from pathlib import Path

import pytest

from experiments import known


def test_lists_are_what_the_registries_say() -> None:
    written = json.loads(known.FILE.read_text(encoding="utf-8"))
    assert written == known.registered(), "run `python -m experiments.known`"
    assert list(written) == [kind for kind in known.KINDS if kind != "experiments"]


def test_writing_gives_the_file_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = known.FILE.read_text(encoding="utf-8")
    monkeypatch.setattr(known, "FILE", tmp_path / "known.json")
    known.write()
    assert known.FILE.read_text(encoding="utf-8") == kept


def test_experiments_are_told_by_their_path_and_own_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(known.FILE.parent)
    assert known.experiments()["demo.toml"].startswith("Two hospitals")
    monkeypatch.chdir(Path("/"))
    assert str(known.FILE.with_name("demo.toml")).removeprefix("/") in known.experiments()
