"""The work of a study, one piece at a time: train a federation, or evaluate a cell. Runs in a worker process."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from common.config import Experiment, parse_toml
from common.data import Dataset, prepare
from common.errors import UserError
from experiments.run import check, check_attacks, evaluate_run, generator_description, load_model, train
from experiments.study.plan import canonical
from server.adversarial_sets import AdversarialSets
from server.app import run_folder


@dataclass(frozen=True)
class Piece:
    """What a worker is asked to do, as plain data.

    Attributes:
        kind: ``train`` a federation, or ``evaluate`` a cell whose federations are trained.
        experiment: the resolved description, TOML.
        runs: where run folders are kept; a disk that all workers share.
    """

    kind: Literal["train", "evaluate"]
    experiment: str
    runs: str


def do(piece: Piece) -> None:
    """Do a piece of work; what has been done before is not done again, and another study's same work is waited for.

    Raises:
        UserError: a mistake in the description or the machine; finished rounds are kept.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    experiment, runs = parse_toml(piece.experiment, "the cell"), Path(piece.runs)
    dataset = prepare(experiment.data)
    if piece.kind == "train":
        if not run_folder(runs, experiment, dataset).model.exists():
            check(experiment, dataset)
        train(experiment, dataset, runs, "inprocess", wait=True)
        return
    check_attacks(experiment, len(dataset.classes))
    folder = train(experiment, dataset, runs, "inprocess", wait=True)
    evaluate_run(
        experiment,
        dataset,
        folder,
        _generators(experiment, runs),
        sets=AdversarialSets(runs / SETS),
        latencies=False,
        wait=True,
    )


SETS = ".sets"
"""The folder below the store where adversarial sets wait for further targets."""


def _generators(experiment: Experiment, runs: Path) -> dict[str, nn.Module]:
    """Return the models that craft the transfer attacks; the plan has had them trained."""
    if "transfer" not in experiment.evaluation.threats:
        return {}
    models: dict[str, nn.Module] = {}
    for generator in experiment.evaluation.generators:
        description = canonical(generator_description(generator, experiment))
        other: Dataset = prepare(description.data)
        folder = train(description, other, runs, "inprocess", wait=True)
        if not folder.model.exists():
            raise UserError(f"evaluation.generators: '{generator.name}' has not been trained; run the study again")
        models[generator.name] = load_model(folder, description, other)
    return models
