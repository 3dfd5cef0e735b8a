"""Running an experiment: data, federation, evaluation, report; each part is skipped where it has been done."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from flwr.serverapp import Grid
from torch import nn

import clients.app
from attacks.craft import check_task, find
from clients.holding import Holding
from clients.place import STATE_VARIABLE
from clients.rehearsal import plan_of, rehearse_client
from common.config import Experiment, load
from common.data import PARTS, SERVER_PARTS, Dataset, partition, prepare
from common.description import Generator
from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, read_lines, write_text
from common.loading import is_reference
from common.records import Task
from experiments.peer_federation import check_peers, federate_peers
from experiments.peer_scores import score_peers
from experiments.secure_federation import check_secure, federate_secure
from experiments.store import check_version, claimed, copy_federation, federation_claimed
from experiments.stored import finished_federation
from peers.order import planned
from server.adversarial_sets import AdversarialSets
from server.aggregation import check_rule
from server.app import run_folder, serve
from server.deployment import check_deployable
from server.evaluator import evaluate
from server.federation import initial_model
from server.manifest import DESCRIBED, close_manifest, open_manifest

RUNNERS = ("inprocess", "ray", "processes")
Work = Callable[[Grid, Mapping[int, str] | None], None]
"""The server's work, given a grid to the clients and, where keys tell them, the names of its nodes."""
Federate = Callable[[Experiment, Dataset, RunFolder, Work], None]
"""A way to run a federation: does the server's work over a grid of its own."""
LEAST_PUBLIC = 8
"""Images without which int8 cannot be calibrated."""


def run(experiment: Experiment, runs: Path, runner: str = "inprocess", federate: Federate | None = None) -> RunFolder:
    """Run an experiment to its report and return its folder; what has been done before is not done again.

    Args:
        experiment: the description.
        runs: where run folders are kept.
        runner: one of ``RUNNERS``, or a name for ``federate``.
        federate: for real hospitals, who decide for themselves and hold their own data; then nothing of theirs is
            rehearsed, and no generator is trained with them.

    Raises:
        UserError: a mistake in the description, the data or the machine; finished rounds are kept.
    """
    if federate is None and runner not in RUNNERS:
        raise UserError(f"--runner {runner}: choose one of {', '.join(RUNNERS)}")
    # What a round did is in rounds.jsonl; where others join, Flower would log each attempt with its key.
    logging.getLogger("flwr").setLevel(logging.CRITICAL if federate else logging.ERROR)
    if federate is not None and experiment.protocol != "server":
        raise UserError(
            f"protocol = '{experiment.protocol}' has no server that hospitals could join; start each peer with "
            "`psreval peer`"
        )
    dataset = prepare(experiment.data, needs=SERVER_PARTS if federate else PARTS)
    if federate:
        dataset = dataset.without_training()
    generators: dict[str, nn.Module] = {}
    if not run_folder(runs, experiment, dataset, runner).results.exists():
        check(experiment, dataset, rehearse=federate is None)
        generators = _generators(experiment, dataset, runs, None if federate else runner)
    folder = train(experiment, dataset, runs, runner, federate)
    evaluate_run(experiment, dataset, folder, generators, report=True)
    return folder


