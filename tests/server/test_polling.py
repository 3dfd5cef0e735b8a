from collections.abc import Iterable

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from server.polling import PollingGrid, exchange


class Scripted:
    """A grid whose nodes reply after so many looks; never for None. What it sends says that the server sent it."""

    def __init__(self, looks: dict[int, int | None]) -> None:
        self.looks, self.asked, self.pulls = looks, dict[str, Message](), 0

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        identities = []
        for message in messages:
            identity = f"m{message.metadata.dst_node_id}"
            message.metadata.__dict__["_message_id"] = identity
            self.asked[identity] = message
            identities.append("" if message.metadata.dst_node_id == 0 else identity)
        return identities

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        self.pulls += 1
        replies = []
        for identity in message_ids:
            message = self.asked[identity]
            after = self.looks[message.metadata.dst_node_id]
            if after is not None and self.pulls > after:
                reply = Message(Error(3, "gone"), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = 1
                replies += [reply, reply]  # and one too many
        return replies


@pytest.fixture(autouse=True)
def identity() -> None:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1


def messages(*nodes: int) -> list[Message]:
    return [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes]


def test_every_reply_comes_once_and_names_the_node_that_was_asked() -> None:
    grid = Scripted({5: 0, 6: 2})
    replies, unanswered = exchange(grid, messages(5, 6), None, 0.0)  # type: ignore[arg-type]
    assert [reply.metadata.src_node_id for reply in replies] == [5, 6]
    assert unanswered == set()
    assert grid.pulls == 3


def test_who_does_not_reply_in_time_is_named() -> None:
    replies, unanswered = exchange(Scripted({5: 0, 6: None}), messages(5, 6), 0.0, 0.0)  # type: ignore[arg-type]
    assert len(replies) == 1
    assert unanswered == {"m6"}


def test_a_message_that_could_not_be_sent_is_not_waited_for() -> None:
    replies, unanswered = exchange(Scripted({}), messages(0), None, 0.0)  # type: ignore[arg-type]
    assert (replies, unanswered) == ([], set())


def test_a_grid_is_asked_through_another() -> None:
    grid = PollingGrid(Scripted({5: 1}), poll=0.0)  # type: ignore[arg-type]
    assert len(grid.send_and_receive(messages(5), timeout=30)) == 1
