"""A federation without a server, from its description to the same run folder as one with a server."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from clients.holding import simulated_holding
from clients.image_facts import image_facts
from clients.learner import Learner, simulated_learner
from common.config import Experiment
from common.data import Dataset
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.folder import RunFolder, read_lines, write_arrays, write_json, write_text
from common.progress import note
from common.threads import torch_threads
from experiments.peer_rounds import Scores, round_line, summary, updates_in_order
from peers.merge import aggregated, check_merge
from peers.order import planned
from peers.peer import Peer
from peers.simulation import LearnAll, collect, simulate
from peers.state import State
from peers.wire import Parcel
from server.federation import initial_model
from server.layout import lay_out
from server.ledgers import ledger_table
from server.lines import told_score
from server.manifest import close_manifest, open_manifest
from server.marks import Marks, marks_of
from server.progress import Progress

Federate = Callable[[Experiment, Dataset, RunFolder], None]
"""A way to let the peers of a run take their turns; afterwards the folder holds model, rounds and ledgers."""


def check_peers(experiment: Experiment) -> None:
    """Refuse what no federation of peers could do, before hours are spent. Raises UserError."""
    check_merge(experiment)


def federate_peers(experiment: Experiment, dataset: Dataset, folder: RunFolder, runner: str) -> None:
    """Run or resume a federation without a server.

    Raises:
        UserError: a runner that peers do not have, a mistake in the description or the machine; finished local updates
            are kept.
    """
    check_peers(experiment)  # a generator of transfer attacks comes here unchecked
    if runner not in RUNNERS:
        raise UserError(
            f"--runner {runner}: protocol = '{experiment.protocol}' runs with {', '.join(RUNNERS)}; choose one of them"
        )
    started = time.monotonic()
    write_text(folder.experiment, experiment.to_toml())
    open_manifest(experiment, dataset, folder, runner)
    RUNNERS[runner](experiment, dataset, folder)
    close_manifest(folder, federation=time.monotonic() - started)


def learners_of(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> list[Learner]:
    """Return who trains for each peer of a simulation, in the roster's order; each has said how it takes part.

    Raises:
        UserError: a mistake in what the description says of a peer.
    """
    images, updates = image_facts(dataset), planned(experiment)
    learners = [
        simulated_learner(experiment, number, simulated_holding(experiment, number), images, folder.clients, count)
        for number, count in enumerate(updates)
    ]
    for learner in learners:
        learner.introduce()
    return learners


def run_simulation(
    experiment: Experiment, dataset: Dataset, folder: RunFolder, learners: Sequence[Learner], learn_all: LearnAll
) -> None:
    """Run or resume all rounds in this process, with the trainings carried out by ``learn_all``.

    Args:
        experiment, dataset, folder: the description, its images, the run's folder.
        learners: as ``learners_of`` returns them; here only asked how they take part.
        learn_all: how the trainings of one wave are carried out.

    Raises:
        UserError: no peer has a model in the end, or a full disk; finished local updates are kept.
    """
    model = initial_model(experiment, dataset)
    peers = peers_of(experiment, dataset, folder, model)
    lay_out(model, (dataset.channels, dataset.image_size, dataset.image_size))
    written = list(read_lines(folder.rounds))
    last = time.monotonic()

    def after_round(number: int) -> None:
        nonlocal last
        if number <= len(written):  # an earlier process has
            return
        updates = updates_in_order(line for peer in peers for line in peer.state.lines)
        scores = score(experiment, dataset, model, peers)
        written.append(round_line(number, experiment, updates, scores, time.monotonic() - last))
        write_lines(folder.updates, updates)
        write_lines(folder.rounds, written)
        note(summary(written[-1], experiment.federation.rounds))
        last = time.monotonic()

    simulate(peers, experiment, learn_all, after_round)
    parcels = list(collect(experiment, peers[0].run, peers).values())
    states, facts = [peer.state for peer in peers], [facts_of(learner) for learner in learners]
    write_outcome(experiment, dataset, folder, states, parcels, facts)


def peers_of(experiment: Experiment, dataset: Dataset, folder: RunFolder, model: nn.Module) -> list[Peer]:
    """Return a run's peers, each at its last finished turn; all start from ``model``'s weights. Raises UserError."""
    run, initial = experiment.digest(dataset.checksum, federation_only=True), arrays_of(model)
    return [
        Peer(experiment, number, initial=initial, run=run, folder=folder.peers / str(client.name))
        for number, client in enumerate(experiment.roster())
    ]


def score(experiment: Experiment, dataset: Dataset, model: nn.Module, peers: Sequence[Peer]) -> Scores:
    """Return how good the aggregated model and each peer's own model are on the public split."""
    parcels = list(collect(experiment, peers[0].run, peers).values())
    return score_models(experiment, dataset, model, parcels, [peer.state for peer in peers])


