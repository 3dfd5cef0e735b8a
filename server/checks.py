"""Checks of incoming updates, in front of any aggregation rule.

One extra metric, one wrong shape or one NaN from a single client ends or ruins a run under Flower's own strategies;
here it costs that client its place in the round, with a reason.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from common.exchange import ARRAYS, CLIENT, EXAMPLES, LEDGER, METRICS, REFUSAL, REPLY_ROUND, RUN, packed_array
from server.message_size import arrays_bytes, content_bytes, small_bytes
from server.refusal import Refusal, RefusedError, failure, short
from server.weights import distance, most_bytes, read_weights, size_of

LEDGER_LIMIT = 1_000_000
"""Characters of a privacy ledger that are read."""
LONGEST_UPDATE = 1000.0
"""Norm that an update may have, in units of 1 + the global model's; longer ones only serve to make sums overflow."""
SMALL_LIMIT = LEDGER_LIMIT + 10_000
"""Bytes that metrics and settings of one reply may have together."""
METRICS_LIMIT = 20
"""Metrics of one reply that are kept."""
METRIC_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class Update:
    """A reply that passed every check.

    Attributes:
        arrays: the client's weights, names, shapes and dtypes of the global ones.
        examples: records that it trained on.
        metrics: finite numbers, at most ``METRICS_LIMIT``, without the examples.
        ledger: its privacy ledger, not yet read; empty for none.
        norm: L2 norm of its weights minus the global ones, over all parameters.
        bytes: size of the reply as it was packed.
    """

    arrays: dict[str, np.ndarray]
    examples: int
    metrics: dict[str, float]
    ledger: str
    norm: float
    bytes: int


@dataclass(frozen=True)
class Expected:
    """What a reply is measured against.

    Attributes:
        arrays: the global weights of this round; names, shapes and dtypes must match.
        round: the round that was asked for.
        run: the token of this server start.
        compressed: whether updates come as int8 (``common.update_compression``).
        examples_limit: records that no client may exceed; None: what it announced is the only limit.
        norm_limit: largest L2 norm of an update; None: any finite one.
    """

    arrays: Mapping[str, Tensor]
    round: int
    run: str
    compressed: bool = False
    examples_limit: int | None = None
    norm_limit: float | None = None

    @cached_property
    def longest(self) -> float:
        """L2 norm that no update may exceed."""
        return LONGEST_UPDATE * (1 + size_of(self.arrays))


def check(reply: Message, expected: Expected, *, announced: int) -> Update | Refusal:
    """Check one reply; never raises.

    Args:
        reply: what a client, or the link in its place, sent.
        expected: what was asked for.
        announced: records that the client introduced itself with.
    """
    size = 0
    try:
        if reply.has_error():
            return failure(reply)
        size = content_bytes(reply.content)
        return _check(reply.content, expected, announced, size)
    except RefusedError as refused:
        return Refusal(str(refused), size, strike=refused.strike)
    except Exception as error:  # a malformed message must never reach the round's loop
        return Refusal(f"malformed reply ({type(error).__name__}: {short(str(error))})", size)


def _check(content: RecordDict, expected: Expected, announced: int, size: int) -> Update:
    _sizes(content, expected)
    about = content.config_records.get(CLIENT, ConfigRecord())
    if REFUSAL in about:
        raise RefusedError(short(str(about[REFUSAL])), strike=False)
    _kinds(content)
    _origin(about, expected)
    examples = _examples(content.metric_records[METRICS], announced, expected.examples_limit)
    arrays = read_weights(content.array_records[ARRAYS], expected.arrays, compressed=expected.compressed)
    norm = distance(arrays, expected.arrays)
    if not norm <= expected.longest:
        raise RefusedError(f"its update has norm {norm:.4g}, more than {LONGEST_UPDATE:g} times the global model's")
    if expected.norm_limit is not None and not norm <= expected.norm_limit:
        raise RefusedError(f"its update has norm {norm:.4g}; federation.norm_limit = {expected.norm_limit:g}")
    return Update(arrays, examples, _metrics(content.metric_records[METRICS]), _ledger(about), norm, size)


