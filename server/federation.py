"""The federation: rounds of FedAvg or another rule, with checks in front and a checkpoint after each."""

import secrets
import time
from collections.abc import Callable, Mapping

from flwr.serverapp import Grid
from torch import nn

from common.config import Experiment
from common.data import Dataset, normalisation
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.folder import RunFolder, write_arrays, write_json
from common.models import build
from common.progress import note, track
from common.seeds import derive
from server.aggregation import build_strategy
from server.hall import Hall
from server.layout import lay_out
from server.ledgers import ledger_table
from server.lines import summary, why
from server.progress import Progress
from server.roster import Attendance
from server.round import run_round


def initial_model(experiment: Experiment, dataset: Dataset) -> nn.Module:
    """Return the model that round 1 starts from: seeded weights, normalisation from the public split."""
    mean, std = normalisation(dataset.public)
    return build(
        experiment.model,
        dataset.channels,
        len(dataset.classes),
        mean,
        std,
        seed=derive(experiment.seed, "initial weights"),
        image_size=dataset.image_size,
        task=dataset.task,
    )


def run_federation(
    grid: Grid,
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    *,
    identities: Mapping[int, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Run or resume all rounds; afterwards the folder holds the model, the rounds and the ledgers.

    Args:
        grid: the way to the clients.
        experiment: the description.
        dataset: the server's data; its training split may be empty, where the clients bring their own.
        folder: the run's.
        identities: node id → the name that its key belongs to; None: keys are not known, any name is believed.
        clock, sleep: how time passes, in seconds; tests have a faster one.

    Raises:
        UserError: too few clients, too many skipped rounds in a row, none aggregated, or a full disk; finished rounds
            are kept.
    """
    strategy = build_strategy(experiment.federation.aggregation, experiment.federation.aggregation_options)
    model = initial_model(experiment, dataset)
    progress = Progress.load(folder) or Progress(0, arrays_of(model))
    lay_out(model, (dataset.channels, dataset.image_size, dataset.image_size))
    run = secrets.token_hex(8)
    attendance = Attendance(grid, experiment, dataset, run, identities=identities, clock=clock, sleep=sleep)
    hall = Hall(folder, grid, strategy, attendance, experiment, dataset, model, run)
    rounds = range(progress.round + 1, experiment.federation.rounds + 1)
    if rounds:
        attendance.assemble(progress.round, progress.excluded)
    for number in track(rounds, "federation rounds", len(rounds)):
        started = time.monotonic()
        line = run_round(number, hall, progress)
        line["seconds"] = round(time.monotonic() - started, 3)
        progress.round = number
        progress.rounds.append(line)
        progress.save(folder)
        note(summary(line, experiment.federation.rounds))
        if line["status"] == "skipped" and progress.skipped_in_a_row() > experiment.federation.skipped_rounds_limit:
            limit = experiment.federation.skipped_rounds_limit
            raise UserError(
                f"federation.skipped_rounds_limit = {limit}: more rounds than that were skipped in a row, {why(line)}"
            )
    if all(line["status"] == "skipped" for line in progress.rounds):
        last = why(progress.rounds[-1])
        raise UserError(
            f"federation: no round was aggregated, so there is no model; the last was skipped, {last}; change the "
            "description for another run"
        )
    load_arrays(model, progress.arrays)
    progress.write_rounds(folder)
    write_json(folder.ledger, ledger_table(progress))
    write_arrays(folder.model, model.state_dict())
    folder.checkpoint.unlink(missing_ok=True)
