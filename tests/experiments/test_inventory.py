"""The inventory: each run with its state, chosen by name, state and description; removed whole, or not at all."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest

import server.evaluator
from common.config import RESULTS_VERSION, parse
from common.data import prepare
from common.errors import UserError
from common.folder import RunFolder, read_json, write_json
from experiments import inventory
from experiments.inventory import Stored, remove_runs, stored_runs
from experiments.run import run, train
from experiments.store import claimed
from experiments.tables import clean, read_measures, worst
from server.progress import Progress
from tests.experiments.test_cli import HEAVY, imported_by

TINY = {
    "name": "tiny-inventory",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "federation": {"rounds": 3},
    "privacy": {"enabled": True, "accountant": "rdp", "delta": 1e-3},
    "evaluation": {"records": 6, "steps": 2, "stress_records": 6, "threats": ["insider"]},
}
EXPERIMENT = parse(TINY, "tiny")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished, an evaluated, a trained and an interrupted run, and with what is none."""
    server.evaluator.LATENCY_SECONDS = 0.05
    runs = tmp_path_factory.mktemp("runs")
    run(EXPERIMENT, runs)
    run(EXPERIMENT.change({"name": "undrawn"}), runs).report.unlink()
    dataset = prepare(EXPERIMENT.data)
    train(EXPERIMENT.change({"name": "trained"}), dataset, runs, "inprocess")
    saved = Progress.save

    def save(self: Progress, folder: RunFolder) -> None:
        if self.round == 3:
            raise KeyboardInterrupt
        saved(self, folder)

    Progress.save = save  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            train(EXPERIMENT.change({"name": "half", "seed": 2, "clients": [{"count": 3}]}), dataset, runs, "inprocess")
    finally:
        Progress.save = saved  # type: ignore[method-assign]
    for path in ("studies/fig2-small/cells.csv", ".sets/abc/def.safetensors", ".aside/x-y-1/experiment.toml"):
        (runs / path).parent.mkdir(parents=True)
        (runs / path).write_text("")
    return runs


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def named(found: list[Stored]) -> list[str]:
    return [one.name for one in found]


def folder_of(runs: Path, name: str = "tiny-inventory") -> RunFolder:
    (path,) = (runs / name).iterdir()
    return RunFolder(path)


def test_runs_of_any_state_are_listed_without_torch_or_flower(runs: Path) -> None:
    words = ["runs", "--runs", str(runs), "--where", "privacy.enabled=true", "--where", "seed=1"]
    assert {one.status for one in stored_runs(runs)} == {"finished", "evaluated", "trained", "resumable"}
    light = ["numpy", "safetensors"]  # which look at a run's arrays, and are there at once
    assert imported_by([words[:3], words], HEAVY) == light


def test_every_run_is_listed_with_its_state_and_nothing_else_is(runs: Path) -> None:
    found = stored_runs(runs)
    assert {one.name: one.state() for one in found} == {
        "half": "resumable at round 2",
        "tiny-inventory": "finished",
        "trained": "trained",
        "undrawn": "evaluated",
    }


def test_key_facts_are_those_of_the_files(runs: Path) -> None:
    folder = folder_of(runs)
    ended = datetime.fromisoformat(read_json(folder.manifest)["finished"]).timestamp()
    one = next(one for one in stored_runs(runs, now=ended + 90) if one.name == "tiny-inventory")
    measures = read_measures(folder.results)
    assert one.folder.path == folder.path.resolve()
    assert one.hash == folder.path.name
    assert one.seconds == pytest.approx(sum(read_json(folder.manifest)["seconds"].values()))
    assert one.epsilon == read_json(folder.ledger)["worst_honest_epsilon"] is not None
    assert one.accuracy == getattr(clean(measures, "int8"), "value", None) is not None
    assert one.worst == getattr(worst(measures, "int8", "all"), "value", None) is not None
    assert one.age == pytest.approx(90)
    assert one.rounds == 3
    assert one.experiment == EXPERIMENT
    assert one.bytes == sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file())


