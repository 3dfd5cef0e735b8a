"""Estimates: they grow with the work, and are no smaller than what a process must hold."""

from typing import Any

import pytest

from common.config import Experiment, parse
from common.data import Dataset, prepare
from common.folder import RunFolder
from experiments.study.estimate import Cost, cost_of, evaluation_seconds, memory_of, training_seconds
from experiments.study.grid import Cell
from experiments.study.plan import Federation, Planned

COST = Cost(seconds=1.0, activations=1000, parameters=100)
TINY = {
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 30},
    "model": {"width": 4},
    "federation": {"rounds": 4},
    "clients": [{"name": "a"}, {"name": "b"}],
    "evaluation": {"threats": ["white-box"], "records": 20, "stress_records": 10},
}


def described(**changes: Any) -> Experiment:
    return parse(TINY, "test").change({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return prepare(described().data)


def trained(experiment: Experiment, dataset: Dataset, tmp_path: Any, rounds: int = 0) -> float:
    return training_seconds(Federation("x", experiment, RunFolder(tmp_path), False, rounds), dataset, COST)


def evaluated(experiment: Experiment, dataset: Dataset, tmp_path: Any) -> float:
    cell = Cell("study", {}, 0, experiment)
    return evaluation_seconds(Planned("x", (cell,), RunFolder(tmp_path), False, "f", {}), dataset, COST)


def test_a_plain_federation_passes_over_each_record_once_a_round(dataset: Dataset, tmp_path: Any) -> None:
    one, four = (trained(described(federation__rounds=rounds), dataset, tmp_path) for rounds in (1, 4))
    assert four - one == pytest.approx(3 * 60)


def test_finished_rounds_do_not_count(dataset: Dataset, tmp_path: Any) -> None:
    whole, half = (trained(described(), dataset, tmp_path, rounds=rounds) for rounds in (0, 2))
    assert whole - half == pytest.approx(2 * 60)


@pytest.mark.parametrize(
    "changes",
    [
        {"privacy__enabled": True},
        {"clients__0__adversarial_training": {"attack": "pgd"}},
        {"clients__1__strategy": "data-poisoner"},
        {"training__local_epochs": 2},
    ],
    ids=str,
)
def test_more_work_takes_longer(changes: dict[str, Any], dataset: Dataset, tmp_path: Any) -> None:
    assert trained(described(**changes), dataset, tmp_path) > trained(described(), dataset, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation__threats": ["white-box", "query"]},
        {"evaluation__records": 30},
        {"evaluation__steps": 20},
        {"evaluation__attacks": ["fgsm", "pgd", "fab"]},
    ],
    ids=str,
)
def test_more_attacks_take_longer(changes: dict[str, Any], dataset: Dataset, tmp_path: Any) -> None:
    assert evaluated(described(**changes), dataset, tmp_path) > evaluated(described(), dataset, tmp_path)


def test_a_networks_numbers_are_counted(dataset: Dataset) -> None:
    narrow, wide = (cost_of(described(model__width=width), dataset) for width in (4, 8))
    assert wide.parameters > narrow.parameters
    assert wide.activations > narrow.activations
    assert narrow.seconds > 0


@pytest.mark.parametrize(("name", "numbers"), [("resnet9", 1000), ("own.py:build", 1_000_000)])
def test_private_training_holds_inputs_or_a_gradient_for_each_record(name: str, numbers: int, dataset: Dataset) -> None:
    cost = Cost(1.0, 1000, 1_000_000)
    plain, private = (
        memory_of(described(privacy__enabled=on, model__name=name), dataset, cost) for on in (False, True)
    )
    assert private - plain == 4 * 64 * numbers
