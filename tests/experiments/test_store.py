import json
import os
import threading
from pathlib import Path

import pytest
import torch

from common.config import RESULTS_VERSION
from common.errors import UserError
from common.folder import RunFolder, write_arrays
from experiments.store import (
    check_version,
    claimed,
    copy_federation,
    federation_claimed,
    find_run,
    is_claimed,
)


def made(
    runs: Path, name: str, federation_hash: str, *, finished: bool = True, version: int = RESULTS_VERSION
) -> RunFolder:
    folder = RunFolder(runs / name / "abc")
    folder.path.mkdir(parents=True)
    folder.experiment.write_text(f'name = "{name}"\n')
    folder.manifest.write_text(json.dumps({"federation_hash": federation_hash, "results_version": version}))
    if finished:
        write_arrays(folder.model, {"w": torch.ones(3)})
        folder.rounds.write_text("{}\n")
        folder.ledger.write_text("{}")
    return folder


def test_one_process_at_a_time_works_on_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    with claimed(folder), pytest.raises(UserError, match="another psreval works on this run"), claimed(folder):
        pass
    with claimed(folder):
        pass


def test_whoever_waits_for_a_run_goes_on_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, order, waiting = RunFolder(tmp_path / "a" / "b"), [], threading.Event()
    monkeypatch.setattr("common.progress._say", lambda sentence: waiting.set())

    def second() -> None:
        with claimed(folder, wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with claimed(folder):
        assert is_claimed(folder)
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    assert not is_claimed(folder)


def test_nobody_has_claimed_what_is_not_there_and_asking_makes_nothing(tmp_path: Path) -> None:
    assert not is_claimed(RunFolder(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []


def test_a_federation_is_waited_for_by_those_who_wait_and_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, waiting = [], threading.Event()
    monkeypatch.setattr("common.progress._say", lambda sentence: waiting.set())

    def second() -> None:
        with federation_claimed(tmp_path, "abc", wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with federation_claimed(tmp_path, "abc", wait=True):
        with federation_claimed(tmp_path, "abc"):
            order.append("not waiting")
        with federation_claimed(tmp_path, "def", wait=True):
            order.append("another")
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["not waiting", "another", "first", "second"]


def test_a_process_forked_meanwhile_does_not_keep_the_claim(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    reading, writing = os.pipe()
    with claimed(folder):
        child = os.fork()
        if child == 0:  # holds a copy of every open file until it is told to end
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    try:
        with claimed(folder):
            pass
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        os.close(reading)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be made .* --runs"), claimed(RunFolder(tmp_path / "file" / "run")):
        pass


def test_a_finished_federation_is_copied_the_model_last(tmp_path: Path) -> None:
    source, mine = made(tmp_path, "one", "same"), RunFolder(tmp_path / "two" / "abc")
    mine.path.mkdir(parents=True)
    assert copy_federation(source, mine)
    assert mine.model.read_bytes() == source.model.read_bytes()
    assert mine.rounds.read_bytes() == source.rounds.read_bytes()


def test_a_source_that_vanishes_while_it_is_copied_is_no_model(tmp_path: Path) -> None:
    source, mine = made(tmp_path, "one", "same"), RunFolder(tmp_path / "two" / "abc")
    mine.path.mkdir(parents=True)
    source.model.unlink()
    assert not copy_federation(source, mine)
    assert not mine.model.exists()


def test_a_truncated_manifest_is_not_trusted(tmp_path: Path) -> None:
    folder = made(tmp_path, "one", "same")
    folder.manifest.write_text('{"federation_hash": "sa')
    with pytest.raises(UserError, match=r"manifest.json could not be read"):
        check_version(folder)
    folder.manifest.write_text("[]")
    with pytest.raises(UserError, match=r"results version None"):
        check_version(folder)


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results version 99, this psreval has"):
        check_version(made(tmp_path, "one", "same", version=99))


def test_a_run_is_found_by_folder_file_or_name(tmp_path: Path) -> None:
    folder = made(tmp_path, "one", "same")
    for path in (folder.path, folder.model, tmp_path / "one", tmp_path):
        assert find_run(path).path == folder.path.resolve()
    made(tmp_path, ".aside", "same")
    assert find_run(tmp_path).path == folder.path.resolve()
    made(tmp_path, "two", "same")
    with pytest.raises(UserError, match="holds 2 runs"):
        find_run(tmp_path)
    with pytest.raises(UserError, match="there is no run at"):
        find_run(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no run"):
        find_run(tmp_path / "empty")
