"""Whole studies, tiny: everything once, resumed after a kill to the same bytes, failures recorded."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import experiments.study.study
import experiments.study.work
from common.errors import UserError
from common.folder import read_json
from experiments.run import run
from experiments.study.study import Prepared, finished_results, prepare_study, run_study
from experiments.study.work import SETS
from server.adversarial_sets import AdversarialSets
from tests.waiting import until

ROOT = Path(__file__).parents[3]
CHANGES = {
    "name": "tiny",
    "data.image_size": 28,
    "data.train_records": 48,
    "data.public_records": 16,
    "data.test_records": 16,
    "model.width": 4,
    "training.batch_size": 16,
    "federation.rounds": 2,
    "evaluation.records": 8,
    "evaluation.stress_records": 4,
    "evaluation.steps": 2,
    "evaluation.seed": 1,
    "evaluation.threats": ["white-box", "transfer"],
    "evaluation.generators": [{"name": "non-private"}],
}


def written(folder: Path, **keys: Any) -> Path:
    path = folder / "study.toml"
    description = {"name": "study", "repeats": 2, "changes": CHANGES, "axes": {"training.learning_rate": [1e-3, 2e-3]}}
    path.write_text(tomli_w.dumps({**description, **keys}))
    return path


def ran(path: Path, runs: Path, **options: Any) -> tuple[Prepared, list[tuple[str, str]]]:
    prepared = prepare_study(path, runs, **options)
    return prepared, run_study(prepared, cores=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("study")
    prepared, failures = ran(written(folder), folder / "runs")
    assert failures == []
    return prepared


def contents(runs: Path) -> dict[str, str]:
    """The digest of every file that tells a result, by its place in the store."""
    kept = ("results.csv", "model.safetensors", "ledger.json", "model.int8.onnx", "cells.csv")
    return {
        str(path.relative_to(runs)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(runs.rglob("*"))
        if path.name in kept and ".aside" not in path.parts
    }


def test_every_cell_has_results_and_each_federation_was_trained_once(whole: Prepared) -> None:
    assert len(finished_results(whole.plan)) == 4
    assert len(whole.plan.to_train()) == 4  # two rates × two seeds; the generators are among them
    trained = [
        read_json(path)
        for path in whole.runs.glob("*/*/manifest.json")
        if "federation" in read_json(path)["seconds"] and "federation_from" not in read_json(path)
    ]
    assert len(trained) == 4


def test_a_cell_has_the_results_of_the_same_run_on_its_own(whole: Prepared, tmp_path: Path) -> None:
    one = whole.plan.evaluations[0]
    alone = run(one.experiment, tmp_path / "runs")
    assert alone.path.name == one.folder.path.name
    assert alone.results.read_bytes() == one.folder.results.read_bytes()


def test_the_same_command_does_nothing_again(whole: Prepared) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.runs.glob("tiny/*/results.csv")}
    prepared, failures = ran(whole.study.path, whole.runs)
    assert prepared.tasks == ()
    assert failures == []
    assert {path: path.stat().st_mtime_ns for path in whole.runs.glob("tiny/*/results.csv")} == before


def test_results_know_the_seconds_of_their_training(whole: Prepared) -> None:
    for result in finished_results(whole.plan):
        assert result.manifest["seconds"]["federation"] > 0


def test_what_the_command_line_changes_is_drawn_elsewhere(whole: Prepared) -> None:
    first, second = (prepare_study(whole.study.path, whole.runs, changes={"seed": n}).out for n in (5, 6))
    assert len({whole.out, first, second}) == 3


def test_another_study_evaluates_what_is_trained(whole: Prepared, tmp_path: Path) -> None:
    path = written(tmp_path, changes={**CHANGES, "evaluation.eps": 0.01})
    prepared = prepare_study(path, whole.runs)
    assert prepared.plan.to_train() == ()
    assert len(prepared.plan.to_evaluate()) == 4


def test_a_generators_set_is_crafted_once_for_all_its_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crafted: list[str] = []
    original = AdversarialSets.crafted

    def counted(self: AdversarialSets, recipe: Any, craft: Any) -> Any:
        def note() -> Any:
            crafted.append(recipe.key())
            return craft()

        return original(self, recipe, note)

    monkeypatch.setattr(AdversarialSets, "crafted", counted)
    changes = {**CHANGES, "evaluation.generators": [{"name": "fixed", "changes": {"seed": 9}}]}
    changes["evaluation.attacks"] = ["fgsm"]
    ran(written(tmp_path, changes=changes, axes={}, repeats=3), tmp_path / "runs")
    assert len(crafted) == len(set(crafted))
    # Of three targets each: its own fp32 and twin; and one set of the generator that all three are scored on.
    assert len(crafted) == 3 * 2 + 1


def test_sets_are_gone_after_the_study(whole: Prepared) -> None:
    assert list((whole.runs / SETS).rglob("*.safetensors")) == []


def test_a_failed_cell_is_told_and_does_not_stop_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = experiments.study.work.train

    def failing(experiment: Any, *arguments: Any, **options: Any) -> Any:
        if experiment.training.learning_rate == 2e-3 and experiment.seed == 1:
            raise UserError("the disk is full")
        return original(experiment, *arguments, **options)

    monkeypatch.setattr(experiments.study.work, "train", failing)
    path = written(tmp_path, changes={**CHANGES, "evaluation.threats": ["white-box"], "evaluation.generators": []})
    prepared, failures = ran(path, tmp_path / "runs")
    ((cell, reason),) = failures
    assert cell == "study training.learning_rate=0.002 repeat 1"
    assert "the disk is full" in reason
    assert len(finished_results(prepared.plan)) == 3
    assert "the disk is full" in (prepared.out / "cells.csv").read_text()


def test_a_very_large_study_is_not_started_unasked(tmp_path: Path) -> None:
    path = written(tmp_path, axes={"data.seed": list(range(100)), "federation.rounds": list(range(1, 101))})
    with pytest.raises(UserError, match=r"20,000 cells; say --yes"):
        prepare_study(path, tmp_path / "runs")


def test_an_unknown_figure_is_found_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no 'heatmap'.*heat-map"):
        prepare_study(written(tmp_path, figures=["heatmap"]), tmp_path / "runs")


def test_a_store_that_is_no_folder_is_one_sentence_a_cell(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "federation").write_text("not a folder")
    _, failures = ran(written(tmp_path, axes={}, repeats=1), runs)
    ((_, reason),) = failures
    assert "cannot be made" in reason
    assert "Traceback" not in reason


def steps(runs: Path) -> int:
    """How far a study has come: finished rounds and evaluations."""
    written = [file.read_text() for file in runs.glob("federation/*/rounds.jsonl")]
    return sum(text.count("\n") for text in written) + len(list(runs.glob("tiny/*/results.csv")))


@pytest.mark.processes
def test_a_study_that_is_killed_at_random_moments_ends_with_the_same_bytes(whole: Prepared, tmp_path: Path) -> None:
    path, runs = written(tmp_path), tmp_path / "runs"
    command = [sys.executable, "-m", "experiments.cli", "study", str(path), "--runs", str(runs), "--cores", "2", "-q"]
    seed = time.time_ns()
    moments = sorted(random.Random(seed).sample(range(steps(whole.runs)), 4))  # of 4 × 2 rounds and 4 evaluations
    for moment in moments:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until(lambda moment=moment, process=process: steps(runs) >= moment or process.poll() is not None, "a step")
        assert process.poll() is None, f"the study ended before step {moment} (moments {moments}, seed {seed})"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert contents(runs) == contents(whole.runs), f"killed at {moments} (seed {seed})"
