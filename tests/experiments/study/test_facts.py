"""Laws of the facts: which runs they are taken from, and sizes that can be counted by hand."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.config import Experiment
from common.data import prepare
from common.description import Compression, Model
from common.folder import RunFolder, write_arrays
from common.models import build
from experiments.study import facts
from experiments.study.facts import measure_facts, measure_sizes
from server.deployment import export_onnx, measure_compression
from server.federation import initial_model
from server.int8 import compress
from tests.experiments.study.facts_fixture import description

PHANTOM = {
    "data__source": "phantom",
    "data__train_records": 40,
    "data__public_records": 12,
    "data__test_records": 40,
    "model__width": 4,
}
POISONER = [{"name": "a"}, {"name": "b", "strategy": "data-poisoner"}]
TRAINED = [{"name": "a", "adversarial_training": {}}, {"name": "b"}]

Run = tuple[Experiment, RunFolder]


def run(folder: Path, **changes: Any) -> Run:
    """A run whose federation ended with the model that it began with."""
    experiment = description(**{**PHANTOM, **changes})
    model = initial_model(experiment, prepare(experiment.data))
    place = RunFolder(folder / experiment.digest())
    write_arrays(place.model, model.state_dict())
    return experiment, place


def seeds(groups: list[facts.Group]) -> dict[str, list[int]]:
    return {group.data: [repeat.experiment.seed for repeat in group.repeats] for group in groups}


def test_facts_come_from_honest_federations_without_privacy(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, seed=3),
        run(tmp_path, seed=1),
        run(tmp_path, seed=1, evaluation__steps=3),  # the same federation, evaluated otherwise
        run(tmp_path, seed=4, privacy__enabled=True),
        run(tmp_path, seed=5, clients=POISONER),
        run(tmp_path, seed=6, clients=TRAINED),
        (description(**PHANTOM, seed=2), RunFolder(tmp_path / "not finished")),
    ]
    assert seeds(facts._groups(runs)) == {"Phantom X-rays": [1, 3]}
    assert facts._groups(runs[3:]) == []


def test_the_federation_with_most_repeats_counts_then_the_one_with_the_paper_s_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nine = [run(tmp_path, seed=seed) for seed in (1, 2)]
    eighteen = [run(tmp_path, seed=seed, model__name="resnet18") for seed in (7, 8, 9)]
    assert seeds(facts._groups(nine + eighteen)) == {"Phantom X-rays": [7, 8, 9]}
    assert seeds(facts._groups(nine + eighteen[:2])) == {"Phantom X-rays": [1, 2]}
    monkeypatch.setitem(facts.PAPER, "Phantom X-rays", "ResNet-18")
    assert seeds(facts._groups(nine + eighteen[:2])) == {"Phantom X-rays": [7, 8]}


def test_facts_are_the_same_again_but_for_the_seconds_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "TIMED", 3)
    runs = [run(tmp_path, seed=seed) for seed in (1, 2)]
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        first, second = (measure_facts(runs, records=6, seed=0, width=4) for _ in range(2))
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert (before[0] == after[0]).all()
    assert before[1:] == after[1:]

    assert set(first) == {"sizes", "attack_seconds", "faults"}
    assert list(first["attack_seconds"]) == ["fgsm", "pgd", "fab"]
    for found in (first, second):
        assert all(len(taken) == 3 for taken in found.pop("attack_seconds").values())
        cost = found["faults"].pop()
        assert (cost["name"], cost["unit"], cost["n"]) == ("cost of FAB: Phantom X-rays", "seconds", 3)
        assert len(cost["released"]) == len(cost["ours"]) == 3
    assert json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)
    assert all(len(fault["released"]) == len(fault["ours"]) == 2 for fault in first["faults"])
    assert {fault["name"].partition(": ")[2] for fault in first["faults"]} == {"Phantom X-rays"}


def test_without_a_run_there_are_sizes_alone() -> None:
    found = measure_facts([], records=16, seed=0, width=4)
    assert list(found["sizes"]) == ["ResNet-9", "ResNet-18"]
    assert (found["attack_seconds"], found["faults"]) == ({"fgsm": [], "pgd": [], "fab": []}, [])


def test_the_paper_s_networks_have_the_paper_s_sizes() -> None:
    sizes = measure_sizes()
    # All parameters, and mean and deviation of each channel.
    assert sizes["ResNet-9"]["fp32_bytes"] == 4 * (2_447_946 + 6)
    assert sizes["ResNet-18"]["fp32_bytes"] == 4 * (11_171_779 + 2)
    # Eight bits instead of 32 save three quarters at most; what is not quantized takes a little of that.
    for name, convolutions in (("ResNet-9", 2_447_946), ("ResNet-18", 11_171_779)):
        assert convolutions < sizes[name]["int8_bytes"] < 1.02 * convolutions
        assert 0.74 < sizes[name]["state_dict_reduction"] < 0.75
    assert sizes["ResNet-9"]["state_dict_reduction"] == pytest.approx(0.744, abs=0.001)  # as the paper says


def test_sizes_are_those_that_an_evaluation_reports(tmp_path: Path) -> None:
    size = measure_sizes(width=8)["ResNet-9"]
    model = build(Model(name="resnet9", width=8), 3, 10, [0.47] * 3, [0.25] * 3, seed=5)
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    int8 = compress(model, images, Compression())
    export_onnx(int8, tmp_path / "model.onnx")
    told = measure_compression(model, int8, tmp_path / "model.onnx", images, seconds=0.01)
    assert size["fp32_bytes"] == told["fp32_bytes"]
    assert size["int8_bytes"] == pytest.approx(told["int8_bytes"], rel=1e-3)
    assert size["reduction"] == pytest.approx(told["size_reduction"], abs=1e-3)
