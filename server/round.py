"""One round: ask the clients that are there, check what they answer, aggregate what is good."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from common.exchange import CONFIG, COUNTED, from_record, to_record, told
from common.folder import RunFolder
from common.rules.options import TooFewUpdatesError
from common.seeds import derive
from server.answers import answers_of
from server.checks import Expected, Update, clean
from server.hall import Hall
from server.introduction import Participant
from server.ledgers import facts, planned
from server.lines import asked, not_asked, told_score
from server.marks import Marks
from server.message_size import content_bytes
from server.misbehaviour import returned_model
from server.progress import Progress
from server.refusal import Refusal
from server.sampling import Present, seeded_sampling

EXAMPLES_FACTOR = 10
"""Records that a client may claim, in units of the clients' median, where nothing else bounds them."""
NOT_FINITE = "returned NaN or infinity"


def run_round(number: int, hall: Hall, progress: Progress) -> dict[str, Any]:
    """Run a round; return its line for rounds.jsonl, and leave weights, ledgers and strikes in ``progress``."""
    settings = hall.experiment.federation
    present = hall.attendance.present(number - 1, progress.excluded)
    able = [one for one in present if not one.problem and one.name not in progress.excluded]
    messages, trouble = _messages(number, hall, able, progress)
    down = {message.metadata.dst_node_id: content_bytes(message.content) for message in messages}
    able = [participant for participant in able if participant.node in down]
    _expect(number, able, hall.folder, progress)
    expected = Expected(
        progress.arrays,
        number,
        hall.run,
        compressed=settings.update_compression == "int8",
        examples_limit=most_examples(
            settings.examples_limit, len(hall.dataset.train), [participant.records for participant in able]
        ),
        norm_limit=settings.norm_limit,
    )
    received = hall.grid.send_and_receive(messages, timeout=settings.round_timeout)
    answers = answers_of(able, messages, received, hall, progress, expected)
    excluded = dict(progress.excluded)
    lines: list[dict[str, Any]] = []
    good: list[Good] = []
    for participant in able:
        answer = answers[participant.node]
        line = asked(participant, down[participant.node], answer.result, settings.round_timeout)
        line |= {"ignored": answer.ignored, "accuracy": answer.accuracy}
        if isinstance(answer.result, Update) and answer.reply is not None and answer.weights is not None:
            good.append(Good(line, answer.reply, answer.weights, answer.result))
        _note(number, participant.name, answer.result, progress, settings.strikes_limit)
        lines.append(line)
    del answers
    names = [str(client.name) for client in hall.experiment.roster()]
    lines += not_asked(names, present, {line["name"] for line in lines}, excluded)
    outcome, marks = (_skipped(trouble).told, None) if trouble else _aggregate(number, hall, good, progress)
    return {"round": number, **outcome, "clients": lines, **told_score(marks or hall.score(progress.arrays))}


@dataclass(frozen=True)
class Good:
    """An update that passed every check, with its line of rounds.jsonl; its weights are in ``weights`` alone."""

    line: dict[str, Any]
    reply: Message
    weights: ArrayRecord
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


def _expect(number: int, able: list[Participant], folder: RunFolder, progress: Progress) -> None:
    """Remember what those who are about to be asked say of themselves and plan to spend.

    Before anything is sent it is written down: a server that is killed now asks again, and a client may spend twice.
    """
    news = False
    for participant in able:
        name, before = participant.name, progress.participants.get(participant.name)
        progress.participants[name] = facts(participant, before)
        news = news or progress.participants[name] != before
        if spent := planned(participant, number):
            progress.unconfirmed.setdefault(name, []).append(spent)
            news = True
    if news:
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


def _aggregate(number: int, hall: Hall, good: list[Good], progress: Progress) -> tuple[dict[str, Any], Marks | None]:
    """Aggregate into ``progress.arrays``; a round that cannot is skipped, and the arrays stay.

    Updates that are sound one by one may still overflow together. Where the aggregate is not finite, the longest of
    them is left out as the offender's, and the rest is aggregated anew.

    Returns:
        What the round's line tells of it; and how well the new arrays answer, where that is known.
    """
    limit, left = hall.experiment.federation.strikes_limit, list(good)
    while True:
        attempt = _attempt(number, hall, left, progress)
        if not attempt.ruined or len(left) <= hall.experiment.quorum():
            return attempt.told, attempt.marks
        worst = max(left, key=lambda one: one.update.norm)
        left.remove(worst)
        reason = f"with its update, the longest, the aggregate was ruined ({attempt.told['reason']})"
        worst.line.update(status="refused", reason=reason, strike=True)
        progress.strike(worst.line["name"], number, reason, limit)


@dataclass(frozen=True)
class Attempt:
    """What came of an aggregation.

    Attributes:
        told: ``status`` and ``reason``.
        ruined: whether it gave numbers that are not finite.
        marks: of the arrays that it made, as the clients will get them; None: not known.
    """

    told: dict[str, Any]
    ruined: bool = False
    marks: Marks | None = None


def _attempt(number: int, hall: Hall, good: list[Good], progress: Progress) -> Attempt:
    strategy, quorum = hall.strategy, hall.experiment.quorum()
    name = type(strategy).__name__
    if len(good) < quorum:
        return _skipped(f"{len(good)} good updates; the quorum is {quorum}")
    shared = sorted(set.intersection(*(set(one.update.metrics) for one in good)))
    replies = [clean(one.reply, one.weights, one.update, shared) for one in good]
    try:
        record, _ = strategy.aggregate_train(number, replies)
    except TooFewUpdatesError as error:
        return _skipped(str(error))
    except (Exception, SystemExit) as error:
        return _skipped(f"{name} failed: {type(error).__name__}: {error}")
    if record is None:
        return _skipped(f"{name} returned no arrays")
    made = from_record(record)
    problem = _problem(made, progress.arrays)
    if problem:
        return _skipped(f"{name} {problem}", ruined=problem.startswith(NOT_FINITE))
    arrays = {name: array.to(progress.arrays[name].dtype) for name, array in made.items()}
    marks = hall.score(arrays)
    if not marks.finite:
        return _skipped(f"{type(strategy).__name__} made a model that gives no finite answers", ruined=True)
    conduct, seed = hall.experiment.federation.server_misbehaviour, derive(hall.experiment.seed, number, "server")
    progress.arrays = returned_model(conduct, progress.arrays, arrays, seed=seed)
    return Attempt({"status": "aggregated", "reason": ""}, marks=marks if conduct is None else None)


def _skipped(reason: str, *, ruined: bool = False) -> Attempt:
    return Attempt({"status": "skipped", "reason": reason}, ruined)


def _problem(arrays: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    if arrays.keys() != expected.keys():
        return "returned arrays of other names"
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            return f"returned {name} with shape {tuple(array.shape)}"
        if not torch.isfinite(array).all():
            return f"{NOT_FINITE} in {name}"
    return ""