def evaluate_run(
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    generators: Mapping[str, nn.Module],
    *,
    sets: AdversarialSets | None = None,
    latencies: bool = True,
    report: bool = False,
    wait: bool = False,
) -> None:
    """Evaluate a run whose federation has ended; one that has been evaluated is left alone.

    Args:
        experiment: the description.
        dataset: its images.
        folder: the run, as ``train`` returns it.
        generators: models for the transfer threat, by name, which ``check_fits`` lets pass.
        sets, latencies: as for ``server.evaluator.evaluate``.
        report: draw the report and the model card, too, which takes seconds; ``psreval report`` does it later.
        wait: where another process works on this run, go on after it instead of refusing.

    Raises:
        UserError: another process works on this run, or ``evaluate``'s own.
    """
    with claimed(folder, wait=wait):
        check_version(folder)
        if experiment.protocol == "braintorrent" and not folder.peer_scores.exists():
            score_peers(experiment, dataset, folder)
        if not folder.results.exists():
            started = time.monotonic()
            evaluate(experiment, dataset, folder, generators, sets=sets, latencies=latencies)
            close_manifest(folder, evaluation=time.monotonic() - started)
        elif "evaluation" not in read_json(folder.manifest)["seconds"]:  # killed between the two lines above
            close_manifest(folder, evaluation=read_json(folder.evaluation)["seconds"])
        if report:
            from experiments.model_card import write_model_card  # here and not above: drawing takes a second to import
            from experiments.report import write_report

            write_report(folder)
            write_model_card(folder)


