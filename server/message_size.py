"""How many bytes a message holds, counted without unpacking anything in it."""

from collections.abc import Mapping
from typing import Any

from flwr.app import RecordDict

NUMBER_BYTES = 8


def content_bytes(content: RecordDict) -> int:
    """Return the bytes of all records as they are packed: names, arrays with their headers, numbers and text.

    What the transport adds (HTTP, TLS) and what it saves (compression, arrays sent to several nodes at once) is not in.
    """
    return arrays_bytes(content) + small_bytes(content)


def arrays_bytes(content: RecordDict) -> int:
    """Return the bytes of all arrays in all array records."""
    return sum(
        len(name) + len(array.data) for arrays in content.array_records.values() for name, array in arrays.items()
    )


def small_bytes(content: RecordDict) -> int:
    """Return the bytes of all metrics and settings, a character counted as one."""
    records: list[Mapping[str, Any]] = [*content.metric_records.values(), *content.config_records.values()]
    return sum(len(name) for name in content) + sum(
        len(name) + _value_bytes(value) for record in records for name, value in record.items()
    )


def _value_bytes(value: Any) -> int:
    if isinstance(value, list):
        return sum(_value_bytes(item) for item in value)
    return len(value) if isinstance(value, str | bytes) else NUMBER_BYTES
