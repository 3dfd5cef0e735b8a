"""The other peers as one of them sees them: whom it can ask, and what it gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Unreachable:
    """No answer that can be read.

    Attributes:
        reason: a few words: "no answer within 5 s".
        offence: whether an answer came that no honest peer gives, such as one that never ends; it counts like one
            that was read and refused.
    """

    reason: str
    offence: bool = False


class Neighbours(Protocol):
    """A transport, seen from one peer: in one process, or over the network."""

    def ask_all(
        self, questions: Mapping[str, bytes], *, limit: int, timeout: float
    ) -> dict[str, "bytes | Unreachable"]:
        """Ask several peers at the same time, each its own question; return what each answered, by name.

        Args:
            questions: peer → question, as ``peers.wire`` makes them.
            limit: bytes that an answer may have; of a longer one nothing is kept, and it counts as
                ``Unreachable(too_long(limit), offence=True)``.
            timeout: seconds after which a peer that has not answered in full is unreachable.

        Returns:
            One entry for each question. Never raises for what a peer does.
        """


def too_long(limit: int) -> str:
    """Return why an answer of more than ``limit`` bytes is not read."""
    return f"its answer has more than {limit} bytes"


def too_late(timeout: float) -> str:
    """Return why an answer is not waited for any longer than ``timeout`` seconds."""
    return f"no answer within {timeout:g} s"
