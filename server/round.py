"""One round: ask the clients that are there, check what they answer, aggregate what is good."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, cast

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset
from common.exchange import CONFIG, COUNTED, from_record, load_arrays, to_record, told
from common.folder import RunFolder
from common.rules.options import TooFewUpdatesError
from common.seeds import derive
from server.checks import Expected, Update, check, clean
from server.introduction import Participant
from server.ledgers import facts, planned, problem_with
from server.lines import asked, not_asked, told_score
from server.marks import Marks, marks_of
from server.message_size import content_bytes
from server.misbehaviour import returned_model
from server.progress import Progress
from server.refusal import Refusal
from server.roster import Attendance
from server.sampling import Present, seeded_sampling

EXAMPLES_FACTOR = 10
"""Records that a client may claim, in units of the clients' median, where nothing else bounds them."""
NO_ANSWERS = "a model with its weights gives no finite answers"
NOT_FINITE = "returned NaN or infinity"


@dataclass(frozen=True)
class Hall:
    """Where the rounds take place: what stays the same in all of them; ``run`` is the token of this server start."""

    folder: RunFolder
    grid: Grid
    strategy: Strategy
    attendance: Attendance
    experiment: Experiment
    dataset: Dataset
    model: nn.Module
    run: str


def run_round(number: int, hall: Hall, progress: Progress) -> dict[str, Any]:
    """Run a round; return its line for rounds.jsonl, and leave weights, ledgers and strikes in ``progress``."""
    settings = hall.experiment.federation
    present = hall.attendance.present(number - 1, progress.excluded)
    able = [one for one in present if not one.problem and one.name not in progress.excluded]
    messages, trouble = _messages(number, hall, able, progress)
    down = {message.metadata.dst_node_id: content_bytes(message.content) for message in messages}
    able = [participant for participant in able if participant.node in down]
    _expect(number, able, hall.folder, progress)
    replies = _by_node(messages, hall.grid.send_and_receive(messages, timeout=settings.round_timeout))
    excluded = dict(progress.excluded)
    lines: list[dict[str, Any]] = []
    good: list[Good] = []
    most = most_examples(settings.examples_limit, len(hall.dataset.train), [one.records for one in able])
    answers = [_examine(number, one, replies[one.node], hall, progress, most) for one in able]
    for participant, answer in zip(able, _just(answers), strict=True):
        came = replies[participant.node]
        line = asked(participant, down[participant.node], answer, settings.round_timeout)
        line["ignored"] = len(came[1:])
        if isinstance(answer, Update):
            line["accuracy"] = _public(hall, _tensors(answer)).mean
            good.append(Good(line, came[0], answer))
        _note(number, participant.name, answer, progress, settings.strikes_limit)
        lines.append(line)
    names = [str(client.name) for client in hall.experiment.roster()]
    lines += not_asked(names, present, {line["name"] for line in lines}, excluded)
    outcome = {"status": "skipped", "reason": trouble} if trouble else _aggregate(number, hall, good, progress)
    marks = _public(hall, progress.arrays)
    return {"round": number, **outcome, "clients": lines, **told_score(marks)}


@dataclass(frozen=True)
class Good:
    """An update that passed every check, with its line of rounds.jsonl."""

    line: dict[str, Any]
    reply: Message
    update: Update


def most_examples(limit: int | None, train_records: int, announced: list[int]) -> int:
    """Return the records that no client may exceed.

    Args:
        limit: the description's.
        train_records: of the server's own training split; 0 where the clients bring their own data. A count can then
            not be verified, and one that is invented would outweigh all others.
        announced: what each client said that it has.
    """
    return limit or train_records or int(EXAMPLES_FACTOR * median(announced or [0]))


def _examine(
    number: int, participant: Participant, came: list[Message], hall: Hall, progress: Progress, most: int
) -> Update | Refusal | None:
    """Check a reply by itself, then against what the client said before and what its weights make of public images."""
    if not came:
        return None
    settings = hall.experiment.federation
    expected = Expected(
        progress.arrays,
        number,
        hall.run,
        compressed=settings.update_compression == "int8",
        examples_limit=most,
        norm_limit=settings.norm_limit,
    )
    result = check(came[0], expected, announced=participant.records)
    if isinstance(result, Refusal):
        return result
    before = progress.ledgers.get(participant.name, "")
    problem = problem_with(result.ledger, before, private=participant.private, last_round=number)
    if problem:
        return Refusal(problem, result.bytes)
    if not _public(hall, _tensors(result)).finite:
        return Refusal(NO_ANSWERS, result.bytes)
    return result


def _just(answers: list[Update | Refusal | None]) -> list[Update | Refusal | None]:
    """Return the answers, without strikes where most weights give no finite answers: the global model is at fault."""
    failed = [isinstance(answer, Refusal) and answer.reason == NO_ANSWERS for answer in answers]
    if 2 * sum(failed) <= sum(failed) + sum(isinstance(answer, Update) for answer in answers):
        return answers
    return [
        replace(answer, strike=False) if bad and isinstance(answer, Refusal) else answer
        for answer, bad in zip(answers, failed, strict=True)
    ]


def _expect(number: int, able: list[Participant], folder: RunFolder, progress: Progress) -> None:
    """Remember what those who are about to be asked say of themselves and plan to spend.

    Before anything is sent it is written down: a server that is killed now asks again, and a client may spend twice.
    """
    for participant in able:
        name = participant.name
        progress.participants[name] = facts(participant, progress.participants.get(name))
        if spent := planned(participant, number):
            progress.unconfirmed.setdefault(name, []).append(spent)
    if able:
        progress.save(folder)


