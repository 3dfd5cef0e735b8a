"""A participant that answers every round with another fault, from a process of its own.

It joins as a hospital would and introduces itself honestly; what it sends then, each row of ``FAULTS`` says. Weights
that it sends are far from the others', so that one accepted update would change the model.
"""

import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id, get_object_tree
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.task_identity import TaskIdentity

from clients.connection import HEARTBEAT, Connection, LostError, connect, own_key
from common.exchange import ARRAYS, CLIENT, CONFIG, END, EXAMPLES, METRICS, REFUSAL, REPLY_ROUND, RUN
from common.folder import write_text

RECORDS = 24
MEBIBYTE = 2**20
LAST = "that was all"
"""What it says after a fault that gets no answer to its message, so that the round need not wait for it."""


@dataclass
class Rogue:
    """What the faults need: the connection, the message that is to be answered, and notes for the test."""

    connection: Connection
    folder: Path
    name: str
    message: Message = field(init=False)
    before: Message | None = None
    """The last reply that it sent whole."""
    doors: list[Any] = field(default_factory=list)
    """What the server's door answered to the fault in work."""

    @property
    def config(self) -> ConfigRecord:
        """The settings of the message."""
        return self.message.content.config_records[CONFIG]

    @property
    def number(self) -> int:
        """The round that is asked for."""
        number = self.config["server-round"]
        assert isinstance(number, int)
        return number

    def weights(self) -> dict[str, np.ndarray]:
        """The global weights, moved far away."""
        received = self.message.content.array_records[ARRAYS]
        return {name: array.numpy() + np.float32(1) for name, array in received.items()}

    def send(self, content: RecordDict | Error) -> None:
        """Reply as a node does."""
        reply = Message(content, reply_to=self.message)
        self.connection.send(reply)
        self.before = reply

    def call(self, method: str, request: Any) -> Any:
        """Call Flower's API; note the status and return the response, None for a refusal."""
        client: Any = self.connection._client
        try:
            response = getattr(client, method)(request)
        except httpx.HTTPStatusError as error:
            self.doors.append(error.response.status_code)
            return None
        except (httpx.HTTPError, RuntimeError) as error:
            self.doors.append(type(error).__name__)
            return None
        self.doors.append(200)
        return response

    def node(self) -> Node:
        """Who it is."""
        return Node(node_id=self.connection.node_id)

    def announce(self, reply: Message, tree: ObjectTree | None = None, node: Node | None = None) -> Any:
        """Announce a reply, with another tree of parts or from another node if given."""
        reply.metadata.__dict__["_message_id"] = reply.object_id
        return self.call(
            "PushMessages",
            PushMessagesRequest(
                node=node or self.node(),
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[tree or get_object_tree(reply)],
            ),
        )

    def push(self, identity: str, part: bytes, session: str) -> Any:
        """Send a part of an announced reply."""
        run = self.message.metadata.run_id
        request = PushObjectRequest(
            node=self.node(), run_id=run, session_id=session, object_id=identity, object_content=part
        )
        return self.call("PushObject", request)


def good(rogue: Rogue, examples: Any = RECORDS, **changes: Any) -> RecordDict:
    """A reply that would be accepted; ``changes`` replace weights by name."""
    about = {"ledger": "", REPLY_ROUND: rogue.number, RUN: rogue.config[RUN]}
    arrays = {name: Array(array) for name, array in {**rogue.weights(), **changes}.items()}
    return RecordDict(
        {
            ARRAYS: ArrayRecord(arrays),
            METRICS: MetricRecord({EXAMPLES: examples, "train-loss": 0.5}),
            CLIENT: ConfigRecord(about),
        }
    )


def refusal(words: str) -> RecordDict:
    """A refusal in due form."""
    return RecordDict({CLIENT: ConfigRecord({REFUSAL: words})})


class HangsUpError(Exception):
    """The rogue leaves in the middle of a round."""

    def __init__(self, number: int) -> None:
        super().__init__(f"hangs up in round {number}")
        self.round = number


