"""The node: a hospital's own SuperNode, which runs this checkout's ClientApp and nothing that a server sends.

Flower's SuperNode starts a fresh process for each message, with code that came from whoever submitted the run, and
sleeps for seconds between two looks. This one keeps one process with its own code and data, and asks several times a
second. It speaks Flower's Fleet API, so it also serves a SuperLink of Flower's own.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import ConfigRecord, Context, Error, Message, MessageType, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as WireMessage
from flwr.supercore.task_identity import TaskIdentity
from google.protobuf.message import DecodeError

from clients.app import app
from clients.connection import Connection, LostError, connect, load_key, own_key
from clients.holding import hospital_holding
from clients.hospital import load_hospital
from clients.strategies import build_strategy
from common.errors import UserError
from common.exchange import CLIENT, END, REFUSAL
from common.folder import write_bytes

POLL = 0.2
"""Seconds between two questions for messages."""
RETRY = 2.0
"""Seconds between two attempts to reach the server."""


@dataclass
class Node:
    """What a node keeps between messages."""

    hospital: Path
    in_work: Path
    """Names the message that is being worked on, so that a process that died in its work says so when it is back."""
    report: Callable[[str], None]
    contexts: dict[int, Context] = field(default_factory=dict)
    unsent: Message | None = None
    """A reply that a broken connection kept from the server; it is sent once more."""
    updates: int = 0
    """Rounds to which this node has sent an update."""
    refusal: str = ""
    """Why it takes no part, if it said so last."""


def run_node(
    hospital: Path,
    server: str,
    certificates: Path | None = None,
    *,
    patience: float = 600.0,
    stay: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Serve a server's rounds until it says that the run is over.

    Args:
        hospital: the hospital's own description.
        server: ``host:port``.
        certificates: folder with ``ca.crt`` and ``node.key``; None: plain HTTP.
        patience: seconds to wait for a server that cannot be reached.
        stay: wait for the next run instead of ending with this one.
        report: called with one sentence for each thing that a person may want to know.

    Raises:
        UserError: a mistake in the hospital's description or data, the certificates or the clock; or patience is at
            its end.
    """
    described = load_hospital(hospital)
    if certificates is not None and not (certificates / "ca.crt").is_file():
        raise UserError(f"--certificates {certificates}: there is no ca.crt; `psreval certificates` makes the folder")
    key = load_key(certificates / "node.key") if certificates else own_key(described.state / "node.key")
    node = Node(hospital.resolve(), described.state / "in-work", report)
    # Mistakes are told here, before a server waits; and preparing data may take longer than a server would.
    build_strategy(described.client())
    records = len(hospital_holding(described))
    since, told, connected = time.monotonic(), "", False
    while True:
        try:
            with connect(server, key, certificates / "ca.crt" if certificates else None) as connection:
                report(f"{described.name}: connected to {server}, with {records} records")
                connected, told = True, ""
                apologise(node, connection)
                while serve_one(node, connection):
                    pass
            report(f"{described.name}: the run is over; this node took part in {node.updates} of its rounds")
            if not stay and node.refusal and not node.updates:
                raise UserError(f"{described.name} took no part: {node.refusal}")
            if not stay:
                return
            node.updates, node.refusal = 0, ""
            time.sleep(RETRY)
        except LostError as lost:
            since, connected = (time.monotonic() if connected else since), False
            if not stay and time.monotonic() - since > patience:
                raise UserError(
                    f"--server {server}: it {lost}, for {patience:.0f} s; is it running, is the address right, is this "
                    "node's key among the server's nodes, and no other node connected with it?"
                ) from None
            if str(lost) != told:
                told = str(lost)
                report(f"{described.name}: {server} {told}; trying again every {RETRY:g} s")
            time.sleep(RETRY)


def serve_one(node: Node, connection: Connection) -> bool:
    """Wait for a message and answer it; False: the run is over."""
    message = connection.receive()
    while message is None:
        time.sleep(POLL)
        message = connection.receive()
    ended = message.metadata.message_type.endswith(f".{END}")
    write_bytes(node.in_work, message_to_proto(remove_content_from_message(message)).SerializeToString())
    started = time.monotonic()
    reply = _answer(node, connection, message)
    _note(node, message, reply)
    node.unsent = None if ended else reply
    with contextlib.suppress(LostError) if ended else contextlib.nullcontext():
        connection.send(reply, time.monotonic() - started)
    node.unsent = None
    node.in_work.unlink(missing_ok=True)
    return not ended


def _answer(node: Node, connection: Connection, message: Message) -> Message:
    run = message.metadata.run_id
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run, connection.node_id, 1
    context = node.contexts.setdefault(
        run, Context(run, connection.node_id, {"hospital": str(node.hospital)}, RecordDict(), {})
    )
    try:
        return app(message, context)
    except Exception as error:  # the client fails, the federation goes on
        node.report(f"failed on a message ({type(error).__name__}: {error})")
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, type(error).__name__), reply_to=message)


def _note(node: Node, message: Message, reply: Message) -> None:
    """Tell the hospital what its node refuses, once for each sentence, and count its updates."""
    if reply.has_error():
        return
    refusal = str(reply.content.config_records.get(CLIENT, ConfigRecord()).get(REFUSAL, ""))
    if refusal and refusal != node.refusal:
        node.report(f"takes no part: {refusal}")
    if refusal or message.metadata.message_type == MessageType.TRAIN:
        node.updates += not refusal
        node.refusal = refusal


def apologise(node: Node, connection: Connection) -> None:
    """Tell the server of work that died with an earlier process of this node; it need not wait for the timeout."""
    if not node.in_work.exists():
        return
    if node.unsent is not None and node.unsent.metadata.src_node_id == connection.node_id:
        unsent, node.unsent = node.unsent, None
        with contextlib.suppress(LostError):  # the server may have stopped waiting for it
            connection.send(unsent)
        node.in_work.unlink(missing_ok=True)
        return
    with contextlib.suppress(DecodeError, LostError, ValueError):
        message = message_from_proto(WireMessage.FromString(node.in_work.read_bytes()))
        if message.metadata.dst_node_id == connection.node_id:
            TaskIdentity.run_id, TaskIdentity.node_id = message.metadata.run_id, connection.node_id
            TaskIdentity.task_id = 1
            reason = "its process ended while it worked, and was started again"
            connection.send(Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message))
            node.report(f"reported to the server: {reason}")
    node.in_work.unlink(missing_ok=True)
