"""What a peer makes of the end of a run, if its file says so: the usual run folder, evaluated, with its report.

There is no server that saw everything. A peer pulls the models that can still be had, and asks the others what became
of their turns; who does not answer is missing in the report, and the aggregated model is made without it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from common.config import Experiment
from common.data import SERVER_PARTS, Dataset, prepare
from common.errors import UserError
from common.exchange import arrays_of
from common.folder import RunFolder, write_text
from experiments.peer_account import Account
from experiments.peer_federation import score_models, write_lines, write_outcome
from experiments.peer_file import AgreementFile, PeerFile
from experiments.peer_rounds import Scores, round_line, updates_in_order, updates_of_round
from experiments.run import check, evaluate_run
from experiments.store import claimed
from peers.agreement import Images
from peers.state import State, first_state
from peers.wire import Parcel
from server.app import run_folder
from server.federation import initial_model
from server.manifest import close_manifest, open_manifest

RUNNER = "peers"
"""What manifests call a federation of peers each of which decides for itself."""


@dataclass(frozen=True)
class Place:
    """Where a peer evaluates a run.

    Attributes:
        experiment: the description that all agreed on, with this peer's public and test images.
        dataset: those images; the training split is empty.
        folder: the run's.
    """

    experiment: Experiment
    dataset: Dataset
    folder: RunFolder


def evaluation_place(file: PeerFile, agreed: AgreementFile) -> Place | None:
    """Return where a peer is to evaluate; None: its file does not ask for it.

    Raises:
        UserError: images that are not those that all agreed on, or a description that cannot be evaluated.
    """
    if file.peer.evaluation is None:
        return None
    experiment = agreed.experiment.model_copy(update={"data": file.peer.evaluation})
    dataset = prepare(experiment.data, needs=SERVER_PARTS).without_training()
    if Images.of(dataset) != agreed.images:
        raise UserError(
            "peer.evaluation: its images are not like those that all agreed on, or its public images are others than "
            "those that the agreement's mean and std were taken from; give this peer those, or agree anew"
        )
    place = Place(experiment, dataset, run_folder(file.peer.runs, experiment, dataset, RUNNER))
    if not place.folder.results.exists():
        check(experiment, dataset, rehearse=False)
    return place


def write_federation(place: Place, parcels: Mapping[str, Parcel], accounts: Mapping[str, Account], run: str) -> None:
    """Write what the federation left, as far as it can be had.

    Only the models' last scores are known, and the rounds before have none: no peer gives away its former models.

    Args:
        place: where to.
        parcels: peer → its model, of those that could be had.
        accounts: peer → what it told of its turns, likewise.
        run: digest of what all have agreed on.

    Raises:
        UserError: no other peer's model could be had, or a full disk.
    """
    experiment, dataset, folder = place.experiment, place.dataset, place.folder
    started = time.monotonic()
    if len(parcels) < 2:
        raise UserError(
            "peers: at the end no other peer's model could be had, so there is no federation's to evaluate; start this "
            "peer again when the others are there"
        )
    model = initial_model(experiment, dataset)
    names = [str(client.name) for client in experiment.roster()]
    states = [_state(name, run, arrays_of(model), parcels.get(name), accounts.get(name)) for name in names]
    facts = [_facts(name, number, parcels.get(name), accounts.get(name)) for number, name in enumerate(names)]
    together = [parcels[name] for name in names if name in parcels]
    with claimed(folder):
        write_text(folder.experiment, experiment.to_toml())
        open_manifest(experiment, dataset, folder, RUNNER)
        updates = updates_in_order(line for state in states for line in state.lines)
        scores = score_models(experiment, dataset, model, together, states)
        numbers = range(1, experiment.federation.rounds + 1)
        lines = [_round(number, experiment, updates, scores) for number in numbers]
        lines = [_without_scores(line) for line in lines[:-1]] + lines[-1:]
        write_lines(folder.rounds, lines)
        write_outcome(experiment, dataset, folder, states, together, facts)
        seconds = sum(line["seconds"] for state in states for line in state.lines)
        close_manifest(folder, federation=seconds + time.monotonic() - started)


def evaluate_place(place: Place) -> RunFolder:
    """Compress, attack and score the aggregated model, draw the report, return the run's folder. Raises UserError."""
    evaluate_run(place.experiment, place.dataset, place.folder, {}, report=True)
    return place.folder


def _state(name: str, run: str, initial: dict[str, Tensor], parcel: Parcel | None, account: Account | None) -> State:
    """Return as much of a peer's state as it told: its model as others get it, its ledger and its lines."""
    state = first_state(name, run, initial)
    if parcel is not None:
        state = replace(state, version=parcel.version, arrays=parcel.arrays)
    if account is not None:
        lines = tuple(line.model_dump(mode="json") for line in account.lines)
        state = replace(state, turns=len(lines), ledger=account.ledger, lines=lines)
    return state


def _facts(name: str, number: int, parcel: Parcel | None, account: Account | None) -> dict[str, Any]:
    if account is not None:
        return account.facts.model_dump()
    return {
        "name": name,
        "number": number,
        "strategy": "unknown",
        "honest": False,
        "private": False,
        "records": parcel.records if parcel else 0,
        "accountant": None,
        "delta": None,
    }


def _round(number: int, experiment: Experiment, updates: Sequence[Mapping[str, Any]], scores: Scores) -> dict[str, Any]:
    """Return a round's line; nobody measured how long it took, so it has the seconds of its local updates, summed."""
    its = updates_of_round(number, updates, len(experiment.roster()))
    return round_line(number, experiment, updates, scores, sum(line["seconds"] for line in its))


def _without_scores(line: dict[str, Any]) -> dict[str, Any]:
    clients = [client | {"accuracy": None} for client in line["clients"]]
    return line | {"status": "aggregated", "reason": "", "accuracy": None, "clients": clients}
