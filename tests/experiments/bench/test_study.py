"""The bench's own arithmetic; what it measures is no test."""

from pathlib import Path

from common.data import prepare
from experiments.bench.study import Busy, descriptions, findings, models_equal
from experiments.study.tasks import Outcome
from server.app import run_folder


def test_shares_are_of_all_cores_and_of_the_time_given() -> None:
    outcomes = tuple(
        Outcome(str(n), seconds=10.0, cpu_seconds=8.0, peak_memory=0, failure=None, skipped=False) for n in range(4)
    )
    busy = Busy(cores=2, wall=40.0, working=20.0, outcomes=outcomes)
    assert busy.occupied(busy.wall) == 0.5
    assert busy.occupied(busy.working) == 1.0
    assert busy.computing(busy.working) == 0.8


def test_cells_are_equal_but_for_their_seeds() -> None:
    first, second = descriptions(2, records=60, width=4, rounds=2)
    assert first.seed != second.seed
    assert first.change({"seed": second.seed}) == second


def test_models_are_equal_only_if_both_are_there_and_have_the_same_bytes(tmp_path: Path) -> None:
    experiments = descriptions(1, records=60, width=4, rounds=2)
    dataset = prepare(experiments[0].data)
    stores = tmp_path / "study", tmp_path / "flower"
    models = [
        run_folder(store, experiments[0], dataset, runner).model
        for store, runner in zip(stores, ("inprocess", "flower"), strict=True)
    ]
    for model in models:
        assert not models_equal(experiments, *stores)
        model.parent.mkdir(parents=True)
        model.write_bytes(b"weights")
    assert models_equal(experiments, *stores)
    models[1].write_bytes(b"weighty")
    assert not models_equal(experiments, *stores)


def test_a_study_is_judged_from_the_first_cell_to_the_last_and_beside_one_by_one() -> None:
    outcomes = tuple(
        Outcome(str(n), seconds=9.5, cpu_seconds=9.0, peak_memory=0, failure=None, skipped=False) for n in range(4)
    )
    busy = Busy(cores=2, wall=40.0, working=20.0, outcomes=outcomes)
    found = findings(busy, [45.0, 60.0], equal=True)
    assert [finding.reached() for finding in found] == [True, None, None, None, True]
    assert [finding.ours[0] for finding in found] == [0.9, 0.95, 0.45, 40.0, 10.0]
    assert found[-1].values() == [4.5, 6.0]
    assert "equal models" in found[-1].note
    assert "the study measured once, 2 of its cells with flwr run" in found[-1].note
    assert all("measured once" in finding.note for finding in found)
    assert "DIFFERENT" in findings(busy, [45.0], equal=False)[-1].note
