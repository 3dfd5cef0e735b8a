"""A Flower Grid straight on the SuperLink's state, in the same process: no socket, no token, no app bundle."""

from collections.abc import Iterable
from datetime import UTC, datetime

from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.serverapp import Grid
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from common.exchange import CONFIG, END
from server.allowance import Allowance
from server.link_store import LinkStore
from server.polling import exchange
from server.refusal import BAD_REPLY
from server.unpacking import unpacked_size

POLL = 0.05
"""Seconds between two looks at the state; it lies in this process, so a look is cheap."""
FAREWELL = 5.0
"""Seconds that nodes are given to hear that the run is over."""


class LinkGrid(Grid):
    """Sends messages to nodes and collects their replies; a node that is gone, or sends too much, gives an error reply.

    Args:
        state: the SuperLink's state.
        store: where it keeps the parts of messages.
        allowance: granted to a node with each message.
    """

    def __init__(self, state: InMemoryLinkState, store: LinkStore, allowance: Allowance) -> None:
        self._state = state
        self._store = store
        self._allowance = allowance
        self._asked: dict[str, Message] = {}
        self._arriving: dict[str, Message] = {}
        """By the id of what was asked: replies whose parts are still being sent."""
        run_id = state.create_run(
            None, None, None, {}, NOOP_FEDERATION_ID, None, None, primary_task_type=TaskType.SERVER_APP
        )
        self._run = state.get_run_info(run_ids=[run_id])[0]
        self._task = int(self._run.primary_task_id or 0)
        state.claim_task(self._task)
        state.activate_task(self._task)
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, 1, self._task
        # Flower ends a run whose ServerApp gives no sign of life for a minute. This one lives in the same process, and
        # neither a pause of the machine nor a clock that is set forward shall end it.
        state.task_token_store[self._task].active_until = datetime.max.replace(tzinfo=UTC)

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
        """Return the nodes that are connected: those that gave a sign of life lately."""
        return sorted(self._state.get_nodes(self._run.run_id))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Put messages where nodes fetch them; equal arrays are kept once, however many nodes get them."""
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        session = self._state.start_session(self._run.run_id)
        message.metadata.__dict__["_run_id"] = self._run.run_id  # Flower's own is one for the whole process
        message.metadata.__dict__["_message_id"] = message.object_id
        with no_object_id_recompute():
            objects = get_all_nested_objects(message)
            # All parts first: a node must not see a message whose parts are still what somebody else said of them.
            for identity in self._state.preregister_object_tree(get_object_tree(message), session):
                self._state.store_object(self._run.run_id, session, identity, objects[identity].deflate())
            if not self._state.store_message_ins(remove_content_from_message(message)):
                self._store.delete(message.metadata.message_id)
                return ""
        self._allowance.grant(message.metadata.dst_node_id)
        self._asked[message.metadata.message_id] = remove_content_from_message(message)
        return str(message.metadata.message_id)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that have come whole, and error replies for those that never will."""
        wanted = {identity for identity in message_ids if identity}
        complete: list[Message] = []
        for reply in self._state.get_message_res(wanted - self._arriving.keys(), self._run.run_id):
            if reply.has_error():
                self._forget(reply.metadata.reply_to_message_id)
                complete.append(reply)
            else:
                self._arriving[reply.metadata.reply_to_message_id] = reply
        for asked in wanted & self._arriving.keys():
            whole = self._whole(self._arriving[asked])
            complete += [] if whole is None else [whole]
        for asked in wanted & self._asked.keys() - self._arriving.keys():
            if self._allowance.is_exceeded(self._asked[asked].metadata.dst_node_id):
                complete.append(self._failed(Message(RecordDict(), reply_to=self._asked[asked]), self._too_much()))
        return complete

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and return the replies that come within ``timeout`` seconds."""
        replies, unanswered = exchange(self, messages, timeout, POLL)
        for identity in unanswered:  # too late: what comes now is refused at the door
            self._forget(identity)
        with self._state.lock:  # nobody announces anything meanwhile
            self._store.keep_only([*self._state.message_ins_store, *self._state.message_res_store])
        return replies

    def _whole(self, reply: Message) -> Message | None:
        """Return a reply once all its parts are there, an error reply if they will not be, else None."""
        metadata = reply.metadata
        if self._allowance.is_exceeded(metadata.src_node_id):
            return self._failed(reply, self._too_much())
        if metadata.src_node_id not in self._state.get_nodes(self._run.run_id):
            return self._failed(reply, "it was lost while it sent its update", ErrorCode.MESSAGE_UNAVAILABLE)
        try:
            parts = self._store.parts_of(metadata.message_id)
        except NoObjectInStoreError:
            return self._failed(reply, "its reply is not whole", ErrorCode.MESSAGE_UNAVAILABLE)
        if parts is None:
            return None
        try:
            size = unpacked_size(parts)
            if size > self._allowance.unpacked_limit:
                return self._failed(reply, f"its reply would take {size} bytes in memory")
            inflated = inflate_object_from_contents(metadata.message_id, parts)
            content = inflated.content  # type: ignore[attr-defined]
        except Exception as error:  # whatever a node sends must not end the run
            return self._failed(reply, f"its reply cannot be read ({type(error).__name__})")
        if not isinstance(content, RecordDict):
            return self._failed(reply, "its reply cannot be read")
        self._forget(metadata.reply_to_message_id)
        # Who sent it and what it replies to is what Flower has authenticated, not what the parts say.
        return make_message(metadata=metadata, content=content)

    def _failed(self, reply: Message, reason: str, code: int = BAD_REPLY) -> Message:
        """Return an error in place of a reply, and drop what came of it."""
        metadata = reply.metadata
        self._forget(metadata.reply_to_message_id)
        return make_message(metadata=metadata, error=Error(code=code, reason=reason))

    def _too_much(self) -> str:
        return f"it sent more than the {self._allowance.limit} bytes that it may send for a message"

    def _forget(self, asked: str) -> None:
        self._asked.pop(asked, None)
        arriving = self._arriving.pop(asked, None)
        if arriving is not None:
            self._store.delete(arriving.metadata.message_id)
        self._state.delete_messages({asked})
        self._store.delete(asked)

    def farewell(self) -> None:
        """Tell every connected node that the run is over."""
        content = RecordDict({CONFIG: ConfigRecord({})})
        messages = [
            Message(content, dst_node_id=node, message_type=f"{MessageType.QUERY}.{END}")
            for node in self.get_node_ids()
        ]
        self.send_and_receive(messages, timeout=FAREWELL)

    def close(self) -> None:
        """End the run; nodes that ask for messages find none."""
        self._state.finish_task(self._task, SubStatus.COMPLETED, "")
