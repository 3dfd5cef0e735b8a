"""What binds a message to its place: which run, which round, who the peers are."""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RUN_BYTES = 32


@dataclass(frozen=True)
class Context:
    """A round of a run.

    Attributes:
        run: 32 bytes that all peers of the run have agreed on: its description, data and code.
        round: counts from 1; a round that is tried again has another number, or what was said in it could be replayed.
        keys: each peer's number, from 0, and the key that its signatures are checked with.
    """

    run: bytes
    round: int
    keys: Mapping[int, Ed25519PublicKey]

    def __post_init__(self) -> None:
        if len(self.run) != RUN_BYTES:
            raise ValueError(f"a run is named by {RUN_BYTES} bytes, not {len(self.run)}")

    @property
    def binding(self) -> bytes:
        """Bytes that differ between any two rounds of any two runs."""
        return self.run + self.round.to_bytes(8, "big")

    @property
    def peers(self) -> tuple[int, ...]:
        """All peers' numbers, in order."""
        return tuple(sorted(self.keys))
