"""Refusals: a reply that is left out of its round, and why, in words that are safe to print."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # heavy, and the store is listed without it
    from flwr.app import Message

LOST = (3, 4, 5)
"""Flower's error codes for a node that went offline, or whose reply did not arrive whole: nobody's bad update."""
BAD_REPLY = 422
"""The error code with which a link reports a reply that it did not let through: too large, or not to be read."""

TIMED_OUT = "no reply within"
"""Beginning of the reason of a client that is connected and did not reply in time."""


@dataclass(frozen=True)
class Refusal:
    """A reply that is left out, and why.

    Attributes:
        reason: a sentence for rounds.jsonl.
        bytes: size of the reply as it was packed.
        strike: whether an update was sent that is bad; False for a client that failed, or that itself gave a reason.
        lost: whether there is no reply at all, since the node or its message was lost.
    """

    reason: str
    bytes: int = 0
    strike: bool = True
    lost: bool = False


class RefusedError(Exception):
    """Raised within the checks, never out of them; ``strike`` as in ``Refusal``."""

    def __init__(self, reason: str, *, strike: bool = True) -> None:
        super().__init__(reason)
        self.strike = strike


def failure(reply: "Message") -> Refusal:
    """Return what an error reply says: the node is lost, the link let nothing through, or the client failed."""
    code, reason = reply.error.code, short(str(reply.error.reason))
    if code in LOST:
        return Refusal(f"its node was lost before its reply was whole: {reason}", strike=False, lost=True)
    if code == BAD_REPLY:
        return Refusal(reason)
    return Refusal(f"the client failed: {reason}", strike=False)


def short(text: str) -> str:
    """Return the last line of what a client wrote: at most 300 characters, none that a terminal would obey."""
    lines = [line.strip() for line in text[-2000:].strip().splitlines() if line.strip()]
    last = "".join(character for character in lines[-1] if character.isprintable()) if lines else ""
    return last[:300] or "no reason given"
