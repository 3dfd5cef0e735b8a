"""One member's part of a deal: a salt, its shares of the update or the seed that they follow from, and of the rest."""

from dataclasses import dataclass

from peers.secure.columns import Columns
from peers.secure.commitment import SALT_BYTES, Leaf
from peers.secure.field import Elements
from peers.secure.stream import SEED_BYTES, Stream


@dataclass(frozen=True, eq=False)
class Part:
    """What a member has of a deal.

    Attributes:
        update: [update columns], its shares of the update.
        small: [small columns], its shares of the rest.
    """

    update: Elements
    small: Elements


def read_part(raw: bytes, columns: Columns, *, binding: bytes, dealer: int, place: int, committed: bytes) -> Part:
    """Read a whole part.

    Args:
        raw: salt, then the update's shares or their seed, then the small columns' shares.
        columns: of the deal.
        binding: of the round (``Context.binding``).
        dealer: its number.
        place: the member's.
        committed: the hash that the dealer has committed to.

    Raises:
        ValueError: it is malformed, or not what the dealer has committed to.
    """
    if Leaf(binding, dealer, place).feed(raw).digest() != committed:
        raise ValueError("it is not what was committed to")
    end = len(raw) - columns.small_bytes
    if end < SALT_BYTES:
        raise ValueError(f"it has {len(raw)} bytes")
    return Part(
        read_update(raw[SALT_BYTES:end], columns, seeded=place in columns.seeded(dealer)),
        columns.layout.field.from_bytes(raw[end:], columns.small),
    )


def read_update(raw: bytes, columns: Columns, *, seeded: bool) -> Elements:
    """Return a member's shares of the update, from the seed or as they are. Raises ValueError: malformed."""
    field = columns.layout.field
    if not seeded:
        return field.from_bytes(raw, columns.update)
    if len(raw) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(raw)}")
    return Stream(field, raw, "update").draw(columns.update)
