"""Finished cells with made-up numbers: what is written into them is what a figure must show."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from common.config import Experiment
from experiments.study.grid import Cell
from experiments.study.results import Result
from experiments.study.setting import Setting
from server.measures import Measure, measure

BUDGET = (8 / 255, 2 / 255, 10)
SETTING = Setting("CIFAR-10", "ResNet-9", None, "none", None, None, 8 / 255)
Accuracies = Mapping[tuple[str, ...], float]
"""(target, threat), or (target, threat, generator, attack), → accuracy."""


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """Return a function that makes one finished cell; keywords as in ``finished``."""
    return finished


@pytest.fixture
def study_results() -> Callable[..., list[Result]]:
    """Return a function that makes the cells of a whole study in which everything was measured."""
    return whole_study


def finished(
    setting: Setting = SETTING,
    *,
    repeat: int = 0,
    accuracies: Accuracies | None = None,
    coordinates: Mapping[str, str] | None = None,
    study: str = "made-up",
    epsilon: float | None = None,
    clean: int = 500,
    attacked: int = 200,
    manifest: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Result:
    """Return a cell that holds these accuracies and nothing else; ``changes`` are of its description."""
    rows = accuracies if accuracies is not None else {("fp32", "clean"): 0.8, ("int8", "clean"): 0.79}
    compression = {"fp32_bytes": 9_758_000, "int8_bytes": 2_498_000, "size_reduction": 0.744}
    seconds = {"federation": 41.3 + repeat, "evaluation": 22.9}
    sent = {name: {"up": 7_330_000, "down": 7_331_000} for name in ("north", "south")}
    return Result(
        cell=Cell(study, coordinates or {}, repeat, Experiment(seed=repeat + 1).change(changes or {})),
        setting=setting,
        measures=tuple(measures(rows, clean, attacked)),
        evaluation={"compression": compression, "warnings": []} if evaluation is None else evaluation,
        manifest={"seconds": seconds, "bytes": sent} if manifest is None else manifest,
        epsilon=setting.epsilon if epsilon is None else epsilon,
        path=Path("/nowhere/runs/made-up") / f"{repeat:016x}",
    )


def measures(accuracies: Accuracies, clean: int = 500, attacked: int = 200) -> Iterable[Measure]:
    """Return rows as the evaluator writes them; among the images right before, an attack took what is missing."""
    for key, value in accuracies.items():
        target, threat, generator, attack = (*key, "", "worst")[:4] if len(key) < 4 else key
        if threat == "clean":
            yield _row(target, "clean", "none", "", "accuracy", value, clean)
            continue
        before = accuracies.get((target, "clean"), 1.0)
        yield _row(target, threat, attack, generator, "accuracy", value, attacked)
        if before > 0:
            success = min(1.0, max(0.0, 1 - value / before))
            yield _row(target, threat, attack, generator, "attack_success", success, round(before * attacked))


def _row(target: str, threat: str, attack: str, generator: str, metric: str, value: float, n: int) -> Measure:
    told = {"generator": generator, "budget": (0.0, 0.0, 0) if threat == "clean" else BUDGET}
    one = measure(target, threat, attack, metric, value, n, **told)
    return Measure(**{**vars(one), "repeat": None})


def whole_study(
    *,
    data: Iterable[str] = ("CIFAR-10",),
    models: Iterable[str] = ("ResNet-9",),
    epsilons: Iterable[float | None] = (None, 1.7),
    uses: Iterable[str] = ("none",),
    attacks: Iterable[str] = ("fgsm", "pgd", "fab"),
    shares: Iterable[float] = (0.1, 0.2, 0.3, 0.4),
    budgets: Iterable[float] = (8 / 255,),
    repeats: int = 3,
) -> list[Result]:
    """Return every cell of a grid, with accuracies that fall with privacy, share and budget, and scatter a little."""
    settings = [
        Setting(images, model, epsilon, use, attack, share, budget)
        for images in data
        for model in models
        for epsilon in epsilons
        for use in uses
        for attack in (attacks if use != "none" else (None,))
        for share in (shares if use != "none" else (None,))
        for budget in budgets
    ]
    return [
        finished(setting, repeat=repeat, accuracies=plausible(setting, repeat),
                 coordinates={axis: str(value) for axis, value in vars(setting).items()})
        for setting in settings
        for repeat in range(repeats)
    ]  # fmt: skip


def plausible(setting: Setting, repeat: int) -> dict[tuple[str, ...], float]:
    """Return accuracies under every threat; the same for the same setting and repeat, always."""

    def scatter(name: str, width: float) -> float:
        digest = hashlib.sha256(repr((setting, repeat, name)).encode()).digest()
        return width * (digest[0] / 255 - 0.5)

    share = setting.share or 0.0
    clean = 0.82 - (0.22 if setting.epsilon else 0.0) - 0.25 * share
    guard = 0.25 * (setting.use == "adversarial training") * min(1.0, share / 0.2)
    harm = min(1.0, setting.budget * 255 / 8)
    found: dict[tuple[str, ...], float] = {}
    for target, lift in (("fp32", 0.0), ("int8", 0.01)):
        before = clean + scatter(target, 0.04)
        left = {"white-box": 0.05, "insider": 0.1, "transfer": 0.32, "query": 0.4}
        found[target, "clean"] = before
        for threat, base in left.items():
            if (target, threat) == ("fp32", "insider"):
                continue
            for generator in ("private", "non-private") if threat == "transfer" else ("",):
                near = 0.1 if generator == ("private" if setting.epsilon else "non-private") else 0.0
                value = before - harm * (before - min(before, base - near + guard + lift))
                for attack in ("square",) if threat == "query" else ("fgsm", "pgd", "worst"):
                    more = {"fgsm": 0.07, "worst": -0.01}.get(attack, 0.0) * harm
                    place = {"white-box": "fp32", "insider": "fp32", "query": ""}.get(threat, generator)
                    place = "" if attack == "worst" and threat != "transfer" else place
                    number = value + more + scatter(f"{target}{threat}{generator}{attack}", 0.06)
                    found[target, threat, place, attack] = min(before, max(0.0, number))
        found[target, "all", "", "worst"] = min(value for key, value in found.items()
                                                if key[0] == target and key[1] != "clean")  # fmt: skip
    return found
