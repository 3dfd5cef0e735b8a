"""What peers say to each other, as bytes: the one codec of every transport.

A question is a line of JSON, and so is the answer to a ping. The answer to a pull is a safetensors file: eight bytes
that give the length of the header, the header as JSON, then the weights. All peers of a run know names, shapes and
types of the weights, so an answer's size and its table of arrays are known before it is read: whatever differs is
refused before any weight is looked at, and nothing is ever unpickled.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

QUESTION_LIMIT = 1_000
"""Bytes of a question that are read."""
STATUS_LIMIT = 1_000
"""Bytes of the answer to a ping that are read."""
LARGEST = 10**15
"""Versions, turns and records are below it: as text they have at most ``_DIGITS`` digits."""
_DIGITS = 15
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class RefusedError(Exception):
    """A message that no honest peer of this run sends; its text is one sentence, safe to print."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        run: digest of what all peers of the run have agreed on.
        pull: whether the weights are wanted; else only the version.
        newer_than: of a pull: the version that the asker has merged last, so that nothing older travels.
        before: the wave (``peers.order``) that the asker's update belongs to; it wants what there was when that wave
            began. None: whatever is newest.
    """

    run: str
    pull: bool = False
    newer_than: int = 0
    before: int | None = None


@dataclass(frozen=True)
class Status:
    """The answer to a ping.

    Attributes:
        version: of the answering peer's model; 0: it has not trained yet.
        records: that it says it trained on.
        turns: of its own turns that are over, or were when the wave began that was asked for; a turn in which the
            training failed makes no version.
        done: whether all of its turns are.
    """

    version: int
    records: int
    turns: int
    done: bool


@dataclass(frozen=True, eq=False)
class Parcel:
    """The answer to a pull: a model on its way.

    Attributes:
        sender: whose model it is.
        version: of the model.
        records: that the sender says it trained on, 1 or more.
        arrays: name → tensor on the CPU.
    """

    sender: str
    version: int
    records: int
    arrays: dict[str, Tensor]


def ping(run: str, before: int | None = None) -> bytes:
    """Return the question for another peer's version."""
    return _text({"run": run, "ask": "ping", "before": before})


def pull(run: str, newer_than: int, before: int | None = None) -> bytes:
    """Return the question for another peer's model, if it is newer than the version that was merged last."""
    return _text({"run": run, "ask": "pull", "newer_than": newer_than, "before": before})


def decode_question(question: bytes) -> Question:
    """Read a question. Raises RefusedError."""
    told = _json(question, QUESTION_LIMIT, "its question")
    asked = told.get("ask")
    keys = {"ping": {"run", "ask", "before"}, "pull": {"run", "ask", "newer_than", "before"}}
    if not isinstance(asked, str) or asked not in keys or told.keys() != keys[asked]:
        raise RefusedError("its question is neither a ping nor a pull")
    before = None if told["before"] is None else _whole(told, "before", "its question")
    newer_than = _whole(told, "newer_than", "its question") if asked == "pull" else 0
    return Question(_run(told), asked == "pull", newer_than, before)


def encode_status(status: Status, run: str) -> bytes:
    """Return the answer to a ping."""
    return _text({"run": run, **vars(status)})


def decode_status(answer: bytes, run: str) -> Status:
    """Read the answer to a ping. Raises RefusedError: it is none, or of another run."""
    told = _json(answer, STATUS_LIMIT, "its status")
    if told.keys() != {"run", "version", "records", "turns", "done"} or not isinstance(told["done"], bool):
        raise RefusedError("its status is not what a peer answers")
    _same_run(_run(told), run)
    version, records, turns = (_whole(told, key, "its status") for key in ("version", "records", "turns"))
    return Status(version, records, turns, told["done"])


def encode_parcel(parcel: Parcel, run: str) -> bytes:
    """Return the answer to a pull; equal parcels are equal bytes, of the length that ``parcel_bytes`` says."""
    header = _header(parcel.arrays, _metadata(parcel.sender, parcel.version, parcel.records, run))
    weights = [_bytes_of(parcel.arrays[name]) for name in _order(parcel.arrays)]
    return b"".join([len(header).to_bytes(8, "little"), header, *weights])


def parcel_bytes(template: Mapping[str, Tensor], sender: str, run: str) -> int:
    """Return the length of every parcel of a sender in a run.

    It is 8, and the header's length rounded up to a multiple of 8, and the bytes of the weights; versions and records
    are written with a fixed number of digits.

    Args:
        template: tensors of the weights' names, shapes and types.
        sender: the peer whose model it is.
        run: as for ``ping``.
    """
    return 8 + len(_header(template, _metadata(sender, 0, 0, run))) + sum(array.nbytes for array in template.values())


