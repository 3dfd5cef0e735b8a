"""A Grid that asks for replies several times a second; Flower's own over HTTP sleeps for three between two looks."""

import time
from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

POLL = 0.2
"""Seconds between two looks over a socket."""


def exchange(
    grid: Grid, messages: Iterable[Message], timeout: float | None, poll: float
) -> tuple[list[Message], set[str]]:
    """Send messages, collect their replies.

    Args:
        grid: only its ``push_messages`` and ``pull_messages`` are used.
        messages: to whom is in each.
        timeout: seconds after which no reply is waited for; None: without end.
        poll: seconds between two looks.

    Returns:
        The replies, each from the node that was asked, also where Flower itself reports that node's failure; and the
        ids of the messages that got none.
    """
    kept = list(messages)
    asked = {
        identity: message.metadata.dst_node_id
        for message, identity in zip(kept, grid.push_messages(kept), strict=True)
        if identity
    }
    waiting, replies = set(asked), list[Message]()
    deadline = None if timeout is None else time.monotonic() + timeout
    while waiting:
        for reply in grid.pull_messages(waiting):
            if reply.metadata.reply_to_message_id in waiting:
                waiting.remove(reply.metadata.reply_to_message_id)
                reply.metadata.__dict__["_src_node_id"] = asked[reply.metadata.reply_to_message_id]
                replies.append(reply)
        if deadline is not None and time.monotonic() >= deadline:
            break
        if waiting:
            time.sleep(poll)
    return replies, waiting


class PollingGrid(Grid):
    """Another grid, asked more often.

    Args:
        grid: any grid of Flower's.
        poll: seconds between two looks.
    """

    def __init__(self, grid: Grid, poll: float = POLL) -> None:
        self._grid = grid
        self._poll = poll

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message, as older strategies do."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes that are connected."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; return their ids."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and return the replies that come within ``timeout`` seconds."""
        return exchange(self._grid, messages, timeout, self._poll)[0]