def _note(number: int, name: str, answer: Update | Refusal | None, progress: Progress, strikes_limit: int) -> None:
    """Remember the ledger that came with a good update, which says what was spent; or a bad update."""
    if isinstance(answer, Update):
        progress.ledgers[name] = answer.ledger
        progress.unconfirmed.pop(name, None)
    elif answer is None:
        progress.exclude_silent(name, number, strikes_limit)
    elif answer.strike:
        progress.strike(name, number, answer.reason, strikes_limit)


def _messages(number: int, hall: Hall, able: list[Participant], progress: Progress) -> tuple[list[Message], str]:
    """Return the strategy's messages in the clients' order, or why there are none."""
    if not able:
        return [], "no client can take part"
    strategy = hall.strategy
    config = told(hall.experiment, number, hall.run, hall.dataset)
    present = cast(Grid, Present(participant.node for participant in able))
    try:
        with seeded_sampling(derive(hall.experiment.seed, number, "sampling")):
            messages = list(strategy.configure_train(number, to_record(progress.arrays), config, present))
    except (Exception, SystemExit) as error:
        return [], f"{type(strategy).__name__}.configure_train failed: {type(error).__name__}: {error}"
    order = {participant.node: participant.number for participant in able}
    messages = [message for message in messages if message.metadata.dst_node_id in order]
    if hall.experiment.federation.update_compression == "int8":
        _tell_counted(messages, able, progress)
    return sorted(messages, key=lambda message: order[message.metadata.dst_node_id]), ""


def _tell_counted(messages: list[Message], able: list[Participant], progress: Progress) -> None:
    """Tell each client, and nobody else, when its update last counted; ``clients.residual`` says what for."""
    counted = progress.last_counted()
    rounds = {participant.node: counted.get(participant.name, 0) for participant in able}
    for message in messages:
        # Strategies give all clients one and the same content.
        config = message.content.config_records.get(CONFIG, ConfigRecord())
        config = ConfigRecord({**config, COUNTED: rounds[message.metadata.dst_node_id]})
        message.content = RecordDict({**message.content, CONFIG: config})


def _by_node(messages: list[Message], received: Iterable[Message]) -> dict[int, list[Message]]:
    """Return each asked node's replies, in the order in which they came.

    A reply goes by the message that it answers: where a node is lost, the link answers in its place.
    """
    asked_by = {message.metadata.message_id: message.metadata.dst_node_id for message in messages}
    replies: dict[int, list[Message]] = {node: [] for node in asked_by.values()}
    for reply in received:
        node = asked_by.get(reply.metadata.reply_to_message_id)
        if node is not None:
            replies[node].append(reply)
    return replies


def _aggregate(number: int, hall: Hall, good: list[Good], progress: Progress) -> dict[str, Any]:
    """Aggregate into ``progress.arrays``; a round that cannot is skipped, and the arrays stay.

    Updates that are sound one by one may still overflow together. Where the aggregate is not finite, the longest of
    them is left out as the offender's, and the rest is aggregated anew.
    """
    limit, left = hall.experiment.federation.strikes_limit, list(good)
    while True:
        outcome, ruined = _attempt(number, hall, left, progress)
        if not ruined or len(left) <= hall.experiment.quorum():
            return outcome
        worst = max(left, key=lambda one: one.update.norm)
        left.remove(worst)
        reason = f"with its update, the longest, the aggregate was ruined ({outcome['reason']})"
        worst.line.update(status="refused", reason=reason, strike=True)
        progress.strike(worst.line["name"], number, reason, limit)


def _attempt(number: int, hall: Hall, good: list[Good], progress: Progress) -> tuple[dict[str, Any], bool]:
    """Return what came of an aggregation, and whether it was ruined by numbers that are not finite."""
    strategy, quorum = hall.strategy, hall.experiment.quorum()
    name = type(strategy).__name__
    if len(good) < quorum:
        return _skipped(f"{len(good)} good updates; the quorum is {quorum}"), False
    shared = set.intersection(*(set(one.update.metrics) for one in good))
    replies = [clean(one.reply, one.update, sorted(shared)) for one in good]
    try:
        record, _ = strategy.aggregate_train(number, replies)
    except TooFewUpdatesError as error:
        return _skipped(str(error)), False
    except (Exception, SystemExit) as error:
        return _skipped(f"{name} failed: {type(error).__name__}: {error}"), False
    if record is None:
        return _skipped(f"{name} returned no arrays"), False
    problem = _problem(record, progress.arrays)
    if problem:
        return _skipped(f"{name} {problem}"), problem.startswith(NOT_FINITE)
    arrays = {name: array.to(progress.arrays[name].dtype) for name, array in from_record(record).items()}
    if not _public(hall, arrays).finite:
        return _skipped(f"{type(strategy).__name__} made a model that gives no finite answers"), True
    conduct, seed = hall.experiment.federation.server_misbehaviour, derive(hall.experiment.seed, number, "server")
    progress.arrays = returned_model(conduct, progress.arrays, arrays, seed=seed)
    return {"status": "aggregated", "reason": ""}, False


def _skipped(reason: str) -> dict[str, Any]:
    return {"status": "skipped", "reason": reason}


def _problem(record: ArrayRecord, expected: Mapping[str, Tensor]) -> str:
    arrays = from_record(record)
    if arrays.keys() != expected.keys():
        return "returned arrays of other names"
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            return f"returned {name} with shape {tuple(array.shape)}"
        if not torch.isfinite(array).all():
            return f"{NOT_FINITE} in {name}"
    return ""


def _public(hall: Hall, arrays: Mapping[str, Tensor]) -> Marks:
    load_arrays(hall.model, arrays)
    return marks_of(hall.model, hall.dataset.public.images, hall.dataset.public.labels)


def _tensors(update: Update) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in update.arrays.items()}
