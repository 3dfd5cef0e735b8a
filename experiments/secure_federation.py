"""A federation by the actively secure protocol, from its description to the same run folder as any other.

All peers have the same model. In each round each trains it on its own records, and what they deal to each other makes
the rule's step of it; who cheats is named, and takes no part any more. Here all of them are in one process, and every
key and every random number follows from the seed: a simulation keeps no secrets.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.holding import simulated_holding
from clients.image_facts import image_facts
from clients.learner import Learner, simulated_learner
from common.config import Experiment
from common.data import Dataset
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.folder import RunFolder, write_arrays, write_json, write_text
from common.local_update import Failed, Job, Learned
from common.progress import note, track
from common.seeds import numpy_generator
from common.threads import torch_threads
from experiments.peer_federation import facts_of
from experiments.root_update import root_update
from experiments.secure_rounds import (
    check_skipped,
    exclusions,
    own_part,
    peer_line,
    summary,
    with_names,
    write_transcripts,
)
from peers.secure.cheats import CHEATS
from peers.secure.deal import Entropy
from peers.secure.plan import check_size, layout_of
from peers.secure.rounds import RoundResult, Seat, secure_round
from peers.secure.simulation import Traffic, simulate
from peers.secure.vector import difference, moved, size_of
from server.federation import initial_model
from server.ledgers import ledger_table
from server.lines import told_score
from server.manifest import close_manifest, open_manifest
from server.marks import marks_of
from server.progress import Progress


def check_secure(experiment: Experiment) -> None:
    """Refuse what the protocol cannot do, before hours are spent. Raises UserError."""
    layout_of(experiment)


def federate_secure(experiment: Experiment, dataset: Dataset, folder: RunFolder, runner: str) -> None:
    """Run or resume a federation by the secure protocol.

    Raises:
        UserError: a runner that it does not have, a mistake in the description or the machine, too many rounds without
            a result; finished rounds are kept.
    """
    check_secure(experiment)
    if runner not in RUNNERS:
        raise UserError(f"--runner {runner}: protocol = 'secure' runs with {', '.join(RUNNERS)}; choose one of them")
    started = time.monotonic()
    write_text(folder.experiment, experiment.to_toml())
    open_manifest(experiment, dataset, folder, runner)
    RUNNERS[runner](experiment, dataset, folder)
    close_manifest(folder, federation=time.monotonic() - started)


def _learners(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> list[Learner]:
    """Return who trains for each peer, in the roster's order; each has said how it takes part."""
    images, rounds = image_facts(dataset), experiment.federation.rounds
    learners = [
        simulated_learner(experiment, number, simulated_holding(experiment, number), images, folder.clients, rounds)
        for number in range(len(experiment.roster()))
    ]
    for learner in learners:
        learner.introduce()
    return learners


