"""A finished run's folder in the formats that psreval writes, with numbers made up but consistent."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.config import parse_toml
from common.folder import RunFolder, append_line, write_arrays, write_json, write_text
from server.measures import Measure, measure, to_csv
from tests.experiments.masked_fixture import masked

DESCRIPTION = """
name = "three-hospitals"
description = "Three hospitals on synthetic X-rays; one poisons 40 % of its own images and ignores privacy."

[data]
source = "phantom"

[model]
width = 16

[privacy]
enabled = true
secure_noise = false

[[clients]]
name = "north hospital"

[[clients]]
name = "south hospital"
private = false
strategy = "data-poisoner"
options = { attack = "pgd", fraction = 0.4 }

[[clients]]
name = "east hospital"

[evaluation]
threats = ["white-box", "insider", "transfer", "query"]
records = 200
query_records = 60
repeats = 2

[[evaluation.generators]]
name = "other-seed"
changes = { seed = 2 }

[thresholds]
epsilon = 8.0
"""
CLIENTS = ("north hospital", "south hospital", "east hospital")
BUDGET = (8 / 255, 2 / 255, 10)
NORTH, SOUTH, EAST = (201, 180, 159), (190, 170, 180), (20, 260, 240)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Return a function that writes a finished run and returns its folder; keywords as in ``write_run``."""
    return lambda **changes: write_run(tmp_path / "run", **changes)


@pytest.fixture
def finished_run(make_run: Callable[..., RunFolder]) -> RunFolder:
    """A finished run: three clients (one malicious and non-private), three rounds, three classes, all four threats."""
    return make_run()


@pytest.fixture
def masked_run(finished_run: RunFolder) -> RunFolder:
    """A finished run in which every pixel has a class: two structures, white-box alone."""
    return masked(finished_run)


def write_run(
    path: Path,
    *,
    classes: tuple[str, ...] = ("normal", "bacterial", "viral"),
    reason: str = "update holds NaN in layer 'conv1'",
    credible: bool = True,
    private: bool = True,
    synthetic: bool = True,
    channels: int = 1,
    rows: Iterable[Measure] | None = None,
    examples: bool = True,
    secure_noise: str = "false",
) -> RunFolder:
    folder = RunFolder(path)
    experiment = parse_toml(DESCRIPTION.replace("secure_noise = false", f"secure_noise = {secure_noise}"))
    write_text(folder.experiment, experiment.to_toml())
    write_json(folder.manifest, manifest(classes, synthetic, channels))
    counts = (NORTH, SOUTH, EAST)
    write_json(
        folder.partition,
        {
            "spec": "dirichlet:0.5",
            "seed": 0,
            "clients": [
                {"name": name, "records": list(range(sum(own))), "counts": list(own)}
                for name, own in zip(CLIENTS, counts, strict=True)
            ],
        },
    )
    folder.rounds.unlink(missing_ok=True)
    for line in rounds(reason):
        append_line(folder.rounds, line)
    write_json(folder.ledger, ledger(private))
    write_text(folder.results, to_csv(measures() if rows is None else rows))
    write_json(folder.evaluation, evaluation(credible, private))
    if examples:
        write_arrays(folder.examples, *example_images(channels, len(classes)))
    return folder


def manifest(classes: tuple[str, ...], synthetic: bool, channels: int) -> dict[str, Any]:
    return {
        "psreval": "0.1.0",
        "results_version": 1,
        "hash": "3f1c9a7be02d4c58",
        "federation_hash": "a97b11c0de5f2231",
        "commit": "50a1c7c3b1f5f0a9d7b1e2c3d4e5f60718293a4b",
        "versions": {"python": "3.11.9", "flwr": "1.42.0", "torch": "2.13.0", "onnxruntime": "1.20.1"},
        "machine": {"cpu": "Example CPU @ 2.4 GHz", "cores": 2, "memory_gib": 7.8, "system": "Linux 6.1", "vnni": True},
        "data": {
            "source": "phantom",
            "synthetic": synthetic,
            "checksum": "sha256:0c9d1e2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5",
            "classes": list(classes),
            "channels": channels,
            "image_size": 32,
            "mean": [0.47] * channels,
            "std": [0.21] * channels,
            "counts": {"train": [411, 610, 579], "public": [100, 100, 100], "test": [150, 180, 170]},
            "notes": ["drawn by the built-in generator, seed 0"],
        },
        "runner": "inprocess",
        "seconds": {"federation": 41.3, "evaluation": 22.94},
        "bytes": {name: {"up": 7_330_000 + 1000 * place, "down": 7_331_000} for place, name in enumerate(CLIENTS)},
        "started": "2026-03-02T09:15:00+00:00",
        "finished": "2026-03-02T09:16:05+00:00",
    }


