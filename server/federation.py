"""The federation: rounds of FedAvg or another rule, with checks in front and a checkpoint after each."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from safetensors import safe_open
from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset, normalisation
from common.errors import UserError
from common.exchange import array_bytes, arrays_of, from_record, load_arrays, to_record
from common.folder import RunFolder, read_arrays, write_arrays, write_json, write_text
from common.models import build
from common.privacy import Ledger
from common.progress import track
from common.seeds import derive
from server.aggregation import build_strategy
from server.checks import Refusal, Update, check, clean
from server.roster import Attendance, Participant, Present, seeded_sampling
from server.score import accuracy, logits_of

JOIN_TIMEOUT = 300.0
"""Seconds to wait for the first clients."""


@dataclass
class Progress:
    """What a federation has reached; written whole after every round, so a killed run goes on from there."""

    round: int
    arrays: dict[str, Tensor]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    ledgers: dict[str, str] = field(default_factory=dict)
    participants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, folder: RunFolder) -> None:
        """Write the checkpoint, one file and so one moment, then what people read."""
        told = {"round": self.round, "rounds": self.rounds, "ledgers": self.ledgers, "participants": self.participants}
        write_arrays(folder.checkpoint, self.arrays, {"progress": json.dumps(told)})
        write_text(folder.rounds, "".join(json.dumps(line, sort_keys=True) + "\n" for line in self.rounds))

    @staticmethod
    def load(folder: RunFolder) -> "Progress | None":
        """Return what the checkpoint holds, or None without one. Raises UserError if it is not whole."""
        if not folder.checkpoint.exists():
            return None
        arrays = read_arrays(folder.checkpoint)
        with safe_open(folder.checkpoint, "pt") as file:
            told = json.loads(file.metadata()["progress"])
        return Progress(told["round"], arrays, told["rounds"], told["ledgers"], told["participants"])


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
        UserError: too few clients, too many skipped rounds, a broken rule or a full disk; finished rounds are kept.
    """
    strategy = build_strategy(experiment.federation.aggregation, experiment.federation.aggregation_options)
    model = initial_model(experiment, dataset)
    progress = Progress.load(folder) or Progress(0, arrays_of(model))
    attendance = Attendance(grid, experiment)
    first = progress.round + 1
    rounds = range(first, experiment.federation.rounds + 1)
    if rounds:
        attendance.wait(min(JOIN_TIMEOUT, experiment.federation.round_timeout))
    for number in track(rounds, "federation rounds", len(rounds)):
        started = time.monotonic()
        line = _round(number, grid, strategy, attendance, experiment, dataset, model, progress)
        line["seconds"] = round(time.monotonic() - started, 3)
        progress.round = number
        progress.rounds.append(line)
        progress.save(folder)
        _stop_if_stuck(experiment, progress)
    load_arrays(model, progress.arrays)
    write_json(folder.ledger, ledger_table(experiment, progress))
    write_arrays(folder.model, model.state_dict())
    folder.checkpoint.unlink(missing_ok=True)


def _round(
    number: int,
    grid: Grid,
    strategy: Strategy,
    attendance: Attendance,
    experiment: Experiment,
    dataset: Dataset,
    model: nn.Module,
    progress: Progress,
) -> dict[str, Any]:
    present = attendance.present()
    able = [participant for participant in present if not participant.problem]
    for participant in able:
        progress.participants[participant.name] = _about(participant)
    messages = _messages(number, strategy, able, experiment, progress.arrays)
    down = {message.metadata.dst_node_id: _bytes(message) for message in messages}
    replies = _replies(grid.send_and_receive(messages, timeout=experiment.federation.round_timeout))
    lines: list[dict[str, Any]] = []
    good: list[tuple[Participant, Message, Update]] = []
    for participant in able:
        if participant.node not in down:
            continue
        line: dict[str, Any] = {
            "name": participant.name,
            "status": "silent",
            "reason": f"no reply within {experiment.federation.round_timeout:g} s",
            "examples": participant.records,
            "bytes_up": 0,
            "bytes_down": down[participant.node],
            "accuracy": None,
            "metrics": {},
        }
        if participant.node in replies:
            reply = replies[participant.node]
            result = check(
                reply,
                progress.arrays,
                announced=participant.records,
                limit=experiment.federation.examples_limit,
            )
            line |= _verdict(result)
            if isinstance(result, Update):
                line["accuracy"] = _public_accuracy(model, _tensors(result), dataset)
                progress.ledgers[participant.name] = result.ledger
                good.append((participant, reply, result))
        lines.append(line)
    lines += _absent(experiment, present, {line["name"] for line in lines})
    outcome = _aggregate(number, strategy, good, experiment, progress)
    load_arrays(model, progress.arrays)
    return {
        "round": number,
        **outcome,
        "clients": lines,
        "accuracy": accuracy(logits_of(model, dataset.public.images), dataset.public.labels),
        "accuracy_records": len(dataset.public),
    }


