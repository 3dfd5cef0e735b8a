"""The clients' answers in a round: each is checked and scored as soon as it comes, while others still train."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from flwr.app import ArrayRecord, Message, RecordDict

from server.checks import Expected, Update, check, packed
from server.hall import Hall
from server.introduction import Participant
from server.ledgers import problem_with
from server.progress import Progress
from server.refusal import Refusal

NO_ANSWERS = "a model with its weights gives no finite answers"


@dataclass
class Answer:
    """What a client answered in a round.

    Attributes:
        result: what its first reply is worth; None: none came. The weights of a good one are left out.
        reply: the first one, without its content.
        weights: of a good update, packed anew; nothing of it is held twice.
        accuracy: of a good update on the public split, a fraction (mean Dice for segmentation).
        ignored: replies after the first.
    """

    result: Update | Refusal | None = None
    reply: Message | None = None
    weights: ArrayRecord | None = None
    accuracy: float | None = None
    ignored: int = 0


def answers_of(
    able: Sequence[Participant],
    messages: Sequence[Message],
    received: Iterable[Message],
    hall: Hall,
    progress: Progress,
    expected: Expected,
) -> dict[int, Answer]:
    """Return each asked node's answer; of an update no more is held than its weights, once.

    Args:
        able: who was asked.
        messages: what they were asked; they have their ids once the first reply is there.
        received: the replies; which one comes when, is up to the grid.
        hall: where the round takes place.
        progress: what the clients' ledgers were before.
        expected: what a reply is measured against.
    """
    by_node = {one.node: one for one in able}
    answers = {node: Answer() for node in by_node}
    for node, reply in _from_asked(messages, received):
        answer = answers[node]
        if answer.reply is not None:
            answer.ignored += 1
            continue
        _examine(by_node[node], reply, answer, hall, progress, expected)
    _spare_all(list(answers.values()))
    return answers


def _from_asked(messages: Sequence[Message], received: Iterable[Message]) -> Iterator[tuple[int, Message]]:
    """Yield each reply to a message with the node that was asked.

    A reply goes by the message that it answers: where a node is lost, the link answers in its place.
    """
    asked: Mapping[str, int] = {}
    for reply in received:
        asked = asked or {message.metadata.message_id: message.metadata.dst_node_id for message in messages}
        node = asked.get(reply.metadata.reply_to_message_id)
        if node is not None:
            yield node, reply


def _examine(
    participant: Participant, reply: Message, answer: Answer, hall: Hall, progress: Progress, expected: Expected
) -> None:
    """Check a reply by itself, then against what the client said before and what its weights make of public images."""
    answer.reply, answer.result = reply, check(reply, expected, announced=participant.records)
    if not reply.has_error():
        reply.content = RecordDict()
    update = answer.result
    if isinstance(update, Refusal):
        return
    before = progress.ledgers.get(participant.name, "")
    problem = problem_with(update.ledger, before, private=participant.private, last_round=expected.round)
    if problem:
        answer.result = Refusal(problem, update.bytes)
        return
    marks = hall.score({name: torch.from_numpy(array) for name, array in update.arrays.items()})
    if not marks.finite:
        answer.result = Refusal(NO_ANSWERS, update.bytes)
        return
    answer.weights, answer.result, answer.accuracy = packed(update), replace(update, arrays={}), marks.mean


def _spare_all(answers: Sequence[Answer]) -> None:
    """Take the strikes back where most weights give no finite answers: the global model is at fault."""
    failed = [answer.result for answer in answers if _without_answers(answer.result)]
    if len(failed) <= sum(isinstance(answer.result, Update) for answer in answers):
        return
    for answer in answers:
        if isinstance(answer.result, Refusal) and _without_answers(answer.result):
            answer.result = replace(answer.result, strike=False)


def _without_answers(result: Update | Refusal | None) -> bool:
    return isinstance(result, Refusal) and result.reason == NO_ANSWERS