def rounds(reason: str) -> Iterator[dict[str, Any]]:
    accuracies = ((0.52, (0.55, 0.41, 0.47)), (0.71, (0.74, 0.52, 0.63)), (0.83, (0.85, None, 0.72)))
    for number, (overall, own) in enumerate(accuracies, start=1):
        yield {
            "round": number,
            "status": "aggregated",
            "reason": "",
            "seconds": 13.4 + number / 10,
            "accuracy": overall,
            "accuracy_records": 300,
            "clients": [
                {
                    "name": name,
                    "status": "refused" if accuracy is None else "accepted",
                    "reason": reason if accuracy is None else "",
                    "examples": 540,
                    "bytes_up": 2_443_000,
                    "bytes_down": 2_443_600,
                    "accuracy": accuracy,
                    "metrics": {} if accuracy is None else {"train-loss": 0.9 / number},
                }
                for name, accuracy in zip(CLIENTS, own, strict=True)
            ],
        }


def ledger(private: bool) -> dict[str, Any]:
    spent = {"north hospital": [3.11, 5.02, 6.9], "east hospital": [2.6, 4.31, 6.12]} if private else {}
    clients = [
        {
            "name": name,
            "number": number,
            "strategy": "data-poisoner" if name == "south hospital" else "honest",
            "honest": name != "south hospital",
            "private": name in spent,
            "records": 540,
            "accountant": "prv",
            "delta": 1e-5,
            "entries": [
                {"round": one, "noise_multiplier": 0.91, "sampling_rate": 0.1185, "steps": 9} for one in (1, 2, 3)
            ]
            if name in spent
            else [],
            "epsilon_by_round": spent.get(name, []),
            "epsilon": spent[name][-1] if name in spent else None,
        }
        for number, name in enumerate(CLIENTS)
    ]
    return {"clients": clients, "worst_honest_epsilon": 6.9 if private else None}


def measures() -> Iterator[Measure]:
    for target, accuracy in (("fp32", 0.842), ("int8", 0.838)):
        yield measure(target, "clean", "none", "accuracy", accuracy, 500)
        yield from _disease(target, "clean", "none", (0.953, 0.92, 0.88), 500)
    attacked = {
        ("fp32", "white-box", "fp32"): (0.345, 0.26),
        ("int8", "white-box", "fp32"): (0.41, 0.335),
        ("int8", "white-box", "twin"): (0.39, 0.32),
        ("int8", "insider", "fp32"): (0.41, 0.335),
        ("fp32", "transfer", "other-seed"): (0.61, 0.565),
        ("int8", "transfer", "other-seed"): (0.63, 0.58),
    }
    for (target, threat, source), (fgsm, pgd) in attacked.items():
        yield from _attack(target, threat, "fgsm", fgsm, 200, generator=source, repeat=0)
        yield from _attack(target, threat, "pgd", pgd + 0.005, 200, generator=source, repeat=0)
        yield from _attack(target, threat, "pgd", pgd - 0.005, 200, generator=source, repeat=1)
        yield measure(target, threat, "pgd", "accuracy", pgd, 200, generator=source, budget=BUDGET)
        yield from _disease(target, threat, "pgd", (0.61, 0.44, 0.35), 200, generator=source, repeat=0, budget=BUDGET)
    for target, value in (("fp32", 0.70), ("int8", 0.683)):
        yield from _attack(target, "query", "square", value, 60, repeat=0)
    yield from _attack("int8", "white-box", "square", 0.683, 60, generator="queries", repeat=0)
    worst = {
        ("fp32", "white-box"): 0.255, ("int8", "white-box"): 0.3, ("int8", "insider"): 0.33,
        ("fp32", "transfer"): 0.555, ("int8", "transfer"): 0.57,
    }  # fmt: skip
    for (target, threat), value in worst.items():
        yield from _attack(target, threat, "worst", value, 200, generator="other-seed" if threat == "transfer" else "")
    for target, value in (("fp32", 0.70), ("int8", 0.683)):
        yield from _attack(target, "query", "worst", value, 60)
    yield measure("fp32", "all", "worst", "accuracy", 0.25, 200, budget=BUDGET)
    yield measure("int8", "all", "worst", "accuracy", 0.295, 200, budget=BUDGET)


