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
from peers.secure.cheats import CHEATS
from peers.secure.deal import Entropy
from peers.secure.plan import layout_of
from peers.secure.rounds import RoundResult, Seat, secure_round
from peers.secure.simulation import Traffic, simulate
from peers.secure.transcript import write_transcript
from peers.secure.vector import difference, moved, size_of
from server.federation import initial_model
from server.ledgers import ledger_table
from server.lines import spoken_score, told_score
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
    if runner != "inprocess":
        raise UserError(f"--runner {runner}: protocol = 'secure' runs with inprocess; choose it")
    started = time.monotonic()
    write_text(folder.experiment, experiment.to_toml())
    open_manifest(experiment, dataset, folder, runner)
    _run(experiment, dataset, folder)
    close_manifest(folder, federation=time.monotonic() - started)


def _run(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    model, roster = initial_model(experiment, dataset), experiment.roster()
    learners = [
        simulated_learner(
            experiment,
            number,
            simulated_holding(experiment, number),
            image_facts(dataset),
            folder.clients,
            experiment.federation.rounds,
        )
        for number in range(len(roster))
    ]
    for learner in learners:
        learner.introduce()
    progress = Progress.load(folder) or Progress(0, arrays_of(model))
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
        note(_summary(line, rounds))
        _check_skipped(experiment, progress)
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
    outcomes = _play(experiment, number, run, updates, failures, size_of(progress.arrays), len(names), traffic)
    result = next(outcomes[peer] for peer in there if experiment.roster()[peer].misbehaviour is None)
    if result.step is not None:
        progress.arrays = moved(progress.arrays, result.step)
    folder.transcripts.mkdir(exist_ok=True)
    for part, outcome in enumerate(result.outcomes, start=1):
        name = f"round-{number}.jsonl" if len(result.outcomes) == 1 else f"round-{number}-{part}.jsonl"
        write_transcript(folder.transcripts / name, outcome.ruling, outcome.boards, names)
    lines = [
        _line(names[peer], peer, learned.get(peer), failures.get(peer, ""), result, progress, traffic.get(peer))
        for peer in names
    ]
    for culprit in result.culprits:
        progress.excluded[names[culprit.peer]] = {
            "round": number + 1,
            "reason": f"it {culprit.reason} (round {number}, {culprit.phase})",
        }
    load_arrays(model, progress.arrays)
    with torch_threads(experiment.federation.threads):
        score = told_score(marks_of(model, dataset.public.images, dataset.public.labels))
    return {
        "round": number,
        "status": "aggregated" if result.step is not None else "skipped",
        "reason": result.aborted,
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
        )
    return simulate(parties, traffic=traffic)


def _secret(seed: int, peer: int, purpose: str) -> bytes:
    return hashlib.sha256(f"psreval simulation/{seed}/{peer}/{purpose}".encode()).digest()


def _entropy(seed: int, peer: int, number: int) -> Entropy:
    return lambda purpose: _secret(seed, peer, f"{number}/{purpose}")


def _line(
    name: str,
    peer: int,
    learned: Learned | Failed | None,
    failure: str,
    result: RoundResult,
    progress: Progress,
    traffic: Traffic | None,
) -> dict[str, Any]:
    """Return what became of a peer in a round."""
    status, reason, strike = "accepted", "", False
    culprit = next((one for one in result.culprits if one.peer == peer), None)
    ruling = result.outcomes[-1].ruling
    if name in progress.excluded:
        status, reason = "excluded", progress.excluded[name]["reason"]
    elif culprit is not None:
        status, reason, strike = "refused", f"it {culprit.reason} ({culprit.phase})", True
    elif peer in ruling.silent:
        status, reason = "silent", f"it said nothing in the phase '{ruling.silent[peer]}'"
    elif failure:
        status, reason = "refused", f"its own training failed, and it voted by lot: {failure}"
    elif peer in ruling.unheard:
        status, reason = "refused", "too many did not get what it dealt"
    return {
        "name": name,
        "status": status,
        "reason": reason,
        "strike": strike,
        "ignored": 0,
        "examples": learned.records if isinstance(learned, Learned) else 0,
        "accuracy": None,
        "metrics": learned.metrics if isinstance(learned, Learned) else {},
        "norm": None,
        "bytes_up": traffic.up if traffic else 0,
        "bytes_down": traffic.down if traffic else 0,
    }


def _summary(line: Mapping[str, Any], rounds: int) -> str:
    """Return one sentence about a round that has ended, of ``rounds``."""
    troubled = [f"; {peer['name']} {peer['status']}: {peer['reason']}" for peer in line["clients"] if peer["reason"]]
    ended = spoken_score(line) if line["status"] == "aggregated" else f"no result: {line['reason']}"
    return f"round {line['round']} of {rounds}: {ended}{''.join(troubled)}"


def _check_skipped(experiment: Experiment, progress: Progress) -> None:
    limit = experiment.federation.skipped_rounds_limit
    last = [line["status"] for line in progress.rounds[-limit - 1 :]]
    if len(last) > limit and all(status == "skipped" for status in last):
        raise UserError(
            f"{limit + 1} rounds in a row had no result, the last: {progress.rounds[-1]['reason']}; finished rounds "
            "are kept, and the same command tries again"
        )
