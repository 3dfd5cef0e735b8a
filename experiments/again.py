"""Attacking the model of a saved run once more, with any attack and budget."""

import time
from pathlib import Path
from typing import Any

import torch

from attacks.craft import craft, options
from common.config import Experiment, load
from common.data import SERVER_PARTS, Dataset, prepare
from common.errors import UserError
from common.folder import read_json
from common.loading import suggest
from common.section import Budget, Section, validated
from common.seeds import numpy_generator
from common.task import SCORES
from experiments.run import load_model
from experiments.store import check_version, find_run
from server.evaluator import calibration_images, sample
from server.int8 import compress
from server.marks import marks_of


class _Budgets(Section):
    eps: Budget
    step_size: Budget


def attack_run(
    path: Path,
    *,
    name: str,
    target: str,
    gradients: str | None,
    eps: str,
    step_size: str,
    steps: int,
    queries: int,
    records: int | None,
    seed: int,
) -> dict[str, Any]:
    """Attack one target of a saved run; nothing in its folder changes.

    Args:
        path: the run's folder.
        name: an attack, see ``attacks.craft.ATTACKS``.
        target: ``fp32`` or ``int8``, whose accuracy is told.
        gradients: ``fp32`` or ``twin``; None: the target's own (int8: its twin; a query attack asks int8 itself).
        eps, step_size: in [0, 1], also as ``"8/255"``.
        steps, queries, records, seed: how hard, on how many test images, from which random start.

    Raises:
        UserError: no such run, target, attack or budget; data that have changed since the run.
    """
    budgets = _budgets(eps, step_size)
    folder = find_run(path)
    check_version(folder)
    experiment = load(folder.experiment)
    dataset = prepare(experiment.data, needs=SERVER_PARTS)
    if dataset.checksum != read_json(folder.manifest)["data"]["checksum"]:
        raise UserError(f"{folder.path}: the images of {experiment.data.source} have changed since this run")
    source, scored = _models(experiment, dataset, load_model(folder, experiment, dataset), target, gradients, name)
    index = sample(dataset.test.strata, records, numpy_generator(seed, "attacked images"))
    attacked = dataset.test.records(index)
    started = time.monotonic()
    adversarial = craft(
        name,
        source[1],
        attacked.images,
        attacked.labels,
        eps=budgets.eps,
        step_size=budgets.step_size,
        steps=steps,
        queries=queries,
        seed=seed,
        title=f"{name} on {target}",
    )
    seconds = time.monotonic() - started
    before, after = (marks_of(scored, images, attacked.labels) for images in (attacked.images, adversarial))
    return {
        "attack": name,
        "target": target,
        "gradients": source[0],
        "eps": budgets.eps,
        "records": len(attacked),
        "score": SCORES[attacked.task],
        "seconds": seconds,
        "clean": (before.mean, *before.interval),
        "attacked": (after.mean, *after.interval),
    }


def _budgets(eps: str, step_size: str) -> _Budgets:
    return validated(_Budgets, {"eps": eps, "step_size": step_size}, "attack")


def _models(
    experiment: Experiment,
    dataset: Dataset,
    model: torch.nn.Module,
    target: str,
    gradients: str | None,
    name: str,
) -> tuple[tuple[str, torch.nn.Module], torch.nn.Module]:
    if target not in ("fp32", "int8"):
        raise UserError(f"--target {target}: unknown{suggest(target, ('fp32', 'int8'))}")
    if gradients not in (None, "fp32", "twin"):
        raise UserError(f"--gradients {gradients}: unknown{suggest(str(gradients), ('fp32', 'twin'))}")
    if target == "fp32" and gradients in (None, "fp32"):
        return ("fp32 gradients", model), model
    int8 = compress(model, calibration_images(experiment, dataset), experiment.compression)
    scored = model if target == "fp32" else int8.kernels
    if gradients == "fp32":
        return ("fp32 gradients", model), scored
    if gradients is None and "queries" in options(name):
        return ("queries", int8.kernels), scored
    return ("twin gradients", int8.twin), scored
