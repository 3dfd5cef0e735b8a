"""A dealer's part of a round: its update on polynomials, and each member's values of them."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from peers.secure.columns import Columns
from peers.secure.commitment import Leaf
from peers.secure.field import Elements
from peers.secure.sharing import interpolation, member_points, share, slots
from peers.secure.small import small_columns
from peers.secure.stream import Stream

Entropy = Callable[[str], bytes]
"""Purpose → 32 random bytes, new for each purpose, which names the round: the operating system's, or a test's."""


class Deal:
    """What a dealer deals in a round; all that is random of it is drawn when it is made.

    Args:
        binding: of the round (``Context.binding``).
        dealer: its number.
        columns: what is dealt.
        secrets: [k, update columns], the update as it is packed.
        entropy: where randomness comes from.
    """

    def __init__(self, binding: bytes, dealer: int, columns: Columns, secrets: Elements, entropy: Entropy) -> None:
        self._binding, self._dealer, self._columns, self.secrets = binding, dealer, columns, secrets
        here = binding.hex()
        self._seeds = {member: entropy(f"{here} seed {member}") for member in columns.seeded(dealer)}
        self._salts = [entropy(f"{here} salt {member}") for member in range(columns.layout.members)]
        self.masks, self.small = small_columns(columns, secrets, entropy(f"{here} small"))
        """The masks of projections, [k, projections], and every member's shares of the small columns, [m, small]."""
        self.leaves: list[bytes] = []
        """The commitment to every member's part; complete once all pieces have been made."""

    def pieces(self) -> Iterator[list[bytes]]:
        """Yield what goes to each member, piece by piece; all of a member's pieces together are its part.

        First the salts and the seeds, then the update block by block, then the small columns.
        """
        columns, field = self._columns, self._columns.layout.field
        members = range(columns.layout.members)
        fed = [Leaf(self._binding, self._dealer, place) for place in members]

        def made(piece: list[bytes]) -> list[bytes]:
            for leaf, raw in zip(fed, piece, strict=True):
                leaf.feed(raw)
            return piece

        streams = [Stream(field, seed, "update") for seed in self._seeds.values()]
        yield made([self._salts[place] + self._seeds.get(place, b"") for place in members])
        for block in columns.blocks():
            yield made(self._piece(block, streams))
        last = made([field.to_bytes(self.small[place]) for place in members])
        self.leaves = [leaf.digest() for leaf in fed]
        yield last

    def _piece(self, block: slice, streams: Sequence[Stream]) -> list[bytes]:
        """Return every member's shares of a block; those of seeded ones follow from their seeds."""
        columns, field = self._columns, self._columns.layout.field
        secrets = self.secrets[:, block]
        random = np.stack([stream.draw(secrets.shape[1]) for stream in streams])
        shares = share(field, secrets, random, columns.layout.members, tuple(self._seeds))
        return [b"" if place in self._seeds else field.to_bytes(row) for place, row in enumerate(shares)]

    def part(self, place: int) -> bytes:
        """Return one member's whole part, for one that says it did not get it."""
        columns, field = self._columns, self._columns.layout.field
        update = self._seeds.get(place)
        if update is None:
            random = np.stack([Stream(field, seed, "update").draw(columns.update) for seed in self._seeds.values()])
            points = member_points(columns.layout.members)
            known = (*slots(field, columns.layout.packing), *(points[holder] for holder in self._seeds))
            row = field.product(interpolation(field, known, (points[place],)), np.concatenate([self.secrets, random]))
            update = field.to_bytes(row[0])
        return self._salts[place] + update + field.to_bytes(self.small[place])
