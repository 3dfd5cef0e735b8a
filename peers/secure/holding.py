"""What a member holds of all deals, taken piece by piece as it comes."""

from collections.abc import Iterable, Sequence

from peers.secure.columns import Columns
from peers.secure.commitment import SALT_BYTES, Leaf
from peers.secure.field import Elements
from peers.secure.part import Part, read_update


class Holding:
    """A member's parts.

    Args:
        binding: of the round (``Context.binding``).
        place: the member's.
        columns: of the deals.
        dealers: numbers of all peers that may deal.
    """

    def __init__(self, binding: bytes, place: int, columns: Columns, dealers: Sequence[int]) -> None:
        field = columns.layout.field
        self._columns, self.place = columns, place
        self._row = {dealer: row for row, dealer in enumerate(dealers)}
        self._update = field.zeros(len(dealers), columns.update)
        self._small = field.zeros(len(dealers), columns.small)
        self._first = dict.fromkeys(dealers, b"")
        self._leaves = {dealer: Leaf(binding, dealer, place) for dealer in dealers}
        self._missing = dict.fromkeys(dealers, columns.pieces)

    def feed(self, dealer: int, number: int, piece: bytes) -> None:
        """Take the next piece of a dealer's part; one that is malformed makes the part one that does not fit."""
        self._leaves[dealer].feed(piece)
        columns, field, row = self._columns, self._columns.layout.field, self._row[dealer]
        seeded = self.place in columns.seeded(dealer)
        try:
            if number == 0:
                self._first[dealer] = piece
                if seeded:
                    self._update[row] = read_update(piece[SALT_BYTES:], columns, seeded=True)
                elif len(piece) != SALT_BYTES:
                    return  # else it would be committed to, and could not be shown
            elif number == columns.pieces - 1:
                self._small[row] = field.from_bytes(piece, columns.small)
            elif not seeded:
                block = columns.blocks()[number - 1]
                self._update[row, block] = field.from_bytes(piece, block.stop - block.start)
            elif piece:
                return
        except ValueError:
            return
        self._missing[dealer] -= 1

    def fits(self, dealer: int, committed: bytes) -> bool:
        """Tell whether all of a dealer's part has come, and is what the dealer has committed to."""
        return self._missing[dealer] == 0 and self._leaves[dealer].digest() == committed

    def replace(self, dealer: int, part: Part, raw: bytes) -> None:
        """Take a part that its dealer has shown to all, because what had come did not fit."""
        row = self._row[dealer]
        self._update[row], self._small[row] = part.update, part.small
        self._first[dealer] = raw[: len(raw) - self._columns.small_bytes]

    def part(self, dealer: int) -> bytes:
        """Return a whole part, to show it to all."""
        columns, field, row = self._columns, self._columns.layout.field, self._row[dealer]
        update = b"" if self.place in columns.seeded(dealer) else field.to_bytes(self._update[row])
        salt = self._first[dealer]
        if update:
            salt = salt[:SALT_BYTES]
        return salt + update + field.to_bytes(self._small[row])

    def updates(self, dealers: Sequence[int]) -> Elements:
        """Return the shares of some dealers' updates, [dealers, update columns]."""
        return self._update[[self._row[dealer] for dealer in dealers]]

    def small(self, dealers: Sequence[int]) -> Elements:
        """Return the shares of some dealers' small columns, [dealers, small columns]."""
        return self._small[[self._row[dealer] for dealer in dealers]]

    def total(self, dealers: Iterable[int]) -> Elements:
        """Return the share of the sum of some dealers' updates, [update columns]."""
        field = self._columns.layout.field
        total = field.zeros(self._columns.update)
        for dealer in dealers:
            total = field.add(total, self._update[self._row[dealer]])
        return total