def _attack(target: str, threat: str, attack: str, value: float, n: int, **where: Any) -> Iterator[Measure]:
    yield measure(target, threat, attack, "accuracy", value, n, budget=BUDGET, **where)
    yield measure(target, threat, attack, "attack_success", 1 - value / 0.85, round(0.85 * n), budget=BUDGET, **where)


def _disease(
    target: str, threat: str, attack: str, values: tuple[float, float, float], n: int, **where: Any
) -> Iterator[Measure]:
    sizes = (n, round(0.7 * n), round(0.3 * n))
    for metric, value, size in zip(("auroc", "sensitivity", "specificity"), values, sizes, strict=True):
        yield measure(target, threat, attack, metric, value, size, **where)


def evaluation(credible: bool, private: bool) -> dict[str, Any]:
    warnings = [{"severity": "note", "sentence": "int8: 31.0 % of the input gradients are exactly zero"}]
    if not credible:
        sentence = "int8: query attacks leave 20.0 %, less than white-box attacks (30.0 %): gradients are masked"
        warnings.insert(0, {"severity": "unreliable", "sentence": sentence})
    return {
        "verdict": {
            "private": {
                "holds": private,
                "value": 6.9 if private else None,
                "threshold": 8.0,
                "stated": True,
                "sentence": "the worst honest client's records have ε = 6.90 after all rounds (asked: at most 8)"
                if private
                else "no privacy guarantee: at least one honest client trained without DP-SGD",
            },
            "robust": {
                "holds": False if credible else None,
                "value": 0.295,
                "threshold": 0.5,
                "stated": False,
                "sentence": "29.5% of attacked images are still right in the worst case (asked: 50%)",
            },
            "small": {
                "holds": True,
                "value": 0.744,
                "threshold": 0.7,
                "stated": False,
                "sentence": "the int8 file is 74.4% smaller than the fp32 weights (asked: 70%)",
            },
            "useful": {
                "holds": True,
                "value": 0.838,
                "threshold": 0.7,
                "stated": False,
                "sentence": "83.8% of clean test images are right (asked: 70%)",
            },
        },
        "compression": {
            "fp32_bytes": 9_758_000,
            "int8_bytes": 2_498_000,
            "size_reduction": 0.744,
            "activation_bits": 8,
            "saturates": False,
            "agreement": {"int8_fp32": 0.986, "int8_twin": 0.998, "onnx_int8": 1.0, "records": 500},
            "latency_ms": {
                "torch fp32": {"1": 4.1, "64": 131.0, "256": 540.0},
                "int8 kernels": {"1": 2.2, "64": 58.3, "256": 236.0},
                "onnxruntime fp32": {"1": 2.9, "64": 102.4, "256": 417.0},
                "onnxruntime int8": {"1": 1.3, "64": 40.9, "256": 171.0},
            },
            "threads": 2,
        },
        "warnings": warnings,
        "credible": credible,
        "test_records": 500,
        "attacked_records": 200,
        "queried_records": 60,
    }


def example_images(channels: int, classes: int) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    generator = np.random.default_rng(7)
    rows, columns = np.mgrid[0:32, 0:32] / 31 - 0.5
    clean = []
    for number in range(6):
        lungs = np.exp(-((np.abs(columns) - 0.22) ** 2 / 0.015 + rows**2 / 0.09))
        spot = np.exp(-((columns - 0.2) ** 2 + (rows - 0.1 * number + 0.2) ** 2) / 0.006)
        image = 0.75 - 0.55 * lungs + 0.35 * spot * (number % 3 > 0) + generator.normal(0, 0.02, (32, 32))
        clean.append(np.repeat(image[None], channels, axis=0))
    images = np.clip(np.stack(clean), 0, 1).astype(np.float32)
    change = generator.choice([-8 / 255, 0, 8 / 255], images.shape).astype(np.float32)
    labels = np.arange(6) % classes
    after = np.where(np.arange(6) == 4, labels, (labels + 1) % classes)
    arrays = {
        "clean": torch.from_numpy(images),
        "adversarial": torch.from_numpy(np.clip(images + change, 0, 1)),
        "labels": torch.from_numpy(labels),
        "clean_prediction": torch.from_numpy(labels.copy()),
        "adversarial_prediction": torch.from_numpy(after),
    }
    return arrays, {"target": "int8", "threat": "white-box", "attack": "pgd", "eps": repr(8 / 255)}
