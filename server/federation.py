"""The federation: rounds of FedAvg or another rule, with checks in front and a checkpoint after each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset, normalisation
from common.errors import UserError
from common.exchange import array_bytes, arrays_of, from_record, load_arrays, to_record
from common.folder import RunFolder, write_arrays, write_json
from common.models import build
from common.progress import track
from common.seeds import derive
from server.aggregation import build_strategy
from server.checks import Refusal, Update, check, clean
from server.ledgers import ledger_table, problem_with
from server.progress import Progress
from server.roster import Attendance, Participant, Present, seeded_sampling
from server.score import accuracy, logits_of

JOIN_TIMEOUT = 300.0
"""Seconds to wait for the first clients."""


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
    )


def run_federation(grid: Grid, experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    """Run or resume all rounds; afterwards the folder holds the model, the rounds and the ledgers.

    Raises:
        UserError: too few clients, too many skipped rounds in a row, none aggregated, or a full disk; finished rounds
            are kept.
    """
    strategy = build_strategy(experiment.federation.aggregation, experiment.federation.aggregation_options)
    model = initial_model(experiment, dataset)
    progress = Progress.load(folder) or Progress(0, arrays_of(model))
    attendance = Attendance(grid, experiment, progress.round)
    hall = Hall(grid, strategy, attendance, experiment, dataset, model)
    rounds = range(progress.round + 1, experiment.federation.rounds + 1)
    if rounds:
        attendance.wait(min(JOIN_TIMEOUT, experiment.federation.round_timeout))
    for number in track(rounds, "federation rounds", len(rounds)):
        started = time.monotonic()
        line = _round(number, hall, progress)
        line["seconds"] = round(time.monotonic() - started, 3)
        progress.round = number
        progress.rounds.append(line)
        progress.save(folder)
        if line["status"] == "skipped" and progress.skipped_in_a_row() > experiment.federation.skipped_rounds_limit:
            limit = experiment.federation.skipped_rounds_limit
            raise UserError(
                f"federation.skipped_rounds_limit = {limit}: more rounds than that were skipped in a row, {_why(line)}"
            )
    if all(line["status"] == "skipped" for line in progress.rounds):
        last = _why(progress.rounds[-1])
        raise UserError(f"federation: no round was aggregated, so there is no model; the last was skipped, {last}")
    load_arrays(model, progress.arrays)
    write_json(folder.ledger, ledger_table(experiment, progress))
    write_arrays(folder.model, model.state_dict())
    folder.checkpoint.unlink(missing_ok=True)


@dataclass(frozen=True)
class Hall:
    """Where the rounds take place: what stays the same in all of them."""

    grid: Grid
    strategy: Strategy
    attendance: Attendance
    experiment: Experiment
    dataset: Dataset
    model: nn.Module


def _round(number: int, hall: Hall, progress: Progress) -> dict[str, Any]:
    experiment = hall.experiment
    present = hall.attendance.present(number - 1)
    able = [participant for participant in present if not participant.problem]
    for participant in able:
        progress.participants[participant.name] = _about(participant)
    messages, trouble = _messages(number, hall.strategy, able, experiment, progress.arrays)
    down = {message.metadata.dst_node_id: _bytes(message) for message in messages}
    replies = _replies(hall.grid.send_and_receive(messages, timeout=experiment.federation.round_timeout))
    lines: list[dict[str, Any]] = []
    good: list[tuple[Participant, Message, Update]] = []
    for participant in able:
        if participant.node not in down:
            continue
        reply = replies.get(participant.node)
        result = _examine(number, participant, reply, hall, progress) if reply is not None else None
        line = _line(participant, down[participant.node], experiment) | _verdict(result)
        unconfirmed = progress.unconfirmed.setdefault(participant.name, [])
        if reply is not None and isinstance(result, Update):
            line["accuracy"] = accuracy(_public_logits(hall, _tensors(result)), hall.dataset.public.labels)
            progress.ledgers[participant.name] = result.ledger
            unconfirmed.clear()
            good.append((participant, reply, result))
        else:
            unconfirmed.append(number)
        lines.append(line)
    lines += _absent(experiment, present, {line["name"] for line in lines})
    outcome = {"status": "skipped", "reason": trouble} if trouble else _aggregate(number, hall, good, progress)
    load_arrays(hall.model, progress.arrays)
    return {
        "round": number,
        **outcome,
        "clients": lines,
        "accuracy": accuracy(logits_of(hall.model, hall.dataset.public.images), hall.dataset.public.labels),
        "accuracy_records": len(hall.dataset.public),
    }


def _examine(number: int, participant: Participant, reply: Message, hall: Hall, progress: Progress) -> Update | Refusal:
    """Check a reply by itself, then against what the client said before and what its weights make of public images."""
    limit = hall.experiment.federation.examples_limit or len(hall.dataset.train)
    result = check(reply, progress.arrays, announced=participant.records, limit=limit)
    if isinstance(result, Refusal):
        return result
    before = progress.ledgers.get(participant.name, "")
    problem = problem_with(result.ledger, before, private=participant.private, last_round=number)
    if problem:
        return Refusal(problem, result.bytes)
    if not np.isfinite(_public_logits(hall, _tensors(result))).all():
        return Refusal("a model with its weights gives no finite answers", result.bytes)
    return result


def _messages(
    number: int, strategy: Strategy, able: list[Participant], experiment: Experiment, arrays: dict[str, Tensor]
) -> tuple[list[Message], str]:
    """Return the strategy's messages in the clients' order, or why there are none."""
    if not able:
        return [], "no client can take part"
    config = ConfigRecord({"experiment": experiment.to_toml(), "server-round": number})
    present = cast(Grid, Present(participant.node for participant in able))
    try:
        with seeded_sampling(derive(experiment.seed, number, "sampling")):
            messages = list(strategy.configure_train(number, to_record(arrays), config, present))
    except (Exception, SystemExit) as error:
        return [], f"{type(strategy).__name__}.configure_train failed: {type(error).__name__}: {error}"
    order = {participant.node: participant.number for participant in able}
    messages = [message for message in messages if message.metadata.dst_node_id in order]
    return sorted(messages, key=lambda message: order[message.metadata.dst_node_id]), ""


def _replies(messages: Any) -> dict[int, Message]:
    """Keep each node's first reply."""
    replies: dict[int, Message] = {}
    for message in messages:
        replies.setdefault(message.metadata.src_node_id, message)
    return replies