def decode_parcel(answer: bytes, template: Mapping[str, Tensor], *, sender: str, run: str) -> Parcel:
    """Read the answer to a pull.

    Args:
        answer: what came; of any content, and any length.
        template: tensors of the names, shapes and types that the weights must have.
        sender: who was asked.
        run: as for ``ping``.

    Raises:
        RefusedError: another length, header, sender, run, name, shape or type, nothing new, or weights that are not
            finite.
    """
    if answer[:1] == b"{" and len(answer) <= STATUS_LIMIT:
        version = decode_status(answer, run).version
        raise RefusedError(f"it has nothing newer than its version {version}, though it said so")
    wanted = _header(template, _metadata(sender, 0, 0, run))
    start = 8 + len(wanted)
    if len(answer) != (whole := start + sum(array.nbytes for array in template.values())):
        raise RefusedError(f"its model has {len(answer)} bytes instead of {whole}")
    if int.from_bytes(answer[:8], "little") != len(wanted):
        raise RefusedError("its model has a header of another length")
    told = _json(answer[8:start], len(wanted), "its model's header")
    about = told.pop("__metadata__", None)
    if not isinstance(about, dict) or about.keys() != {"run", "sender", "version", "records"}:
        raise RefusedError("its model does not say whose it is")
    _same_run(_run(about), run)
    if about["sender"] != sender:
        raise RefusedError(f"it sent a model of '{short(str(about['sender']))}'")
    table = _table(template)
    if told != table:
        differing = sorted(name for name in told.keys() | table.keys() if told.get(name) != table.get(name))
        raise RefusedError(f"its model has other names, shapes or types: {short(', '.join(differing[:3]))}")
    version, records = _digits(about, "version"), _digits(about, "records")
    arrays = {}
    for name, array in template.items():
        begin, end = table[name]["data_offsets"]
        raw = bytearray(answer[start + begin : start + end])  # a copy, which torch may write to
        values = torch.frombuffer(raw, dtype=array.dtype).reshape(array.shape) if raw else torch.empty_like(array)
        if not bool(torch.isfinite(values).all()):
            raise RefusedError(f"its model is not finite in '{name}'")
        arrays[name] = values
    return Parcel(sender, version, records, arrays)


def short(text: str, most: int = 200) -> str:
    """Return at most so many characters of what another peer wrote, none that a terminal would obey."""
    return "".join(character for character in text if character.isprintable())[:most]


def _metadata(sender: str, version: int, records: int, run: str) -> dict[str, str]:
    return {"run": run, "sender": sender, "version": f"{version:0{_DIGITS}d}", "records": f"{records:0{_DIGITS}d}"}


def _header(arrays: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    header = json.dumps({"__metadata__": metadata, **_table(arrays)}, separators=(",", ":")).encode()
    return header.ljust(-(-len(header) // 8) * 8)


def _table(arrays: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return safetensors' table: where in the bytes each array lies, and what it is."""
    table, begin = {}, 0
    for name in _order(arrays):
        array = arrays[name]
        end = begin + array.element_size() * prod(array.shape)
        table[name] = {"dtype": _DTYPES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    return table


def _order(arrays: Mapping[str, Tensor]) -> list[str]:
    """Return the names as safetensors orders them: wide types first, so that every array is aligned."""
    return sorted(arrays, key=lambda name: (-arrays[name].element_size(), name))


def _bytes_of(array: Tensor) -> bytes:
    flat = array.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def _text(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _json(text: bytes, limit: int, what: str) -> dict[str, Any]:
    if len(text) > limit:
        raise RefusedError(f"{what} has {len(text)} bytes; at most {limit} are read")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError(f"{what} is not JSON") from None
    if not isinstance(told, dict):
        raise RefusedError(f"{what} is not what a peer says")
    return told


def _run(told: Mapping[str, Any]) -> str:
    if not isinstance(told["run"], str):
        raise RefusedError("it does not say which run it belongs to")
    return told["run"]


def _same_run(told: str, run: str) -> None:
    if told != run:
        raise RefusedError("it belongs to another run: its description, data or code differ")


def _whole(told: Mapping[str, Any], key: str, what: str) -> int:
    value = told[key]
    if type(value) is not int or not 0 <= value < LARGEST:
        raise RefusedError(f"{what} has {key} = {short(repr(value), 40)}, which cannot be")
    return value


def _digits(about: Mapping[str, Any], key: str) -> int:
    value = about[key]
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9]{{{_DIGITS}}}", value) or int(value) < 1:
        raise RefusedError(f"its model has {key} = {short(repr(value), 40)}, which cannot be")
    return int(value)
