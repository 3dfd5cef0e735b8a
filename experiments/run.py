"""Running an experiment: data, federation, evaluation, report; each part is skipped where it has been done."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import nn

import clients.app
from attacks.craft import find
from common.config import Experiment, Generator, load
from common.data import Dataset, partition, prepare
from common.errors import UserError
from common.folder import RunFolder, read_arrays, write_text
from common.loading import is_reference
from experiments.model_card import write_model_card
from experiments.report import write_report
from experiments.store import check_version, claimed, copy_federation, finished_federation
from server.aggregation import build_strategy as build_aggregation
from server.app import run_folder, serve
from server.deployment import check_deployable
from server.evaluator import evaluate
from server.federation import initial_model
from server.manifest import close_manifest, open_manifest

RUNNERS = ("inprocess", "ray")
LEAST_PUBLIC = 8
"""Images without which int8 cannot be calibrated."""


def run(experiment: Experiment, runs: Path, runner: str = "inprocess") -> RunFolder:
    """Run an experiment to its report and return its folder; what has been done before is not done again.

    Raises:
        UserError: a mistake in the description, the data or the machine; finished rounds are kept.
    """
    if runner not in RUNNERS:
        raise UserError(f"--runner {runner}: choose one of {', '.join(RUNNERS)}")
    logging.getLogger("flwr").setLevel(logging.ERROR)  # what a round did is in rounds.jsonl
    dataset = prepare(experiment.data)
    generators: dict[str, nn.Module] = {}
    if not run_folder(runs, experiment, dataset).results.exists():
        check(experiment, dataset)
        generators = _generators(experiment, dataset, runs, runner)
    folder = train(experiment, dataset, runs, runner)
    with claimed(folder):
        if not folder.results.exists():
            started = time.monotonic()
            evaluate(experiment, dataset, folder, generators)
            close_manifest(folder, evaluation=time.monotonic() - started)
        write_report(folder)
        write_model_card(folder)
    return folder


def check(experiment: Experiment, dataset: Dataset) -> None:
    """Build everything that the description names once, before hours are spent on half of it.

    Raises:
        UserError: an unknown strategy, option, attack, rule or model, an unreachable ε, too few images.
    """
    if len(dataset.public) < LEAST_PUBLIC:
        raise UserError(
            f"data: the public split has {len(dataset.public)} images, too few to calibrate int8; give it at least "
            f"{LEAST_PUBLIC} (data.public_records, data.public_fraction)"
        )
    if experiment.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device = 'cuda': this machine's torch sees no GPU; set device = 'cpu' or 'auto'")
    build_aggregation(experiment.federation.aggregation, experiment.federation.aggregation_options)
    model = initial_model(experiment, dataset)
    check_deployable(model, (dataset.channels, dataset.image_size, dataset.image_size))
    check_attacks(experiment, len(dataset.classes))
    shares = partition(dataset.train.labels, len(experiment.roster()), experiment.data)
    for number, (client, share) in enumerate(zip(experiment.roster(), shares, strict=True)):
        clients.app.rehearse_client(experiment, client, number, dataset, share, model)


def check_attacks(experiment: Experiment, classes: int) -> None:
    """Refuse attacks that the threats cannot be scored with. Raises UserError."""
    for field, names, gradients in (
        ("evaluation.attacks", experiment.evaluation.attacks, True),
        ("evaluation.query_attacks", experiment.evaluation.query_attacks, False),
    ):
        for name in names:
            method = find(name)
            if method.norm != "linf":
                norm = f"its budget is in the {method.norm} norm" if method.norm else "it knows no budget"
                raise UserError(
                    f"{field}: '{name}' cannot be compared within eps, since {norm}; try it with `psreval attack`"
                )
            if not gradients and method.gradients and not is_reference(name):
                raise UserError(f"{field}: '{name}' needs gradients; name it in evaluation.attacks, or use 'square'")
            if method.least_classes > classes:
                raise UserError(
                    f"{field}: '{name}' needs {method.least_classes} classes or more; the data have {classes}"
                )


def train(experiment: Experiment, dataset: Dataset, runs: Path, runner: str) -> RunFolder:
    """Run or resume the federation alone; one that is in the store already is taken from there."""
    folder = run_folder(runs, experiment, dataset)
    with claimed(folder):
        check_version(folder)
        if folder.model.exists():
            return folder
        same = finished_federation(runs, experiment.digest(dataset.checksum, federation_only=True), folder)
        if same is not None:
            write_text(folder.experiment, experiment.to_toml())
            open_manifest(experiment, dataset, folder, runner, federation_from=str(same.path))
            copy_federation(same, folder)
            return folder
        with _client_state(folder):
            _federate(experiment, dataset, folder, runner)
    return folder


def load_model(folder: RunFolder, experiment: Experiment, dataset: Dataset) -> nn.Module:
    """Return the final global model of a run. Raises UserError if there is none, or it is not whole."""
    if not folder.model.exists():
        raise UserError(f"{folder.path} has no model yet; `psreval run {folder.experiment}` resumes it")
    model = initial_model(experiment, dataset)
    arrays = read_arrays(folder.model)
    try:
        model.load_state_dict(arrays)
    except RuntimeError as error:
        raise UserError(f"{folder.model} is not this experiment's model: {str(error).splitlines()[0]}") from None
    return model.eval()


def _federate(experiment: Experiment, dataset: Dataset, folder: RunFolder, runner: str) -> None:
    clients_count = len(experiment.roster())
    work = partial(serve, experiment=experiment, dataset=dataset, folder=folder, runner=runner)
    if runner == "ray":
        from experiments.ray import simulate

        simulate(clients.app.app, clients_count, work)
    else:
        from experiments.inprocess import InProcessGrid

        work(InProcessGrid(clients.app.app, clients_count))


def _generators(experiment: Experiment, dataset: Dataset, runs: Path, runner: str) -> dict[str, nn.Module]:
    """Train, or find in the store, the federations whose models craft transfer attacks."""
    if "transfer" not in experiment.evaluation.threats:
        return {}
    if not experiment.evaluation.generators:
        raise UserError(
            "evaluation.generators: the transfer threat needs at least one, for example "
            '[[evaluation.generators]] name = "twin" changes = { seed = 2 }'
        )
    models: dict[str, nn.Module] = {}
    for generator in experiment.evaluation.generators:
        description = _generator_description(generator, experiment)
        other = prepare(description.data)
        _check_fits(generator, description, other, experiment, dataset)
        if description.digest(other.checksum, federation_only=True) == experiment.digest(
            dataset.checksum, federation_only=True
        ):
            raise UserError(
                f"evaluation.generators: '{generator.name}' is the attacked model itself; change its seed, its privacy "
                "or its clients"
            )
        folder = train(description, other, runs, runner)
        models[generator.name] = load_model(folder, description, other)
    return models


def _generator_description(generator: Generator, experiment: Experiment) -> Experiment:
    base = load(generator.experiment) if generator.experiment else experiment
    return base.change({"evaluation.generators": [], "evaluation.threats": ["white-box"], **generator.changes})


def _check_fits(
    generator: Generator, description: Experiment, other: Dataset, experiment: Experiment, dataset: Dataset
) -> None:
    mine = (experiment.model, dataset.channels, dataset.image_size, dataset.classes)
    theirs = (description.model, other.channels, other.image_size, other.classes)
    if mine != theirs:
        raise UserError(
            f"evaluation.generators: '{generator.name}' does not fit: model, channels, image size and classes must be "
            "those of the attacked model"
        )


@contextmanager
def _client_state(folder: RunFolder) -> Iterator[None]:
    """Tell this machine's clients where to keep their ledgers."""
    before = os.environ.get(clients.app.STATE_VARIABLE)
    os.environ[clients.app.STATE_VARIABLE] = str(folder.clients)
    try:
        yield
    finally:
        if before is None:
            del os.environ[clients.app.STATE_VARIABLE]
        else:
            os.environ[clients.app.STATE_VARIABLE] = before
