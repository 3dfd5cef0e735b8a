"""Finished cells with numbers made up: what the claims page and the verdict page are drawn from, without a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.config import Experiment, parse
from experiments.study.grid import Cell
from experiments.study.results import Result
from experiments.study.setting import setting_of
from server.measures import Measure

BUDGET = 8 / 255
THREATS = ("white-box", "insider", "transfer")


def experiment(
    *,
    data: str = "cifar10",
    model: str = "resnet9",
    epsilon: float | None = None,
    trained: tuple[str, float] | None = None,
    poisoned: tuple[str, float] | None = None,
    budget: float = BUDGET,
    seed: int = 1,
    threats: tuple[str, ...] = THREATS,
) -> Experiment:
    """Return a description; ``trained`` and ``poisoned`` are (attack, share of all records)."""
    first: dict[str, Any] = {"name": "north"}
    second: dict[str, Any] = {"name": "south"}
    if trained:
        table = {"attack": trained[0], "fraction": trained[1]}
        first["adversarial_training"] = second["adversarial_training"] = table
    if poisoned:
        options = {"attack": poisoned[0], "fraction": 2 * poisoned[1]}
        second |= {"strategy": "data-poisoner", "private": False, "options": options}
    tree = {
        "name": "made-up",
        "seed": seed,
        "data": {"source": data},
        "model": {"name": model, "width": 8},
        "privacy": {"enabled": epsilon is not None, "epsilon": epsilon or 7.0},
        "clients": [first, second],
        "evaluation": {"eps": budget, "threats": list(threats)},
    }
    return parse(tree, "made up")


def row(
    target: str, threat: str, value: float, *, generator: str = "", metric: str = "accuracy", n: int = 200
) -> Measure:
    attack = "none" if threat == "clean" else "worst"
    eps = None if threat == "clean" else BUDGET
    return Measure(target, threat, attack, generator, eps, None, None, None, metric, value, n, None, None)


def result(
    described: Experiment,
    repeat: int,
    measures: Mapping[tuple[str, ...], float],
    *,
    study: str = "made-up",
    coordinates: Mapping[str, str] | None = None,
    warnings: tuple[tuple[str, str], ...] = (),
    seconds: float = 40.0,
    synthetic: bool = False,
    path: Path | None = None,
) -> Result:
    """Return a finished cell.

    Args:
        described: its description.
        repeat: counts from 0.
        measures: (target, threat[, generator[, metric]]) → value.
        study: its study.
        coordinates: along the study's axes.
        warnings: (severity, sentence) of the evaluation.
        seconds: of the federation.
        synthetic: whether the data is.
        path: of its folder; None: one of its own by description and repeat.
    """
    rows = tuple(
        row(*key[:2], value, generator=key[2] if len(key) > 2 else "", metric=key[3] if len(key) > 3 else "accuracy")
        for key, value in measures.items()
    )
    setting = setting_of(described)
    return Result(
        cell=Cell(study, coordinates or {}, repeat, described),
        setting=setting,
        measures=rows,
        evaluation={
            "compression": {"fp32_bytes": 160_000, "int8_bytes": 45_000, "size_reduction": 0.71875},
            "warnings": [{"severity": severity, "sentence": sentence} for severity, sentence in warnings],
            "credible": all(severity != "unreliable" for severity, _ in warnings),
            "attacked_records": 200,
            "test_records": 1000,
        },
        manifest={
            "seconds": {"federation": seconds, "evaluation": 20.0},
            "bytes": {"north": {"up": 500_000, "down": 500_000}, "south": {"up": 500_000, "down": 500_000}},
            "machine": {"cpu": "Example CPU", "cores": 2, "memory_gib": 7.8, "system": "Linux", "vnni": True},
            "commit": "50a1c7c3b1f5f0a9d7b1e2c3d4e5f60718293a4b",
            "results_version": 2,
            "versions": {"torch": "2.13.0", "flwr": "1.41.0", "opacus": "1.6.0"},
            "data": {
                "synthetic": synthetic,
                "counts": {"train": [400, 600], "public": [50, 50], "test": [500, 500]},
                "image_size": 32,
                "channels": 3,
            },
        },
        epsilon=setting.epsilon,
        path=path or Path("/runs/made-up") / f"{described.digest()}-{repeat}",
    )