def _in_processes(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    from experiments.secure_processes import federate_in_secure_processes

    facts = [facts_of(learner) for learner in _learners(experiment, dataset, folder)]
    federate_in_secure_processes(experiment, dataset, folder, facts)


def _in_process(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    model, roster = initial_model(experiment, dataset), experiment.roster()
    learners = _learners(experiment, dataset, folder)
    progress = Progress.load(folder) or Progress(0, arrays_of(model))
    check_size(experiment, size_of(progress.arrays))
    progress.participants = {str(client.name): facts_of(learner)
                             for client, learner in zip(roster, learners, strict=True)}  # fmt: skip
    progress.write_rounds(folder)
    rounds = experiment.federation.rounds
    run = bytes.fromhex(hashlib.sha256(experiment.digest(dataset.checksum, federation_only=True).encode()).hexdigest())
    for number in track(range(progress.round + 1, rounds + 1), "rounds", rounds):
        line = _round(experiment, dataset, folder, model, learners, progress, number, run)
        progress.rounds.append(line)
        progress.round = number
        progress.save(folder)
        note(summary(line, rounds))
        check_skipped(experiment, progress.rounds)
    write_json(folder.ledger, ledger_table(progress))
    load_arrays(model, progress.arrays)
    write_arrays(folder.model, model.state_dict())


def _round(
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    model: nn.Module,
    learners: Sequence[Learner],
    progress: Progress,
    number: int,
    run: bytes,
) -> dict[str, Any]:
    """Do a round: change ``progress.arrays`` and its ledgers, write the transcript, and return the round's line."""
    started = time.monotonic()
    names = {learner.place.number: str(learner.place.client.name) for learner in learners}
    there = [peer for peer, name in names.items() if name not in progress.excluded]
    learned = {peer: learners[peer].learn(Job(peer, number, progress.arrays)) for peer in there}
    for peer, training in learned.items():
        progress.ledgers[names[peer]] = training.ledger
    updates, failures = _updates(learned, progress.arrays)
    traffic = {peer: Traffic() for peer in there}
    reference = root_update(experiment, dataset, model, progress.arrays, number)
    size = size_of(progress.arrays)
    outcomes = _play(experiment, number, run, updates, failures, size, len(names), traffic, reference)
    result = next(outcomes[peer] for peer in there if experiment.roster()[peer].misbehaviour is None)
    if result.step is not None:
        progress.arrays = moved(progress.arrays, result.step)
    write_transcripts(folder.transcripts, number, result, names)
    lines = [
        peer_line(names, peer, result, progress.excluded, failures.get(peer, ""))
        | own_part(learned.get(peer), traffic.get(peer))
        for peer in names
    ]
    progress.excluded |= exclusions(number, result, names)
    load_arrays(model, progress.arrays)
    with torch_threads(experiment.federation.threads):
        score = told_score(marks_of(model, dataset.public.images, dataset.public.labels))
    return {
        "round": number,
        "status": "aggregated" if result.step is not None else "skipped",
        "reason": with_names(result.aborted, names),
        "clients": lines,
        **score,
        "seconds": round(time.monotonic() - started, 3),
    }


def _updates(
    learned: Mapping[int, Learned | Failed], before: Mapping[str, Tensor]
) -> tuple[dict[int, "np.ndarray[Any, np.dtype[np.float64]]"], dict[int, str]]:
    """Return each peer's update, and why some have none."""
    updates, failures = {}, {}
    for peer, result in learned.items():
        if isinstance(result, Failed):
            failures[peer] = result.reason
            continue
        try:
            updates[peer] = difference(result.sent, before)
        except ValueError as wrong:
            failures[peer] = str(wrong)
    return updates, failures


def _play(
    experiment: Experiment,
    number: int,
    run: bytes,
    updates: Mapping[int, "np.ndarray[Any, np.dtype[np.float64]]"],
    failures: Mapping[int, str],
    size: int,
    peers: int,
    traffic: Mapping[int, Traffic],
    reference: NDArray[np.float64] | None,
) -> dict[int, RoundResult]:
    """Return how the secure round ended for each peer; one without an update votes by lot."""
    there = sorted({*updates, *failures})
    keys = {peer: Ed25519PrivateKey.from_private_bytes(_secret(experiment.seed, peer, "key")) for peer in there}
    public = {peer: key.public_key() for peer, key in keys.items()}
    parties = {}
    for peer in there:
        misbehaviour = experiment.roster()[peer].misbehaviour
        parties[peer] = secure_round(
            Seat(experiment, run, peer, keys[peer], peers, size),
            number,
            public,
            updates.get(peer),
            generator=numpy_generator(experiment.seed, "secure", peer, number, "rounding"),
            entropy=partial(_entropy, experiment.seed, peer),
            player=CHEATS[misbehaviour.kind] if misbehaviour else None,
            reference=reference,
        )
    return simulate(parties, traffic=traffic)


def _secret(seed: int, peer: int, purpose: str) -> bytes:
    return hashlib.sha256(f"psreval simulation/{seed}/{peer}/{purpose}".encode()).digest()


def _entropy(seed: int, peer: int, number: int) -> Entropy:
    return lambda purpose: _secret(seed, peer, f"{number}/{purpose}")


RUNNERS = {"inprocess": _in_process, "processes": _in_processes}
"""The runners that ``experiments.run`` can be asked for."""