def _sizes(content: RecordDict, expected: Expected) -> None:
    """Refuse what is too large before anything of it is unpacked."""
    needed = most_bytes(expected.arrays, compressed=expected.compressed)
    if (sent := arrays_bytes(content)) > needed:
        raise RefusedError(f"its arrays have {sent} bytes; the model needs {needed} at most")
    if (sent := small_bytes(content)) > SMALL_LIMIT:
        raise RefusedError(f"its metrics and settings have {sent} bytes; at most {SMALL_LIMIT} are read")


def reply_limit(received: Mapping[str, Tensor]) -> int:
    """Return the bytes that a reply may have on the wire: all that these checks would read, and room for wrapping."""
    return most_bytes(received, compressed=False) + SMALL_LIMIT + 2**20


def _kinds(content: RecordDict) -> None:
    for kind, records, name in (
        ("arrays", content.array_records, ARRAYS),
        ("metrics", content.metric_records, METRICS),
        ("settings", content.config_records, CLIENT),
    ):
        if set(records) != {name}:
            raise RefusedError(f"expected one record '{name}' of {kind}, got {_names(records)}")


def _origin(about: ConfigRecord, expected: Expected) -> None:
    """Refuse a reply that was made for another round, or for another start of the server."""
    if about.get(RUN) != expected.run:
        raise RefusedError("its reply is for another run")
    number = about.get(REPLY_ROUND)
    if type(number) is not int or number != expected.round:
        raise RefusedError(f"its reply is for round {short(repr(number))}, not for round {expected.round}")


def _examples(metrics: MetricRecord, announced: int, limit: int | None) -> int:
    count = metrics.get(EXAMPLES)
    if type(count) is not int:
        raise RefusedError(f"{EXAMPLES} = {short(repr(count))} is not a whole number")
    if not 1 <= count <= announced:
        raise RefusedError(f"{EXAMPLES} = {count} is not between 1 and the {announced} that it announced")
    if limit is not None and count > limit:
        raise RefusedError(f"{EXAMPLES} = {count} exceeds {limit}, the most that any client may have")
    return count


def _metrics(record: MetricRecord) -> dict[str, float]:
    """Keep the first few finite numbers with plain names; the rest a strategy never sees."""
    numbers = {
        name: float(value)
        for name, value in record.items()
        if isinstance(value, int | float) and math.isfinite(value) and METRIC_NAME.fullmatch(name) and name != EXAMPLES
    }
    return dict(list(numbers.items())[:METRICS_LIMIT])


def _ledger(about: ConfigRecord) -> str:
    ledger = about.get(LEDGER, "")
    if not isinstance(ledger, str):
        raise RefusedError("its privacy ledger is not a text")
    if len(ledger) > LEDGER_LIMIT:
        raise RefusedError(f"its privacy ledger has {len(ledger)} characters; at most {LEDGER_LIMIT} are read")
    return ledger


def packed(update: Update) -> ArrayRecord:
    """Return an update's checked weights as they travel."""
    return ArrayRecord({name: packed_array(array) for name, array in update.arrays.items()})


def clean(reply: Message, weights: ArrayRecord, update: Update, shared_metrics: Sequence[str]) -> Message:
    """Rebuild a checked reply from its checked parts alone, so that a strategy sees nothing else.

    Args:
        reply: whose content is replaced.
        weights: as ``packed`` returns them; arrays that a strategy takes out of the reply stay in here.
        update: the rest.
        shared_metrics: names of the metrics that all good updates of the round have.
    """
    metrics = {name: update.metrics[name] for name in shared_metrics}
    reply.content = RecordDict(
        {
            ARRAYS: ArrayRecord(dict(weights)),
            METRICS: MetricRecord({**metrics, EXAMPLES: update.examples}),
        }
    )
    return reply


def _names(records: Mapping[str, object]) -> str:
    return ", ".join(f"'{short(name)}'" for name in list(records)[:3]) or "none"
