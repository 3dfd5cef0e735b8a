"""The in-process runner: a Flower Grid that calls the ClientApp directly, without actors, sockets or copies.

It uses private parts of Flower (`flwr.supercore`), as docs/design.md lists; tests/experiments/test_inprocess.py notices
when a Flower release moves them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

CLIENT_FAILED = 2
"""Flower's error code for an exception in a ClientApp."""


class InProcessGrid(Grid):
    """Delivers each message to the ClientApp at once, one client after the other.

    Args:
        client_app: the same object that SuperNodes run.
        clients: how many; node ids are 1, 2, …, partition ids 0, 1, ….
        configurations: what each node's own configuration says besides; None: nothing.
    """

    def __init__(
        self, client_app: ClientApp, clients: int, configurations: Sequence[Mapping[str, str | bool]] | None = None
    ) -> None:
        told = configurations or [{}] * clients
        self._app = client_app
        self._run = Run.create_empty(run_id=1)
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1
        self._contexts = {
            number + 1: Context(
                run_id=1,
                node_id=number + 1,
                node_config={
                    "partition-id": number,
                    "num-partitions": clients,
                    "in-process": True,
                    **told[number],
                },
                state=RecordDict(),
                run_config={},
            )
            for number in range(clients)
        }
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message, as older strategies do."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> list[int]:
        """Return all node ids; a node in this process is always connected."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Deliver messages; their replies wait for ``pull_messages``."""
        kept = _named(messages)
        self._replies |= {reply.metadata.reply_to_message_id: reply for reply in self._answers(kept, None)}
        return [message.metadata.message_id for message in kept]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to these messages."""
        return [self._replies.pop(identity) for identity in list(message_ids) if identity in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies one by one; a message is delivered when its reply is wanted, so that few are held at once.

        ``timeout`` cannot interrupt a client in the same process.
        """
        for reply in self._answers(_named(messages), timeout):
            reply.metadata.__dict__["_message_id"] = str(uuid4())
            yield reply

    def _answers(self, messages: Sequence[Message], timeout: float | None) -> Iterator[Message]:
        return map(self._deliver, messages)

    def _deliver(self, message: Message) -> Message:
        return answer(self._app, message, self._contexts[message.metadata.dst_node_id])


def answer(app: ClientApp, message: Message, context: Context) -> Message:
    """Return a client's reply to a message, as a SuperNode would: the client may fail, the federation goes on."""
    try:
        return app(message, context)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit and asyncio's CancelledError among them
        return Message(Error(CLIENT_FAILED, f"{type(error).__name__}: {error}"), reply_to=message)


def _named(messages: Iterable[Message]) -> list[Message]:
    """Give messages their ids, as Flower does when it sends them."""
    kept = list(messages)
    for message in kept:
        message.metadata.__dict__["_message_id"] = str(uuid4())
    return kept
