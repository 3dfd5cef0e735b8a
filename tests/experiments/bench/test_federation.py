"""What the bench of federations compares is the same work."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from common.config import Experiment
from common.data import prepare
from common.folder import read_arrays
from common.records import Records
from experiments.bench import federation as bench
from experiments.bench.findings import Finding, Taken, Target, at_most, times_as_fast, times_the_cost


def tiny(clients: int = 2) -> Experiment:
    return bench.described(clients, 12, rounds=1, model__width=4)


def test_bare_training_and_scores_are_those_of_the_federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, torch.Tensor]] = []
    scored: list[int] = []

    def train(model: torch.nn.Module, records: Records, *_: object, seed: int, **__: object) -> dict[str, float]:
        calls.append((seed, records.images))
        return {"train-loss": 0.0, "train-accuracy": 0.0}

    def marks_of(*given: object) -> object:
        scored.append(1)
        return straight(*given)

    from server import hall

    straight = hall.marks_of
    monkeypatch.setattr("clients.honest.train", train)
    monkeypatch.setattr("experiments.bench.federation.train", train)
    monkeypatch.setattr("server.hall.marks_of", marks_of)
    monkeypatch.setattr("experiments.bench.federation.marks_of", marks_of)
    made = tiny(3)
    dataset = prepare(made.data)
    bench.federation(made, dataset, tmp_path)
    with_federation, of_federation = list(calls), len(scored)
    calls.clear()
    scored.clear()
    bench.bare(made, dataset)
    bench.scores(made, dataset)
    assert [seed for seed, _ in calls] == [seed for seed, _ in with_federation]
    assert all(torch.equal(one, two) for (_, one), (_, two) in zip(calls, with_federation, strict=True))
    assert len(scored) == of_federation == 4


def test_all_comparisons_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tiny()
    monkeypatch.setattr(bench, "described", lambda clients, images, rounds: made)
    training, _, with_scores, _, begun = bench.against_training(2, 12, 1)
    assert (begun.target, len(begun.ours)) == (at_most(2.5), 1)
    assert begun.ours[0] > 0
    assert (training.target, with_scores.target) == (times_the_cost(1.03), None)
    assert "% of the training" in training.note
    assert with_scores.other[0] > training.other[0]

    def in_processes(programs: dict, experiment: Experiment, place: Path, repeats: int) -> dict:
        for side in programs:
            (place / side).mkdir()
            bench.federation(experiment, prepare(experiment.data), place / side)
        return {side: [Taken(wall, wall)] * repeats for side, wall in zip(programs, (1.0, 5.0), strict=True)}

    monkeypatch.setattr(bench, "in_processes", in_processes)
    (against_flower,) = bench.against_flower(made, ["inprocess"], 2, times_as_fast(4.0))
    assert against_flower.values() == [5.0, 5.0]
    assert against_flower.note == "equal models"
    (once,) = bench.against_flower(made, ["inprocess"], 1, times_as_fast(4.0))
    assert once.note == "equal models; measured once"
    (start,) = bench.start(2)
    assert (start.ours, start.target) == ([-4.0, -4.0], at_most(2.5))


def test_what_takes_most_of_a_minute_is_measured_once_and_the_rest_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[object, int]] = []

    def against_training(clients: int, images: int, repeats: int) -> list[Finding]:
        asked.append(((clients, images), repeats))
        return []

    def against_flower(experiment: Experiment, runners: Sequence[str], repeats: int, target: Target) -> list[Finding]:
        asked.append((len(experiment.roster()), repeats))
        return []

    def start(repeats: int) -> list[Finding]:
        asked.append(("start", repeats))
        return []

    for stand_in in (against_training, against_flower, start):
        monkeypatch.setattr(bench, stand_in.__name__, stand_in)
    monkeypatch.setattr(bench, "one_thread", lambda: None)
    bench.find(5)
    assert asked == [((2, 1000), 5), ((20, 400), 5), ("start", 5), (2, 5), (2, 5), (100, 1)]


@pytest.mark.processes
def test_flower_s_own_simulation_gives_the_same_model(tmp_path: Path) -> None:
    programs = {"ours": (bench.OURS, "inprocess"), "flower": (bench.FLOWER,)}
    bench.in_processes(programs, tiny(), tmp_path, 1)
    ours, flower = (read_arrays(next((tmp_path / side).rglob("model.safetensors"))) for side in programs)
    assert ours.keys() == flower.keys()
    assert all(torch.equal(ours[name], flower[name]) for name in ours)