def _line(participant: Participant, down: int, experiment: Experiment) -> dict[str, Any]:
    return {
        "name": participant.name,
        "status": "silent",
        "reason": f"no reply within {experiment.federation.round_timeout:g} s",
        "examples": participant.records,
        "bytes_up": 0,
        "bytes_down": down,
        "accuracy": None,
        "metrics": {},
    }


def _verdict(result: Update | Refusal | None) -> dict[str, Any]:
    if result is None:
        return {}
    if isinstance(result, Refusal):
        return {"status": "refused", "reason": result.reason, "bytes_up": result.bytes}
    return {
        "status": "accepted",
        "reason": "",
        "examples": result.examples,
        "bytes_up": result.bytes,
        "metrics": result.metrics,
    }


def _absent(experiment: Experiment, present: list[Participant], listed: set[str]) -> list[dict[str, Any]]:
    problems = {participant.name: participant.problem for participant in present if participant.problem}
    names = [str(client.name) for client in experiment.roster()]
    missing = {name: "not connected, or not sampled" for name in names if name not in listed}
    return [
        {
            "name": name,
            "status": "absent",
            "reason": reason,
            "examples": 0,
            "bytes_up": 0,
            "bytes_down": 0,
            "accuracy": None,
            "metrics": {},
        }
        for name, reason in (missing | problems).items()
    ]


def _aggregate(
    number: int, hall: Hall, good: list[tuple[Participant, Message, Update]], progress: Progress
) -> dict[str, Any]:
    """Aggregate into ``progress.arrays``; a round that cannot is skipped, and the arrays stay."""
    strategy, quorum = hall.strategy, hall.experiment.quorum()
    if len(good) < quorum:
        return {"status": "skipped", "reason": f"{len(good)} good updates; the quorum is {quorum}"}
    shared = set.intersection(*(set(update.metrics) for _, _, update in good))
    replies = [clean(reply, update, sorted(shared)) for _, reply, update in good]
    try:
        record, _ = strategy.aggregate_train(number, replies)
    except (Exception, SystemExit) as error:
        return {"status": "skipped", "reason": f"{type(strategy).__name__} failed: {type(error).__name__}: {error}"}
    if record is None:
        return {"status": "skipped", "reason": f"{type(strategy).__name__} returned no arrays"}
    problem = _problem(record, progress.arrays)
    if problem:
        return {"status": "skipped", "reason": f"{type(strategy).__name__} {problem}"}
    arrays = {name: array.to(progress.arrays[name].dtype) for name, array in from_record(record).items()}
    if not np.isfinite(_public_logits(hall, arrays)).all():
        return {"status": "skipped", "reason": f"{type(strategy).__name__} made a model that gives no finite answers"}
    progress.arrays = arrays
    return {"status": "aggregated", "reason": ""}


def _problem(record: ArrayRecord, expected: Mapping[str, Tensor]) -> str:
    arrays = from_record(record)
    if arrays.keys() != expected.keys():
        return "returned arrays of other names"
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            return f"returned {name} with shape {tuple(array.shape)}"
        if not torch.isfinite(array).all():
            return f"returned NaN or infinity in {name}"
    return ""


def _why(line: Mapping[str, Any]) -> str:
    failed = [client for client in line["clients"] if client["status"] != "accepted"]
    reasons = "; ".join(sorted({f"{client['name']}: {client['reason']}" for client in failed}))
    return f"because of {line['reason']}" + (f" ({reasons})" if reasons else "")


def _about(participant: Participant) -> dict[str, Any]:
    return {
        "name": participant.name,
        "number": participant.number,
        "strategy": participant.strategy,
        "honest": participant.honest,
        "private": participant.private,
        "records": participant.records,
    }


def _public_logits(hall: Hall, arrays: dict[str, Tensor]) -> np.ndarray:
    load_arrays(hall.model, arrays)
    return logits_of(hall.model, hall.dataset.public.images)


def _tensors(update: Update) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in update.arrays.items()}


def _bytes(message: Message) -> int:
    content: RecordDict = message.content
    settings = sum(len(str(value)) for record in content.config_records.values() for value in record.values())
    return settings + sum(array_bytes(record) for record in content.array_records.values())
