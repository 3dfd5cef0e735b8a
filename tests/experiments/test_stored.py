"""What the store may trust, and what becomes of the rest: named, set aside, never overwritten."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import server.evaluator
from common import progress
from common.config import parse
from common.data import prepare
from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, write_arrays, write_json
from experiments.run import run, train
from experiments.store import claimed
from experiments.stored import finished_federation, make_way, set_aside, trusted
from server.app import run_folder
from server.manifest import open_manifest
from server.progress import Progress

TINY = {
    "name": "tiny-stored",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "federation": {"rounds": 1},
    "evaluation": {"records": 6, "query_records": 3, "queries": 5, "steps": 2, "stress_records": 6},
}
EXPERIMENT = parse(TINY, "tiny")


@pytest.fixture(scope="module")
def checksum() -> str:
    return prepare(EXPERIMENT.data).checksum


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    server.evaluator.LATENCY_SECONDS = 0.05
    return run(EXPERIMENT, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(whole: RunFolder, tmp_path: Path) -> RunFolder:
    """The run, in a store of its own."""
    folder = RunFolder(tmp_path / "runs" / whole.path.parent.name / whole.path.name)
    shutil.copytree(whole.path, folder.path)
    return folder


def cut(path: Path, size: int = -3) -> None:
    path.write_bytes(path.read_bytes()[:size])


def change(path: Path, **changes: object) -> None:
    write_json(path, read_json(path) | changes)


def drop_last_line(path: Path) -> None:
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:-1]))


def keep_clean_rows(path: Path) -> None:
    header, *rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, *(row for row in rows if ",clean," in row)]))


def resize(path: Path) -> None:
    write_arrays(path, {name: torch.zeros(2) for name in read_arrays(path)})


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def other_folder(folder: RunFolder) -> None:
    rewrite(folder.experiment, "rounds = 1", "rounds = 2")


HARMS: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "description, cut": (lambda run: cut(run.experiment, 40), "experiment.toml"),
    "description, of another": (other_folder, "experiment.toml does not hold the description"),
    "description, missing": (lambda run: run.experiment.unlink(), "experiment.toml could not be read"),
    "manifest, cut": (lambda run: cut(run.manifest), "manifest.json could not be read"),
    "manifest, no manifest": (lambda run: run.manifest.write_text("[]"), "manifest.json is not what psreval writes"),
    "manifest, missing": (lambda run: run.manifest.unlink(), "manifest.json is missing, but results.csv is there"),
    "manifest, of another": (lambda run: change(run.manifest, hash="0" * 16), "manifest.json belongs to another run"),
    "manifest, older": (lambda run: change(run.manifest, results_version=0), "manifest.json belongs to another run"),
    "manifest, without seconds": (
        lambda run: write_json(run.manifest, {k: v for k, v in read_json(run.manifest).items() if k != "seconds"}),
        "'seconds' is missing",
    ),
    "results, in a line": (lambda run: cut(run.results, -12), "results.csv"),
    "results, in a number": (lambda run: cut(run.results, -1), "results.csv ends in the middle of a line"),
    "results, last line": (lambda run: drop_last_line(run.results), "results.csv lacks its last rows"),
    "results, clean rows only": (lambda run: keep_clean_rows(run.results), "results.csv lacks its last rows"),
    "results, empty": (lambda run: run.results.write_text(""), "results.csv is not a table"),
    "evaluation, cut": (lambda run: cut(run.evaluation), "evaluation.json could not be read"),
    "evaluation, missing": (lambda run: run.evaluation.unlink(), "evaluation.json missing"),
    "model, cut": (lambda run: cut(run.model), "model.safetensors could not be read"),
    "model, empty": (lambda run: run.model.write_bytes(b""), "model.safetensors could not be read"),
    "model, missing": (lambda run: run.model.unlink(), "model.safetensors is missing"),
    "model, another network": (lambda run: resize(run.model), "model.safetensors holds the weights of another"),
    "int8, cut": (lambda run: cut(run.int8_model), "model.int8.onnx has"),
    "int8, missing": (lambda run: run.int8_model.unlink(), "model.int8.onnx has 0 bytes"),
    "ledger, cut": (lambda run: cut(run.ledger), "ledger.json could not be read"),
    "rounds, cut": (lambda run: cut(run.rounds), "rounds.jsonl, line 1"),
    "partition, cut": (lambda run: cut(run.partition), "partition.json could not be read"),
    "examples, cut": (lambda run: cut(run.examples), "examples.safetensors could not be read"),
}


def test_a_whole_run_is_trusted(whole: RunFolder, checksum: str) -> None:
    assert trusted(whole, EXPERIMENT, checksum) is None


@pytest.mark.parametrize("harm", HARMS)
def test_a_run_with_a_damaged_or_foreign_file_is_not_and_the_file_is_named(
    copy: RunFolder, checksum: str, harm: str
) -> None:
    do, words = HARMS[harm]
    do(copy)
    reason = trusted(copy, EXPERIMENT, checksum)
    assert reason is not None
    assert words in reason
    assert "\n" not in reason


def test_a_run_is_trusted_for_its_own_description_and_data_alone(copy: RunFolder, checksum: str) -> None:
    assert "is not the hash of" in str(trusted(copy, EXPERIMENT.change({"seed": 2}), checksum))
    assert "is not the hash of" in str(trusted(copy, EXPERIMENT, "0" * 64))
    other = copy.path.with_name("0" * 16)
    copy.path.rename(other)
    assert "is not the hash of" in str(trusted(RunFolder(other), EXPERIMENT, checksum))


def test_what_is_not_there_or_not_begun_needs_no_trust(tmp_path: Path, checksum: str) -> None:
    folder = run_folder(tmp_path, EXPERIMENT, prepare(EXPERIMENT.data))
    assert trusted(folder, EXPERIMENT, checksum) is None
    with claimed(folder):
        (folder.path / ".experiment.toml.x1y2").write_text("half of i")
        assert trusted(folder, EXPERIMENT, checksum) is None


def test_a_run_that_is_under_way_is_trusted_as_far_as_it_is(
    tmp_path: Path, checksum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = EXPERIMENT.change({"federation.rounds": 3})
    dataset = prepare(experiment.data)
    folder = run_folder(tmp_path, experiment, dataset)
    saved = Progress.save
    reasons = []

    def save(self: Progress, run: RunFolder) -> None:
        if self.round == 3:
            raise KeyboardInterrupt
        saved(self, run)
        reasons.append(trusted(run, experiment, checksum))

    monkeypatch.setattr(Progress, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, dataset, tmp_path, "inprocess")
    assert len(reasons) >= 2
    assert set(reasons) == {None}
    content = folder.checkpoint.read_bytes()
    cut(folder.checkpoint)
    assert "checkpoint.safetensors could not be read" in str(trusted(folder, experiment, checksum))
    folder.checkpoint.write_bytes(content)
    write_arrays(folder.checkpoint, read_arrays(folder.checkpoint))  # without what was reached
    assert "holds no progress that can be resumed" in str(trusted(folder, experiment, checksum))
    folder.checkpoint.write_bytes(content)
    monkeypatch.undo()
    train(experiment, dataset, tmp_path, "inprocess")
    assert trusted(folder, experiment, checksum) is None  # trained, not evaluated
    folder.rounds.unlink()
    assert "rounds.jsonl" in str(trusted(folder, experiment, checksum))


def test_a_description_with_files_is_the_same_wherever_they_lie(tmp_path: Path) -> None:
    described = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.py").write_text("def attack(m, i, l): return i\n")
        changes = {"evaluation.attacks": [f"{tmp_path / place / 'mine.py'}:attack"]}
        described.append(EXPERIMENT.change(changes))
    dataset = prepare(EXPERIMENT.data)
    folder = run_folder(tmp_path / "runs", described[0], dataset)
    folder.path.mkdir(parents=True)
    folder.experiment.write_text(described[0].to_toml())
    open_manifest(described[0], dataset, folder, "inprocess")
    shutil.rmtree(tmp_path / "here")
    assert trusted(folder, described[1], dataset.checksum) is None
    rewrite(folder.experiment, "mine.py:attack", "other.py:attack")
    assert trusted(folder, described[1], dataset.checksum) is not None


def test_what_cannot_be_trusted_is_moved_whole_with_its_reason(
    copy: RunFolder, checksum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "_say", said.append)
    runs, name = copy.path.parents[1], f"{copy.path.parent.name}-{copy.path.name}"
    cut(copy.results, -1)
    files = {path.name: path.read_bytes() for path in copy.path.iterdir() if path.is_file()}
    sentence = make_way(copy, EXPERIMENT, checksum)
    assert sentence is not None
    assert f"was set aside as .aside/{name}-1: results.csv ends in the middle" in sentence
    assert said == [sentence]
    moved = runs / ".aside" / f"{name}-1"
    assert {path.name: path.read_bytes() for path in moved.iterdir() if path.name in files} == files
    assert not copy.path.exists()
    shutil.copytree(moved, copy.path)
    make_way(copy, EXPERIMENT, checksum)
    assert (runs / ".aside" / f"{name}-2").is_dir()
    reasons = (runs / ".aside" / "reasons.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in reasons] == [f"{name}-1", f"{name}-2"]


def test_what_can_be_trusted_stays(copy: RunFolder, checksum: str, tmp_path: Path) -> None:
    with claimed(copy):  # a process that works on it is not waited for
        assert make_way(copy, EXPERIMENT, checksum) is None
    assert copy.results.exists()
    assert make_way(RunFolder(tmp_path / "none" / "there"), EXPERIMENT, checksum) is None
    assert not (tmp_path / "none").exists()


def test_a_run_that_a_process_works_on_is_not_set_aside(copy: RunFolder) -> None:
    with claimed(copy), pytest.raises(UserError, match="another psreval works on this run"):
        set_aside(copy, "looks odd")
    assert copy.results.exists()


def test_whoever_waited_for_a_run_that_was_set_aside_leaves_the_new_one_alone(
    copy: RunFolder, whole: RunFolder, checksum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, told = threading.Event(), []
    monkeypatch.setattr(progress, "_say", lambda sentence: "waiting" in sentence and waiting.set())
    cut(copy.results, -1)
    thread = threading.Thread(target=lambda: told.append(make_way(copy, EXPERIMENT, checksum)))
    with claimed(copy):
        thread.start()
        assert waiting.wait(60)
        copy.path.rename(copy.path.with_name("moved"))  # as set_aside does
        shutil.copytree(whole.path, copy.path)  # as whoever runs it anew does
    thread.join(60)
    assert told == [None]
    assert copy.results.exists()


def test_a_reason_is_one_line(copy: RunFolder) -> None:
    set_aside(copy, "first\nsecond  third")
    text = (copy.path.parents[1] / ".aside" / "reasons.txt").read_text()
    assert text.endswith("-1: first second third\n")
    assert text.count("\n") == 1


def test_a_place_that_cannot_be_written_is_told(copy: RunFolder) -> None:
    (copy.path.parents[1] / ".aside").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be trusted \(odd\) and not be set aside"):
        set_aside(copy, "odd")
    assert copy.results.exists()


def hash_of(folder: RunFolder) -> str:
    found: str = read_json(folder.manifest)["federation_hash"]
    return found


ELSEWHERE = RunFolder(Path("elsewhere"))


def test_a_finished_federation_is_found_by_its_hash_whatever_its_name(copy: RunFolder) -> None:
    store = copy.path.parents[1]
    assert finished_federation(store, hash_of(copy), ELSEWHERE) == copy
    assert finished_federation(store, "another", ELSEWHERE) is None
    assert finished_federation(store, hash_of(copy), copy) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: cut(folder.model),
        lambda folder: resize(folder.model),
        lambda folder: cut(folder.ledger),
        lambda folder: folder.rounds.write_text(""),
        lambda folder: folder.experiment.write_text(EXPERIMENT.change({"seed": 9}).to_toml()),
        lambda folder: cut(folder.manifest),
        lambda folder: change(folder.manifest, results_version=-1),
        lambda folder: folder.model.unlink(),
        lambda folder: folder.path.parent.rename(folder.path.parents[1] / ".aside"),
    ],
    ids=["model", "shapes", "ledger", "rounds", "description", "manifest", "version", "no model", "aside"],
)
def test_a_federation_that_cannot_be_trusted_serves_nobody(
    spoil: Callable[[RunFolder], object], copy: RunFolder
) -> None:
    store, wanted = copy.path.parents[1], hash_of(copy)
    spoil(copy)
    assert finished_federation(store, wanted, ELSEWHERE) is None
