"""Several byte strings as one, and back."""

from collections.abc import Sequence


def split(raw: bytes, count: int) -> list[bytes]:
    """Return the pieces that ``joined`` made one of; empty ones where they are not so many, or malformed."""
    pieces, place = [], 0
    for _ in range(count):
        size = int.from_bytes(raw[place : place + 8], "big")
        pieces.append(raw[place + 8 : place + 8 + size] if place + 8 + size <= len(raw) else b"")
        place += 8 + size
    return pieces


def joined(pieces: Sequence[bytes]) -> bytes:
    """Return pieces as one."""
    return b"".join(len(piece).to_bytes(8, "big") + piece for piece in pieces)