def check(experiment: Experiment, dataset: Dataset, *, rehearse: bool = True) -> None:
    """Build everything that the description names once, before hours are spent on half of it.

    With ``rehearse`` also each client's strategy on some of its records.

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
    {"server": check_rule, "braintorrent": check_peers, "secure": check_secure}[experiment.protocol](experiment)
    updates = planned(experiment) if experiment.protocol == "braintorrent" else [None] * len(experiment.roster())
    model = initial_model(experiment, dataset)
    check_deployable(model, (dataset.channels, dataset.image_size, dataset.image_size))
    check_attacks(experiment, len(dataset.classes), dataset.task)
    if not rehearse:
        return
    shares = partition(dataset.train.strata, len(experiment.roster()), experiment.data)
    for number, (client, share) in enumerate(zip(experiment.roster(), shares, strict=True)):
        plan = plan_of(experiment, client, len(share), updates[number])
        rehearse_client(experiment, client, number, Holding(dataset, share), model, plan)


def check_attacks(experiment: Experiment, classes: int, task: Task = "classification") -> None:
    """Refuse attacks that the threats cannot be scored with. Raises UserError."""
    for field, names, gradients in (
        ("evaluation.attacks", experiment.evaluation.attacks, True),
        ("evaluation.query_attacks", experiment.evaluation.query_attacks, False),
    ):
        for name in names:
            method = find(name)
            check_task(name, method, task)
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


def train(
    experiment: Experiment,
    dataset: Dataset,
    runs: Path,
    runner: str,
    federate: Federate | None = None,
    *,
    wait: bool = False,
) -> RunFolder:
    """Run or resume the federation alone; one that is in the store already is taken from there.

    With ``wait``, another process that works on this run, or trains this federation for another run, is waited for;
    else the first is an error, and the second is not noticed.
    """
    folder = run_folder(runs, experiment, dataset, runner)
    wanted = experiment.digest(dataset.checksum, federation_only=True, hospitals=runner not in DESCRIBED)
    with claimed(folder, wait=wait):
        check_version(folder)
        if folder.model.exists():
            _close_federation(experiment, folder)
            return folder
        with federation_claimed(runs, wanted, wait=wait):
            same = finished_federation(runs, wanted, folder)
            if same is not None:
                write_text(folder.experiment, experiment.to_toml())
                open_manifest(experiment, dataset, folder, runner, federation_from=str(same.path))
                if copy_federation(same, folder):
                    return folder
            if experiment.protocol != "server":
                federate_without_server = federate_secure if experiment.protocol == "secure" else federate_peers
                federate_without_server(experiment, dataset, folder, runner)
                return folder
            with _client_state(folder):
                work = partial(_serve, experiment=experiment, dataset=dataset, folder=folder, runner=runner)
                (federate or _RUNNERS[runner])(experiment, dataset, folder, work)
    return folder


def _close_federation(experiment: Experiment, folder: RunFolder) -> None:
    """Make up for what a process left undone that was killed after it wrote the model."""
    told = read_json(folder.manifest)
    if "federation" not in told["seconds"] and "federation_from" not in told:
        close_manifest(folder, federation=sum(line.get("seconds") or 0.0 for line in read_lines(folder.rounds)))
    if experiment.protocol == "secure":
        from experiments.secure_processes import keep_public_keys

        keep_public_keys(folder)


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


def _serve(
    grid: Grid,
    identities: Mapping[int, str] | None,
    *,
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    runner: str,
) -> None:
    serve(grid, experiment, dataset, folder, runner, identities)


def _in_process(experiment: Experiment, dataset: Dataset, folder: RunFolder, work: Work) -> None:
    from experiments.inprocess import InProcessGrid

    work(InProcessGrid(clients.app.app, len(experiment.roster())), None)


def _on_ray(experiment: Experiment, dataset: Dataset, folder: RunFolder, work: Work) -> None:
    from experiments.ray import simulate

    weights = sum(array.nbytes for array in initial_model(experiment, dataset).state_dict().values())
    simulate(clients.app.app, len(experiment.roster()), lambda grid: work(grid, None), weights=weights)


def _in_processes(experiment: Experiment, dataset: Dataset, folder: RunFolder, work: Work) -> None:
    from experiments.processes import simulate

    simulate(experiment, dataset, folder, work)


_RUNNERS: dict[str, Federate] = {"inprocess": _in_process, "ray": _on_ray, "processes": _in_processes}


def _generators(experiment: Experiment, dataset: Dataset, runs: Path, runner: str | None) -> dict[str, nn.Module]:
    """Train, or find in the store, the federations whose models craft transfer attacks; without a runner only find."""
    if "transfer" not in experiment.evaluation.threats:
        return {}
    if not experiment.evaluation.generators:
        raise UserError(
            "evaluation.generators: the transfer threat needs at least one, for example "
            '[[evaluation.generators]] name = "other" changes = { seed = 2 }'
        )
    models: dict[str, nn.Module] = {}
    for generator in experiment.evaluation.generators:
        description = generator_description(generator, experiment)
        other = prepare(description.data, needs=PARTS if runner else SERVER_PARTS)
        check_fits(generator, description, other, experiment, dataset)
        if description.digest(other.checksum, federation_only=True) == experiment.digest(
            dataset.checksum, federation_only=True
        ):
            raise UserError(
                f"evaluation.generators: '{generator.name}' is the attacked model itself; change its seed, its privacy "
                "or its clients"
            )
        if runner is None and not run_folder(runs, description, other).model.exists():
            raise UserError(
                f"evaluation.generators: '{generator.name}' is not in {runs}, and real hospitals are not asked to "
                "train it; put a finished run of it there, or leave out the transfer threat"
            )
        folder = train(description, other, runs, runner or "inprocess")
        models[generator.name] = load_model(folder, description, other)
    return models


def generator_description(generator: Generator, experiment: Experiment) -> Experiment:
    """Return the description of a federation whose model crafts transfer attacks against ``experiment``.

    Raises:
        UserError: its file is missing or malformed, or a change does not fit.
    """
    base = load(generator.experiment) if generator.experiment else experiment
    return base.change({"evaluation.generators": [], "evaluation.threats": ["white-box"], **generator.changes})


def check_fits(
    generator: Generator, description: Experiment, other: Dataset, experiment: Experiment, dataset: Dataset
) -> None:
    """Refuse a generator of another network, or for other images.

    Args:
        generator: as the attacked experiment names it.
        description, other: the generator's federation and its images.
        experiment, dataset: those under attack.

    Raises:
        UserError: model, channels, image size or classes differ.
    """
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
    before = os.environ.get(STATE_VARIABLE)
    os.environ[STATE_VARIABLE] = str(folder.clients)
    try:
        yield
    finally:
        if before is None:
            del os.environ[STATE_VARIABLE]
        else:
            os.environ[STATE_VARIABLE] = before