def test_what_is_not_known_yet_is_left_open(runs: Path) -> None:
    half = next(one for one in stored_runs(runs) if one.name == "half")
    assert (half.epsilon, half.accuracy, half.worst, half.seconds) == (None, None, None, None)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"name": "t*"}, ["tiny-inventory", "trained"]),
        ({"name": "none"}, []),
        ({"status": "trained"}, ["trained"]),
        ({"status": "resumable"}, ["half"]),
        ({"where": ["seed=2"]}, ["half"]),
        ({"where": ["privacy.epsilon=7"]}, ["half", "tiny-inventory", "trained", "undrawn"]),
        ({"where": ["privacy.epsilon=3.4"]}, []),
        ({"where": ["evaluation.eps=8/255", "seed=1"]}, ["tiny-inventory", "trained", "undrawn"]),
        ({"where": ['evaluation.threats=["insider"]']}, ["half", "tiny-inventory", "trained", "undrawn"]),
        ({"where": ["privacy.noise_multiplier=none", "name=half"]}, ["half"]),
        ({"where": ["federation.update_compression=none", "seed=2"]}, ["half"]),
        ({"where": ["clients.1.strategy=honest"]}, ["tiny-inventory", "trained", "undrawn"]),
        ({"where": ["seed=1"], "status": "evaluated", "name": "u*"}, ["undrawn"]),
    ],
    ids=str,
)
def test_runs_are_chosen_by_name_state_and_description(made: Path, options: dict, names: list[str]) -> None:
    assert named(stored_runs(made, **options)) == names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"status": "done"}, "--status done: choose one of finished"),
        ({"where": ["privacy.epsilonn=3"]}, "did you mean 'epsilon'"),
        ({"where": ["seed"]}, "write --where key=value"),
        ({"where": ["seed=many"]}, "--where seed=many: seed = 'many'"),
        ({"where": ["clients.9.strategy=honest"]}, "'9' is not one of the"),
    ],
    ids=str,
)
def test_a_choice_that_nothing_can_fit_is_told(made: Path, options: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        stored_runs(made, **options)
    assert words in str(caught.value)


def test_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        stored_runs(tmp_path / "none")


def test_damaged_foreign_and_older_runs_are_listed_as_such(runs: Path) -> None:
    whole = folder_of(runs)
    first = runs / "tiny-inventory"

    def copy(name: str) -> RunFolder:
        return RunFolder(Path(shutil.copytree(whole.path, first / name)))

    cut = copy("a" * 16)
    change_hash(cut)
    cut.manifest.write_text("{")
    older = copy("b" * 16)
    write_json(older.manifest, read_json(older.manifest) | {"results_version": RESULTS_VERSION - 1})
    copy("c" * 16)  # the manifest of another
    changed = copy("d" * 16)  # says that it is itself, but the description is another's
    change_hash(changed)
    (first / ("e" * 16)).mkdir()
    (first / ("e" * 16) / "notes.txt").write_text("mine")
    with claimed(RunFolder(first / ("f" * 16))):
        pass
    copy("backup")
    truncated = folder_of(runs, "undrawn")
    truncated.model.write_bytes(truncated.model.read_bytes()[:-1])
    found = {one.hash: one for one in stored_runs(runs) if one.folder.path != whole.path.resolve()}
    told = {key[0]: found[key * 16].status for key in "abcdef"}
    assert told == {
        "a": "damaged", "b": "other version", "c": "foreign", "d": "foreign", "e": "foreign", "f": "started",
    }  # fmt: skip
    assert found["backup"].status == "foreign"
    assert found[truncated.path.name].status == "damaged"
    assert "model.safetensors" in found[truncated.path.name].reason
    assert "manifest.json" in found["a" * 16].reason
    assert f"results version {RESULTS_VERSION - 1}" in found["b" * 16].reason


def change_hash(folder: RunFolder) -> None:
    write_json(folder.manifest, read_json(folder.manifest) | {"hash": folder.path.name})


def test_a_description_that_cannot_be_read_is_damaged_and_has_no_keys(runs: Path) -> None:
    folder_of(runs).experiment.write_text("name = ")
    (one,) = stored_runs(runs, name="tiny-inventory")
    assert one.status == "damaged"
    assert one.experiment is None
    assert "tiny-inventory" not in named(stored_runs(runs, where=["seed=1"]))


def test_a_run_that_a_process_works_on_is_said_to_run(runs: Path) -> None:
    with claimed(folder_of(runs, "half")):
        assert [one.name for one in stored_runs(runs) if one.running] == ["half"]
        assert stored_runs(runs, name="half")[0].state() == "resumable at round 2, running"


def test_first_it_is_told_what_would_go_and_then_it_goes(runs: Path) -> None:
    chosen = stored_runs(runs, where=["seed=1"], name="t*")
    before = sorted(path.relative_to(runs) for path in runs.rglob("*") if path.name != ".lock")
    told = remove_runs(chosen, really=False)
    assert sorted(path.relative_to(runs) for path in runs.rglob("*") if path.name != ".lock") == before
    assert named(list(told.gone)) == ["tiny-inventory", "trained"]
    assert told.bytes == sum(one.bytes for one in chosen)
    assert remove_runs(chosen, really=True).gone == tuple(chosen)
    assert named(stored_runs(runs)) == ["half", "undrawn"]
    assert {path.name for path in runs.iterdir()} == {"half", "undrawn", "studies", ".sets", ".aside"}
    assert remove_runs(chosen, really=True).gone == ()


def test_a_run_that_a_process_works_on_is_never_removed(runs: Path) -> None:
    with claimed(folder_of(runs, "half")):
        for really in (False, True):
            told = remove_runs(stored_runs(runs), really=really)
            assert named(list(told.kept)) == ["half"]
            assert "half" not in named(list(told.gone))
    assert named(stored_runs(runs)) == ["half"]


def test_a_removal_that_is_killed_leaves_nothing_that_looks_like_a_run(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inventory.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_runs(stored_runs(runs, name="trained"), really=True)
    monkeypatch.undo()
    assert named(stored_runs(runs)) == ["half", "tiny-inventory", "undrawn"]
    remove_runs(stored_runs(runs, name="half"), really=True)  # the next one takes away what was left
    assert not (runs / ".removed").exists()


def test_a_file_that_is_no_json_is_no_reason_to_stop(runs: Path) -> None:
    folder = folder_of(runs, "half")
    folder.manifest.write_bytes(b"\xff\xfe")
    (one,) = stored_runs(runs, name="half")
    assert one.status == "damaged"
    folder.manifest.write_text(json.dumps([1]))
    (one,) = stored_runs(runs, name="half")
    assert one.status == "other version"