Act = Callable[[Rogue], None]


def _first(change: Callable[[np.ndarray], np.ndarray]) -> Act:
    """Send the first array changed."""

    def act(rogue: Rogue) -> None:
        name, array = next(iter(rogue.weights().items()))
        rogue.send(good(rogue, **{name: change(array)}))

    return act


def _filled(value: float) -> Act:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[0] = value
        return array

    return _first(change)


def _without(record: str) -> Act:
    def act(rogue: Rogue) -> None:
        content = good(rogue)
        del content[record]
        rogue.send(content)

    return act


def _examples(count: Any) -> Act:
    return lambda rogue: rogue.send(good(rogue, examples=count))


def _about(**changes: Any) -> Act:
    def act(rogue: Rogue) -> None:
        content = good(rogue)
        content[CLIENT] = ConfigRecord({**content.config_records[CLIENT], **changes})
        rogue.send(content)

    return act


def _missing(rogue: Rogue) -> None:
    content = good(rogue)
    arrays = dict(content.array_records[ARRAYS])
    arrays.popitem()
    content[ARRAYS] = ArrayRecord(arrays)
    rogue.send(content)


def _second_metrics(rogue: Rogue) -> None:
    content = good(rogue)
    content["more"] = MetricRecord({"surprise": 1.0})
    rogue.send(content)


def _unanswerable(rogue: Rogue) -> None:
    rogue.send(good(rogue, **{name: np.full_like(array, 3e38) for name, array in rogue.weights().items()}))


def _pickled(rogue: Rogue) -> None:
    """Weights as a pickled object that would write a file."""
    name, array = next(iter(rogue.weights().items()))
    buffer = io.BytesIO()
    np.save(buffer, np.full(array.shape, _Trap(rogue.folder / "unpickled"), dtype=object), allow_pickle=True)
    content = good(rogue)
    content.array_records[ARRAYS][name] = Array("object", array.shape, "numpy.ndarray", buffer.getvalue())
    rogue.send(content)


class _Trap:
    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self._file),))


def _vast_header(rogue: Rogue) -> None:
    """A header that promises a terabyte, before a few bytes."""
    name, array = next(iter(rogue.weights().items()))
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**38,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    content = good(rogue)
    content.array_records[ARRAYS][name] = Array("float32", array.shape, "numpy.ndarray", buffer.getvalue() + b"\0" * 8)
    rogue.send(content)


def _many_metrics(rogue: Rogue) -> None:
    content = good(rogue)
    content[METRICS] = MetricRecord({f"metric-{number:0100d}": 1.0 for number in range(12_000)} | {EXAMPLES: RECORDS})
    rogue.send(content)


def _repeated(rogue: Rogue) -> None:
    """A gibibyte of zeros that crosses the wire as one mebibyte."""
    name, array = next(iter(rogue.weights().items()))
    reply = Message(good(rogue), reply_to=rogue.message)
    chunk = _part("ArrayChunk", [], bytes(MEBIBYTE))
    about = {"dtype": "float32", "shape": list(array.shape), "stype": "numpy.ndarray", "arraychunk_ids": [0] * 1024}
    whole = _part("Array", [get_object_id(chunk)], json.dumps(about).encode())
    _send_forged(
        rogue, reply, reply.content.array_records[ARRAYS][name].object_id, whole, {get_object_id(chunk): chunk}
    )


def _no_pieces(rogue: Rogue) -> None:
    """An array whose list of pieces names one that is not there."""
    name, _ = next(iter(rogue.weights().items()))
    reply = Message(good(rogue), reply_to=rogue.message)
    about = {"dtype": "float32", "shape": [1], "stype": "numpy.ndarray", "arraychunk_ids": [7]}
    whole = _part("Array", [], json.dumps(about).encode())
    _send_forged(rogue, reply, reply.content.array_records[ARRAYS][name].object_id, whole, {})


def _no_records(rogue: Rogue) -> None:
    """Content that is no record of records, under the right name."""
    reply = Message(good(rogue), reply_to=rogue.message)
    whole = _part("RecordDict", [], b"\xff\xfe no JSON")
    _send_forged(rogue, reply, reply.content.object_id, whole, {})


