"""A node's connection to the server: Flower's Fleet API over HTTP or TLS, with a key that is the node's identity.

Private parts of Flower are used here and in ``clients.node``; tests notice when a release moves them.
"""

import contextlib
import email.utils
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from common.errors import UserError
from common.folder import write_bytes

HEARTBEAT = 10.0
"""Seconds for which a sign of life counts, Flower's least; a node that gives none for twice as long is lost."""
GOODBYE = 3.0
"""Seconds that a node waits for its goodbye to be heard."""
CLOCK_TOLERANCE = 4.0
"""Seconds by which a node's clock may be ahead; Flower refuses signatures from further in the future."""

_ANSWERS = {
    403: "is ending its run",
    412: "does not admit this node now: its key is not known there, or a node with it was connected seconds ago",
}
"""What Flower's answers mean, by status."""


class LostError(Exception):
    """The server cannot be reached, or does not know this node any more; another attempt may succeed."""


class Connection:
    """An open connection; ``connect`` makes one."""

    def __init__(self, client: FleetHttpClient, node: Node) -> None:
        self._client = client
        self._node = node

    @property
    def node_id(self) -> int:
        """The id under which the server knows this node."""
        return int(self._node.node_id)

    def receive(self) -> Message | None:
        """Return the next message for this node, whole, or None.

        Raises:
            LostError: see the class.
        """
        with told():
            response = self._client.PullMessages(PullMessagesRequest(node=self._node))
            if not response.messages_list:
                return None
            run_id = message_from_proto(response.messages_list[0]).metadata.run_id
            tree = response.message_object_trees[0]
            message = pull_and_inflate_object_from_tree(
                tree,
                make_pull_object_fn_protobuf(self._client.PullObject, self._node, run_id),
                make_confirm_message_received_fn_protobuf(self._client.ConfirmMessageReceived, self._node, run_id),
                return_type=Message,
            )
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def send(self, reply: Message, seconds: float = 0.0) -> None:
        """Send a reply; ``seconds`` is what the work took.

        Raises:
            LostError: see the class; also when the server does not want the reply any more.
        """
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with told(), no_object_id_recompute():
            response = self._client.PushMessages(
                PushMessagesRequest(
                    node=self._node,
                    messages_list=[message_to_proto(remove_content_from_message(reply))],
                    message_object_trees=[get_object_tree(reply)],
                    clientapp_runtime_list=[seconds],
                )
            )
            push_objects(
                get_all_nested_objects(reply),
                make_push_object_fn_protobuf(
                    self._client.PushObject, self._node, reply.metadata.run_id, response.session_id
                ),
                object_ids_to_push=set(response.objects_to_push),
            )


@contextlib.contextmanager
def connect(server: str, key: EllipticCurvePrivateKey, authority: Path | None) -> Iterator[Connection]:
    """Join the server at ``host:port``; leave when the block ends.

    Args:
        server: ``host:port``.
        key: this node's identity.
        authority: the certificate authority's ``ca.crt``; None: plain HTTP.

    Raises:
        LostError: the server cannot be reached, or does not admit this node now.
        UserError: the server's certificate or this machine's clock is wrong; another attempt will not help.
    """
    public = public_key_to_bytes(key.public_key())
    with FleetHttpClient.from_server_address(
        server,
        insecure=authority is None,
        root_certificates=str(authority) if authority else None,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    ) as client:
        with told():
            with contextlib.suppress(httpx.HTTPStatusError):  # registered already, or nobody may: then by a known key
                client.RegisterNode(RegisterNodeFleetRequest(public_key=public))
            response = client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=HEARTBEAT))
        node = Node(node_id=response.node_id)
        with _heartbeat(client, node):
            try:
                yield Connection(client, node)
            finally:
                _leave(client, node)


def _leave(client: FleetHttpClient, node: Node) -> None:
    """Say goodbye, but do not wait long for a server that may be gone."""

    def say() -> None:
        with contextlib.suppress(Exception):  # what is not heard, the missing heartbeats tell
            client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))

    thread = Thread(target=say, name="goodbye", daemon=True)
    thread.start()
    thread.join(timeout=GOODBYE)


@contextlib.contextmanager
def _heartbeat(client: FleetHttpClient, node: Node) -> Iterator[None]:
    stopped = Event()

    def beat() -> None:
        while not stopped.wait(HEARTBEAT / 2):
            with contextlib.suppress(Exception):  # what has been lost, the next question for messages tells
                client.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT))

    thread = Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what the transport raises into ``LostError`` or ``UserError``."""
    try:
        yield
    except httpx.TransportError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            reason = str(error).rpartition("certificate verify failed:")[2].strip(" )") or str(error)
            raise UserError(
                f"the server's certificate cannot be trusted ({reason[:200]}); compare ca.crt, the server's name and "
                "its expiry with who runs the server"
            ) from None
        raise LostError(f"cannot be reached ({error})") from error
    except httpx.HTTPStatusError as error:
        _check_clock(error.response)
        status = error.response.status_code
        raise LostError(_ANSWERS.get(status) or f"answered {status} {_reason(error.response)}".strip(" .")) from error
    except (ObjectPullError, ObjectPushError) as error:  # the server waits no longer for this message or reply
        raise LostError(f"has gone on without this node ({type(error).__name__})") from error
    except (httpx.RequestError, ValueError, RuntimeError, KeyError) as error:  # cannot be read; parts that are gone
        raise LostError(f"gave an answer that cannot be used ({error})") from error


def _reason(response: httpx.Response) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        told = response.json()
        return str(told.get("message") or told.get("detail") or "")[:200]
    return ""


def _check_clock(response: httpx.Response) -> None:
    if response.status_code != httpx.codes.UNAUTHORIZED or "date" not in response.headers:
        return
    ahead = time.time() - email.utils.parsedate_to_datetime(response.headers["date"]).timestamp()
    if ahead > CLOCK_TOLERANCE or ahead < -300:
        raise UserError(
            f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's, so its "
            "signatures are refused; set the clock (NTP)"
        )


def load_key(file: Path) -> EllipticCurvePrivateKey:
    """Return a node's private key.

    Raises:
        UserError: there is none in the file.
    """
    try:
        key = load_ssh_private_key(file.read_bytes(), None)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise UserError(
            f"{file} holds no private key of a node ({type(error).__name__}); see `psreval certificates`"
        ) from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise UserError(f"{file} holds a key of another kind; `psreval certificates` makes the right one")
    return key


def own_key(file: Path) -> EllipticCurvePrivateKey:
    """Return the key in ``file``, made at the first call: without certificates it only keeps a restarted node's id."""
    if not file.exists():
        key = generate_private_key(SECP384R1())
        write_bytes(file, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
    return load_key(file)
