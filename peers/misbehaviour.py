"""How a peer abuses the protocol itself: what it answers in place of the truth, and what it gives as its model.

The protocol trusts everyone. Each abuse here is one line of what an implementation of an attacker would be; a peer that
misbehaves still takes its own turns and trains as its strategy says.
"""

import math
import time
from collections.abc import Mapping

from torch import Tensor

from common.description import Misbehaviour
from common.seeds import numpy_generator
from peers.wire import LARGEST, Question

INFLATED = 10**9
"""Where a version that rises without training starts; no honest peer trains so often."""


def told_version(conduct: Misbehaviour | None, version: int, before: int | None) -> int:
    """Return the version that a peer says its model has.

    One that inflates it names a higher one to whoever asks later: the wave that is asked for, or the clock.
    """
    if conduct is None or conduct.kind != "version-inflation" or version == 0:
        return version
    return INFLATED + (int(time.time() * 1000) if before is None else before)


def told_records(conduct: Misbehaviour | None, records: int) -> int:
    """Return the records that a peer says it trained on."""
    if conduct is None or conduct.kind != "count-inflation":
        return records
    return min(LARGEST - 1, round(records * conduct.factor))


def told_model(
    conduct: Misbehaviour | None,
    start: Mapping[str, Tensor],
    sent: dict[str, Tensor],
    offered: dict[str, Tensor],
    *,
    first: bool,
) -> dict[str, Tensor]:
    """Return the weights that a peer gives to others after a local update.

    Args:
        conduct: how it misbehaves.
        start: the weights that its training began with.
        sent: what its strategy would send.
        offered: what it gave until now.
        first: whether this is its first update.
    """
    if conduct is None or conduct.kind not in ("sign-flip", "scaling", "stale-replay"):
        return sent
    if conduct.kind == "stale-replay":
        return sent if first else offered
    factor = conduct.factor if conduct.kind == "scaling" else -conduct.factor
    return {name: (start[name] + factor * (array - start[name])).to(array.dtype) for name, array in sent.items()}


def delay_of(conduct: Misbehaviour | None) -> float:
    """Return how many seconds late a peer answers; infinite: never."""
    if conduct is None or conduct.kind not in ("silent", "slow"):
        return 0.0
    return math.inf if conduct.kind == "silent" else conduct.seconds


def garbage(seed: int, question: Question, length: int) -> bytes:
    """Return random bytes of a model's length, other ones for each question."""
    return numpy_generator(seed, "garbage", str(question)).bytes(length)