def _part(kind: str, children: Sequence[str], body: bytes) -> bytes:
    """One of Flower's objects as it is sent."""
    return f"{kind} {','.join(children)} {len(body)}".encode() + b"\0" + body


def _send_forged(rogue: Rogue, reply: Message, replaced: str, by: bytes, more: dict[str, bytes]) -> None:
    """Send a reply in which one object is another, with the ids of all that contain it put right."""
    objects = get_all_nested_objects(reply)
    parts = {identity: part.deflate() for identity, part in objects.items()}
    children = {identity: list((part.children or {}).keys()) for identity, part in objects.items()}
    new = {replaced: get_object_id(by)}
    sent: dict[str, bytes] = {**more, new[replaced]: by}
    trees: dict[str, ObjectTree] = {
        replaced: ObjectTree(object_id=new[replaced], children=[ObjectTree(object_id=identity) for identity in more])
    }
    for identity, part in parts.items():  # children come before what contains them
        if identity == replaced:
            continue
        for old, forged in new.items():
            part = part.replace(old.encode(), forged.encode())
        if get_object_id(part) != identity:
            new[identity] = get_object_id(part)
        sent[get_object_id(part)] = part
        trees[identity] = ObjectTree(
            object_id=get_object_id(part), children=[trees[child] for child in children[identity]]
        )
    root = reply.object_id
    announced = remove_content_from_message(reply)
    announced.metadata.__dict__["_message_id"] = new[root]
    response = rogue.call(
        "PushMessages",
        PushMessagesRequest(
            node=rogue.node(), messages_list=[message_to_proto(announced)], message_object_trees=[trees[root]]
        ),
    )
    for identity in response.objects_to_push:
        rogue.push(identity, sent[identity], response.session_id)


def _gibibyte(rogue: Rogue) -> None:
    """A gibibyte of noise in parts, whatever the server says; ``sent`` tells the test how much it was."""
    noise = np.random.default_rng(0).bytes(5 * MEBIBYTE)
    reply = Message(good(rogue), reply_to=rogue.message)
    parts = [_part("ArrayChunk", [], number.to_bytes(4, "big") + noise) for number in range(205)]
    tree = get_object_tree(reply)
    tree.children.extend(ObjectTree(object_id=get_object_id(part)) for part in parts)
    while not (rogue.folder / "go").exists():
        time.sleep(0.01)
    response = rogue.announce(reply, tree)
    sent = 0
    for part in parts:
        rogue.push(get_object_id(part), part, response.session_id if response else "")
        sent += len(part)
    (rogue.folder / "sent").write_text(str(sent))


def _one_request(rogue: Rogue) -> None:
    """A gibibyte in one request that does not announce its length."""
    client: Any = rogue.connection._client
    piece = bytes(MEBIBYTE)

    def body() -> Any:
        for _ in range(1024):
            yield piece

    try:
        response = httpx.post(f"{client._base_url}/v1/fleet/push-messages", content=body(), timeout=60)
        rogue.doors.append(response.status_code)
    except httpx.HTTPError as error:
        rogue.doors.append(type(error).__name__)
    rogue.send(refusal(LAST))


def _garbage(rogue: Rogue) -> None:
    """A request that is no protobuf."""
    client: Any = rogue.connection._client
    for path in ("push-messages", "push-object", "pull-messages", "activate-node"):
        headers = {"content-type": "application/protobuf"}
        response = httpx.post(f"{client._base_url}/v1/fleet/{path}", content=b"\xff" * 1000, headers=headers)
        rogue.doors.append(response.status_code)
    rogue.send(refusal(LAST))


def _garbage_parts(rogue: Rogue) -> None:
    """Parts that are not what was announced; then it hangs up, and comes back."""
    reply = Message(good(rogue), reply_to=rogue.message)
    response = rogue.announce(reply)
    for identity in response.objects_to_push:
        rogue.push(identity, b"garbage", response.session_id)
    raise HangsUpError(rogue.number)


