"""A dealer's commitment to what each member gets: a list of hashes, one a member, that it signs.

Where a dealer and a member disagree, the member shows what it got, and everybody can see whether the dealer had
committed to it. A list needs no paths, as a tree of hashes would, and is short: 32 bytes a member.
"""

import hashlib
from collections.abc import Sequence

from peers.secure.labels import LEAF

DIGEST_BYTES = SALT_BYTES = 32


class Leaf:
    """The hash of one member's part of a deal, fed piece by piece.

    A part begins with a random salt, so that the hash does not tell a part that could be guessed.

    Args:
        binding: of the round (``Context.binding``).
        dealer: its number.
        place: the member's.
    """

    def __init__(self, binding: bytes, dealer: int, place: int) -> None:
        self._hash = hashlib.sha256(LEAF + binding + dealer.to_bytes(4, "big") + place.to_bytes(4, "big"))

    def feed(self, piece: bytes) -> "Leaf":
        """Take the next piece of the part."""
        self._hash.update(piece)
        return self

    def digest(self) -> bytes:
        """Return the hash of all pieces so far."""
        return self._hash.digest()


def encode(leaves: Sequence[bytes]) -> bytes:
    """Return the commitment: every member's hash, in order."""
    return b"".join(leaves)


def decode(body: bytes) -> tuple[bytes, ...]:
    """Read a commitment, of a length that has been checked."""
    return tuple(body[start : start + DIGEST_BYTES] for start in range(0, len(body), DIGEST_BYTES))