def score_models(
    experiment: Experiment, dataset: Dataset, model: nn.Module, parcels: Sequence[Parcel], states: Sequence[State]
) -> Scores:
    """Return the same, of models that have been collected already; ``states`` hold each peer's own."""
    with torch_threads(experiment.federation.threads):
        together = told_score(_marks(model, aggregated(parcels, experiment), dataset)) if parcels else None
        own = {state.name: _marks(model, state.arrays, dataset).mean if state.version else None for state in states}
    return Scores(together, own, len(dataset.public))


def write_outcome(
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    states: Sequence[State],
    parcels: Sequence[Parcel],
    facts: Sequence[Mapping[str, Any]],
) -> None:
    """Write what a federation without a server leaves: all that one with a server does, and each peer's own model.

    Args:
        experiment, dataset, folder: as for ``run_simulation``.
        states: of all peers at the end, in the roster's order.
        parcels: every model that can be had, likewise: what is aggregated.
        facts: what each peer is (``facts_of``), likewise.

    Raises:
        UserError: there is no model, or a full disk.
    """
    if not parcels:
        failed = [line for state in states for line in state.lines if line["failed"]]
        why = f"; {failed[-1]['peer']}: {failed[-1]['failed']}" if failed else ""
        raise UserError(f"peers: no peer's model can be had, so there is none to evaluate{why}; change the description")
    model = initial_model(experiment, dataset)
    for state in states:
        if state.version:  # one that never trained, or that cannot be reached any more, has no model of its own
            load_arrays(model, state.arrays)
            write_arrays(folder.peer_model(state.name), model.state_dict())
    write_lines(folder.updates, updates_in_order(line for state in states for line in state.lines))
    write_json(folder.ledger, ledgers_of(facts, states))
    load_arrays(model, aggregated(parcels, experiment))
    write_arrays(folder.model, model.state_dict())  # last: its presence says that the federation has ended


def ledgers_of(facts: Sequence[Mapping[str, Any]], states: Sequence[State]) -> dict[str, Any]:
    """Return ``ledger.json``: each peer's ledger over all of its local updates, and the ε that follows."""
    progress = Progress(0, {})
    for about, state in zip(facts, states, strict=True):
        progress.participants[state.name] = dict(about)
        progress.ledgers[state.name] = state.ledger
    return ledger_table(progress)


def facts_of(learner: Learner) -> dict[str, Any]:
    """Return what a peer is, as ``ledger.json`` shows it; one that abuses the protocol is never honest."""
    place, plan = learner.place, learner.introduce().plan
    conduct = place.client.misbehaviour
    return {
        "name": str(place.client.name),
        "number": place.number,
        "strategy": place.client.strategy + (f", {conduct.kind}" if conduct else ""),
        "honest": type(learner.strategy()).honest and conduct is None,
        "private": plan is not None,
        "records": len(place.holding),
        "accountant": plan.accountant if plan else None,
        "delta": plan.delta if plan else None,
    }


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON objects, one a line, whole or not at all. Raises UserError: a full disk."""
    write_text(path, "".join(json.dumps(line, sort_keys=True, allow_nan=False) + "\n" for line in lines))


def _marks(model: nn.Module, arrays: Mapping[str, Tensor], dataset: Dataset) -> Marks:
    load_arrays(model, arrays)
    return marks_of(model, dataset.public.images, dataset.public.labels)


def _in_process(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    learners = learners_of(experiment, dataset, folder)
    run_simulation(
        experiment, dataset, folder, learners, lambda jobs: (learners[job.number].learn(job) for job in jobs)
    )


def _on_ray(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    from experiments.peer_ray import federate_on_ray

    federate_on_ray(experiment, dataset, folder)


def _in_processes(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    from experiments.peer_processes import federate_in_processes

    federate_in_processes(experiment, dataset, folder)


RUNNERS: dict[str, Federate] = {"inprocess": _in_process, "ray": _on_ray, "processes": _in_processes}
"""The runners that ``experiments.run`` can be asked for."""