def _two_replies(rogue: Rogue) -> None:
    """A refusal, and then a reply that would be good."""
    rogue.send(refusal("first"))
    with contextlib.suppress(LostError):
        rogue.send(good(rogue))


def _replay(rogue: Rogue) -> None:
    """Its last reply once more, as it was."""
    if rogue.before is not None:
        rogue.announce(rogue.before)
    rogue.send(refusal(LAST))


def _old_content(rogue: Rogue) -> None:
    """A good update that was made for the round before."""
    content = good(rogue)
    about = {**content.config_records[CLIENT], REPLY_ROUND: rogue.number - 1}
    content[CLIENT] = ConfigRecord(about)
    rogue.send(content)


def _long_error(rogue: Rogue) -> None:
    with contextlib.suppress(LostError):
        rogue.send(Error(2, "x" * (10 * MEBIBYTE)))
    rogue.doors.append("sent")
    rogue.send(refusal(LAST))


def _forged_node(rogue: Rogue) -> None:
    """A reply in another node's name, by the request and by the message."""
    reply = Message(good(rogue), reply_to=rogue.message)
    other = rogue.connection.node_id ^ 1
    rogue.announce(reply, node=Node(node_id=other))
    reply.metadata.__dict__["_src_node_id"] = other
    rogue.announce(reply)
    rogue.send(refusal(LAST))


def _orders(rogue: Rogue) -> None:
    """An order of the server's, forged: it tells a node (here itself) that the run is over."""
    order = Message(RecordDict({CONFIG: ConfigRecord({})}), dst_node_id=rogue.connection.node_id, message_type="query")
    order.metadata.__dict__.update(
        {"_message_type": f"query.{END}", "_src_node_id": 1, "_run_id": rogue.message.metadata.run_id}
    )
    rogue.announce(order)
    heard = rogue.connection.receive()
    rogue.doors.append("heard" if heard is not None else "not heard")
    rogue.send(refusal(LAST))


def _reconnects(rogue: Rogue) -> None:
    """Leave and come back a hundred times in the middle of a round."""
    public = public_key_to_bytes(own_key(rogue.folder / f"{rogue.name}.key").public_key())
    for _ in range(100):
        rogue.call("DeactivateNode", DeactivateNodeRequest(node_id=rogue.connection.node_id))
        rogue.call("ActivateNode", ActivateNodeRequest(public_key=public, heartbeat_interval=HEARTBEAT))
    raise HangsUpError(rogue.number)


def _tree_bomb(rogue: Rogue) -> None:
    """A tree of parts in which each names the one below forty times: forty to the eighth, in a few kilobytes."""
    reply = Message(good(rogue), reply_to=rogue.message)
    names = [get_object_id(f"{rogue.connection.node_id} {level}".encode()) for level in range(8)]
    below = ObjectTree(object_id=names[0])
    for name in names[1:]:
        below = ObjectTree(
            object_id=name, children=[below, *(ObjectTree(object_id=below.object_id) for _ in range(39))]
        )
    reply.metadata.__dict__["_message_id"] = reply.object_id
    rogue.announce(reply, ObjectTree(object_id=reply.object_id, children=[below]))
    time.sleep(1)  # for the server to count its leaves
    raise HangsUpError(rogue.number)


