"""The size of a reply once unpacked, known before it is: equal pieces of an array cross the wire once."""

import json
from collections.abc import Mapping

from flwr.app import Array
from flwr.supercore.inflatable.inflatable_object import get_object_body, get_object_head_values_from_object_content


def unpacked_size(parts: Mapping[str, bytes]) -> int:
    """Return the bytes that a reply takes in memory.

    Args:
        parts: Flower's objects by id, as they were sent. An ``Array`` among them lists its pieces, and one piece may
            stand there any number of times: eight megabytes of numbers can ask for terabytes.

    Raises:
        ValueError, KeyError, IndexError, TypeError: a part that is not what Flower writes.
    """
    return sum(len(part) + _repeated(part, parts) for part in parts.values())


def _repeated(part: bytes, parts: Mapping[str, bytes]) -> int:
    kind, pieces, _ = get_object_head_values_from_object_content(part)
    if kind != Array.__qualname__:
        return 0
    sizes = [len(parts[piece]) for piece in pieces]
    return sum(sizes[place] for place in json.loads(get_object_body(part, Array))["arraychunk_ids"])
