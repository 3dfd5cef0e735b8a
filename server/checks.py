"""Checks of incoming updates, in front of any aggregation rule.

One extra metric, one wrong shape or one NaN from a single client ends or ruins a run under Flower's own strategies;
here it costs that client its place in the round, with a reason.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from common.exchange import ARRAYS, CLIENT, EXAMPLES, METRICS, array_bytes

LEDGER_LIMIT = 1_000_000
"""Characters of a privacy ledger that are read."""
HEADER_BYTES = 512
"""Room for the .npy header beside an array's own bytes."""


@dataclass(frozen=True)
class Update:
    """A reply that passed every check."""

    arrays: dict[str, np.ndarray]
    examples: int
    metrics: dict[str, float]
    ledger: str
    bytes: int


@dataclass(frozen=True)
class Refusal:
    """A reply that is left out, and why."""

    reason: str
    bytes: int = 0


def check(reply: Message, expected: Mapping[str, Tensor], *, announced: int, limit: int) -> Update | Refusal:
    """Check one reply; never raises.

    Args:
        reply: what a client sent.
        expected: the global arrays of this round; names, shapes and dtypes must match.
        announced: records that the client introduced itself with.
        limit: records that no client may exceed.
    """
    try:
        return _check(reply, expected, announced, limit)
    except _RefusedError as refused:
        return Refusal(str(refused), _size(reply))
    except Exception as error:  # a malformed message must never reach the round's loop
        return Refusal(f"malformed reply ({type(error).__name__}: {str(error)[:200]})", _size(reply))


class _RefusedError(Exception):
    pass


def _check(reply: Message, expected: Mapping[str, Tensor], announced: int, limit: int) -> Update:
    if reply.has_error():
        raise _RefusedError(f"the client failed: {_short(str(reply.error.reason))}")
    content = reply.content
    about = content.config_records.get(CLIENT)
    if about is not None and "refusal" in about:
        raise _RefusedError(_short(str(about["refusal"])))
    if set(content.array_records) != {ARRAYS}:
        raise _RefusedError(f"expected one record '{ARRAYS}' of arrays, got {_names(content.array_records)}")
    if set(content.metric_records) != {METRICS}:
        raise _RefusedError(f"expected one record '{METRICS}' of metrics, got {_names(content.metric_records)}")
    metrics = content.metric_records[METRICS]
    examples = _examples(metrics, announced, limit)
    arrays = _arrays(content.array_records[ARRAYS], expected)
    numbers = {
        name[:40]: float(value)
        for name, value in list(metrics.items())[:20]
        if name != EXAMPLES and isinstance(value, int | float) and math.isfinite(value)
    }
    ledger = str(about["ledger"]) if about is not None and "ledger" in about else ""
    if len(ledger) > LEDGER_LIMIT:
        raise _RefusedError(f"its privacy ledger has {len(ledger)} characters; at most {LEDGER_LIMIT} are read")
    return Update(arrays, examples, numbers, ledger, array_bytes(content.array_records[ARRAYS]))


def _examples(metrics: MetricRecord, announced: int, limit: int) -> int:
    count = metrics.get(EXAMPLES)
    if not isinstance(count, int) or isinstance(count, bool):
        raise _RefusedError(f"{EXAMPLES} = {count!r} is not a whole number")
    if not 1 <= count <= min(announced, limit):
        raise _RefusedError(f"{EXAMPLES} = {count} is not between 1 and the {min(announced, limit)} that it announced")
    return count


def _arrays(record: ArrayRecord, expected: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    missing, extra = sorted(expected.keys() - record.keys()), sorted(record.keys() - expected.keys())
    if missing or extra:
        raise _RefusedError(f"array names differ: missing {missing[:3]}, unknown {[name[:40] for name in extra[:3]]}")
    return {name: _array(name, record[name], tensor) for name, tensor in expected.items()}


def _array(name: str, array: Array, tensor: Tensor) -> np.ndarray:
    wanted = tensor.numpy()
    if len(array.data) > wanted.nbytes + HEADER_BYTES:
        raise _RefusedError(f"{name} has {len(array.data)} bytes instead of {wanted.nbytes}")
    # The header inside the bytes is read first: it decides how much memory reading would take.
    file = io.BytesIO(array.data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if shape != wanted.shape:
        raise _RefusedError(f"{name} has shape {shape} instead of {wanted.shape}")
    if dtype != wanted.dtype:
        raise _RefusedError(f"{name} has type {dtype} instead of {wanted.dtype}")
    values = np.load(io.BytesIO(array.data), allow_pickle=False)
    if not np.isfinite(values).all():
        raise _RefusedError(f"{name} holds NaN or infinity")
    return np.asarray(values)


def clean(reply: Message, update: Update, shared_metrics: Sequence[str]) -> Message:
    """Rebuild a checked reply from its checked parts alone, so that a strategy sees nothing else."""
    metrics = {name: update.metrics[name] for name in shared_metrics}
    reply.content = RecordDict(
        {
            ARRAYS: ArrayRecord({name: Array(array) for name, array in update.arrays.items()}),
            METRICS: MetricRecord({**metrics, EXAMPLES: update.examples}),
        }
    )
    return reply


def _size(reply: Message) -> int:
    try:
        return sum(array_bytes(record) for record in reply.content.array_records.values())
    except Exception:
        return 0


def _names(records: Mapping[str, object]) -> str:
    return ", ".join(f"'{name[:40]}'" for name in list(records)[:3]) or "none"


def _short(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return (lines[-1] if lines else "no reason given")[:300]