def _messages(
    number: int, strategy: Strategy, able: list[Participant], experiment: Experiment, arrays: dict[str, Tensor]
) -> list[Message]:
    if not able:
        return []
    config = ConfigRecord({"experiment": experiment.to_toml(), "server-round": number})
    present = cast(Grid, Present(participant.node for participant in able))
    with seeded_sampling(derive(experiment.seed, number, "sampling")):
        messages = list(strategy.configure_train(number, to_record(arrays), config, present))
    order = {participant.node: participant.number for participant in able}
    messages = [message for message in messages if message.metadata.dst_node_id in order]
    return sorted(messages, key=lambda message: order[message.metadata.dst_node_id])


def _replies(messages: Any) -> dict[int, Message]:
    """Keep each node's first reply."""
    replies: dict[int, Message] = {}
    for message in messages:
        replies.setdefault(message.metadata.src_node_id, message)
    return replies


def _verdict(result: Update | Refusal) -> dict[str, Any]:
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
    missing = [name for name in names if name not in listed]
    lines = [(name, "not connected or not sampled") for name in missing] if not problems else []
    lines += list(problems.items())
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
        for name, reason in lines
    ]


def _aggregate(
    number: int,
    strategy: Strategy,
    good: list[tuple[Participant, Message, Update]],
    experiment: Experiment,
    progress: Progress,
) -> dict[str, Any]:
    """Aggregate into ``progress.arrays``; a round that cannot is skipped, and the arrays stay."""
    quorum = experiment.quorum()
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
    progress.arrays = {name: array.to(progress.arrays[name].dtype) for name, array in from_record(record).items()}
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


def _stop_if_stuck(experiment: Experiment, progress: Progress) -> None:
    skipped = [line for line in progress.rounds if line["status"] == "skipped"]
    limit = experiment.federation.skipped_rounds_limit
    if len(skipped) > limit:
        failed = [client for client in skipped[-1]["clients"] if client["status"] != "accepted"]
        reasons = "; ".join(sorted({f"{client['name']}: {client['reason']}" for client in failed}))
        raise UserError(
            f"federation.skipped_rounds_limit = {limit}: {len(skipped)} rounds were skipped, the last because of "
            f"{skipped[-1]['reason']}" + (f" ({reasons})" if reasons else "")
        )


def ledger_table(experiment: Experiment, progress: Progress) -> dict[str, Any]:
    """Return ``ledger.json``: each client's entries and the ε that follows; null where nothing is guaranteed."""
    rows, worst = [], 0.0
    guaranteed = True
    for about in progress.participants.values():
        told = progress.ledgers.get(about["name"], "")
        ledger = Ledger.from_json(told) if told else Ledger()
        spent = bool(about["private"]) and bool(ledger.entries)
        epsilons = ledger.epsilon_by_round(experiment.privacy.accountant, experiment.privacy.delta) if spent else []
        epsilons = epsilons if all(math.isfinite(epsilon) for epsilon in epsilons) else []
        rows.append(
            {
                **about,
                "accountant": experiment.privacy.accountant,
                "delta": experiment.privacy.delta,
                "entries": ledger.entries_as_json(),
                "epsilon_by_round": epsilons,
                "epsilon": epsilons[-1] if epsilons else None,
            }
        )
        if about["honest"]:
            guaranteed = guaranteed and bool(epsilons)
            worst = max([worst, *epsilons])
    return {"clients": rows, "worst_honest_epsilon": worst if guaranteed and worst > 0 else None}


def _about(participant: Participant) -> dict[str, Any]:
    return {
        "name": participant.name,
        "number": participant.number,
        "strategy": participant.strategy,
        "honest": participant.honest,
        "private": participant.private,
        "records": participant.records,
    }


def _public_accuracy(model: nn.Module, arrays: dict[str, Tensor], dataset: Dataset) -> float:
    load_arrays(model, arrays)
    return accuracy(logits_of(model, dataset.public.images), dataset.public.labels)


def _tensors(update: Update) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in update.arrays.items()}


def _bytes(message: Message) -> int:
    content: RecordDict = message.content
    settings = sum(len(str(value)) for record in content.config_records.values() for value in record.values())
    return settings + sum(array_bytes(record) for record in content.array_records.values())