def _deep_tree(rogue: Rogue) -> None:
    """A chain of parts, announced piece by piece, that is longer than Python's stack."""
    reply = Message(good(rogue), reply_to=rogue.message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    rogue.announce(reply, ObjectTree(object_id=reply.object_id))
    below = ObjectTree(object_id=get_object_id(b"bottom"))
    for piece in range(40):
        for level in range(50):
            name = get_object_id(f"{rogue.connection.node_id} {piece} {level}".encode())
            below = ObjectTree(object_id=name, children=[below])
        rogue.announce(reply, below)
        below = ObjectTree(object_id=below.object_id)
    raise HangsUpError(rogue.number)


def _poisoned_tree(rogue: Rogue) -> None:
    """The settings that the server will send in the next round, announced with a part that never comes."""
    config = ConfigRecord({**rogue.config, "server-round": rogue.number + 1})
    missing = ObjectTree(object_id=get_object_id(f"{rogue.connection.node_id} never".encode()))
    reply = Message(refusal(LAST), reply_to=rogue.message)
    tree = get_object_tree(reply)
    tree.children.append(ObjectTree(object_id=config.object_id, children=[missing]))
    response = rogue.announce(reply, tree)
    for identity, part in get_all_nested_objects(reply).items():
        rogue.push(identity, part.deflate(), response.session_id)


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        name: what the rogue does.
        act: how.
        reason: what rounds.jsonl says of it.
        strike: whether it counts as a bad update.
        flower: what Flower 1.41 makes of it, where that was measured.
        status: of its line.
    """

    name: str
    act: Act
    reason: str
    strike: bool = True
    flower: str = ""
    status: str = "refused"


FAULTS = [
    Fault("NaN in the weights", _filled(np.nan), "holds NaN or infinity", flower="model NaN under FedAvg, FedMedian"),
    Fault("infinity in the weights", _filled(np.inf), "holds NaN or infinity"),
    Fault("finite weights that overflow", _unanswerable, "more than 1000 times the global model"),
    Fault(
        "weights of shape (3, 5)",
        _first(lambda array: np.zeros((3, 5), np.float32)),
        "has shape (3, 5) instead of",
        flower="the run ends (ValueError)",
    ),
    Fault(
        "weights of shape (1,), which broadcast",
        _first(lambda array: np.zeros(1, np.float32)),
        "has shape (1,) instead of",
        flower="silently accepted by FedAvg; the run ends under the others",
    ),
    Fault("float64 weights", _first(lambda array: array.astype(np.float64)), "instead of", flower="accepted"),
    Fault("int8 weights", _first(lambda array: np.ones_like(array, np.int8)), "has type int8", flower="accepted"),
    Fault("pickled weights", _pickled, "has type object"),
    Fault("a header that promises a terabyte", _vast_header, "has shape (274877906944,)"),
    Fault("an array missing", _missing, "array names differ: missing", flower="the run ends"),
    Fault(
        "an array too many",
        lambda rogue: rogue.send(good(rogue, surprise=np.zeros(2, np.float32))),
        "unknown ['surprise']",
        flower="the run ends",
    ),
    Fault("no arrays", _without(ARRAYS), "expected one record 'arrays' of arrays, got none", flower="the run ends"),
    Fault("no metrics", _without(METRICS), "expected one record 'metrics' of metrics, got none"),
    Fault("no settings", _without(CLIENT), "expected one record 'client' of settings, got none"),
    Fault(
        "a second record of metrics", _second_metrics, "expected one record 'metrics' of metrics, got 'metrics', 'more'"
    ),
    Fault(
        "the client raises",
        lambda rogue: rogue.send(Error(2, "ValueError")),
        "the client failed: ValueError",
        strike=False,
        flower="an error reply; the run goes on",
    ),
    Fault(
        "num-examples = 1e12",
        _examples(10**12),
        "num-examples = 1000000000000 is not between 1 and the 24 that it announced",
        flower="takes over the average (FedAvg)",
    ),
    Fault("num-examples = -512", _examples(-512), "num-examples = -512 is not between", flower="accepted"),
    Fault("num-examples = 0", _examples(0), "num-examples = 0 is not between"),
    Fault(
        "num-examples = NaN",
        _examples(float("nan")),
        "num-examples = nan is not a whole number",
        flower="model NaN (FedAvg)",
    ),
    Fault("num-examples = [24]", _examples([24]), "num-examples = [24] is not a whole number"),
    Fault("an update of the round before", _old_content, "its reply is for round"),
    Fault("an update for another run", _about(run="0" * 16), "its reply is for another run"),
    Fault("its last reply once more", _replay, LAST, strike=False),
    Fault("two replies to one message", _two_replies, "first", strike=False),
    Fault("a million bytes of metrics", _many_metrics, "its metrics and settings have"),
    Fault("a ledger of 1.2 MB", _about(ledger="x" * 1_200_000), "its metrics and settings have"),
    Fault("a ledger that is none", _about(ledger="{"), "ledger"),
    Fault(
        "a refusal with terminal codes", lambda rogue: rogue.send(refusal("\x1b[31mred\x07")), "[31mred", strike=False
    ),
    Fault("a gibibyte of zeros, sent as one mebibyte", _repeated, "its reply would take 107", flower="accepted"),
    Fault("an array that lists pieces it has not", _no_pieces, "its reply cannot be read"),
    Fault("content that cannot be read", _no_records, "its reply cannot be read"),
    Fault("requests that are no protobuf", _garbage, LAST, strike=False),
    Fault(
        "parts that are not what was announced, then it hangs up", _garbage_parts, "lost", strike=False, status="silent"
    ),
    Fault("an error with 10 MB of text", _long_error, LAST, strike=False),
    Fault("a reply in another node's name", _forged_node, LAST, strike=False),
    Fault("a forged order of the server", _orders, LAST, strike=False),
    Fault("a tree of parts that grows without end", _tree_bomb, "lost", strike=False, status="silent"),
    Fault("a tree of parts deeper than the stack", _deep_tree, "lost", strike=False, status="silent"),
    Fault("the next round's settings, announced with a part that never comes", _poisoned_tree, LAST, strike=False),
    Fault("a hundred reconnects in a round", _reconnects, "lost", strike=False, status="silent"),
    Fault("a gibibyte in one request", _one_request, LAST, strike=False),
]
"""One row a round, in turn over the rogues."""

GIBIBYTE = Fault("a gibibyte in parts", _gibibyte, "it sent more than the", flower="accepted, no limit")
NAN = FAULTS[0]


def act(server: str, name: str, folder: str, faults: Sequence[str]) -> None:
    """Join as hospital ``name`` and answer one round after the other with these faults; after them refuse."""
    place, left = Path(folder), [fault for wanted in faults for fault in [*FAULTS, GIBIBYTE] if fault.name == wanted]
    key = own_key(place / f"{name}.key")
    while True:
        try:
            with connect(server, key, None) as connection:
                if not _serve(Rogue(connection, place, name), left):
                    return
        except HangsUpError as error:
            _stay_away(place, error.round)
        except LostError as error:
            print("rogue:", error, flush=True)
            time.sleep(0.2)


def _serve(rogue: Rogue, left: list[Fault]) -> bool:
    while True:
        message = rogue.connection.receive()
        if message is None:
            time.sleep(0.05)
            continue
        rogue.message = message
        TaskIdentity.run_id, TaskIdentity.node_id = message.metadata.run_id, rogue.connection.node_id
        TaskIdentity.task_id = 1
        if message.metadata.message_type.endswith(f".{END}"):
            with contextlib.suppress(LostError):
                rogue.send(RecordDict())
            return False
        if message.metadata.message_type != "train":
            about: dict[str, Any] = {
                "name": rogue.name,
                "records": RECORDS,
                "strategy": "honest",
                "honest": True,
                "private": False,
            }
            rogue.send(RecordDict({CLIENT: ConfigRecord(about)}))
            continue
        number = rogue.number
        if not left:
            rogue.send(refusal("no more faults"))
            continue
        fault, rogue.doors = left.pop(0), []
        print(f"rogue: round {number}: {fault.name}", flush=True)
        try:
            fault.act(rogue)
        finally:
            note = {"fault": fault.name, "round": number, "client": rogue.name, "doors": rogue.doors}
            write_text(rogue.folder / f"{rogue.name}-{number}.json", json.dumps(note))


def _stay_away(folder: Path, number: int) -> None:
    """Stay away until a round is over, so that the server is sure to see that nobody is there."""
    while not any(file.read_text().count("\n") >= number for file in folder.parent.glob("runs/*/*/rounds.jsonl")):
        time.sleep(0.05)
