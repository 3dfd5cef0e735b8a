"""The random coefficients of a round's checks, which nobody could foresee when the updates were dealt."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peers.secure.columns import Columns
from peers.secure.field import Elements
from peers.secure.stream import Stream


@dataclass(frozen=True)
class Challenge:
    """The coefficients of all combinations, the same for every dealer.

    Attributes:
        degree: [repetitions, update columns].
        beacon: [repetitions, second beacon's columns], of the degree check, too.
        squares: of the check of zeros, [repetitions, update columns]; in a ball, [repetitions, slack columns].
        slack: [repetitions, slack columns], of the degree check; none without a ball.
        sums: [repetitions, 2 + masks of distances]: of the squared norm, of the inner product, of the masks.
        projections: the seed of the coefficients of projections; empty: there are none.
    """

    degree: Elements
    beacon: Elements
    squares: Elements
    slack: Elements | None = None
    sums: Elements | None = None
    projections: bytes = b""

    @staticmethod
    def drawn(columns: Columns, beacon: bytes) -> "Challenge":
        """Return what follows from a beacon."""
        field, times = columns.layout.field, columns.layout.repetitions
        degree = Stream(field, beacon, "degree").draw(times, columns.update)
        second = Stream(field, beacon, "beacon").draw(times, columns.beacon)
        squares = Stream(field, beacon, "squares")
        if columns.terms.ball is None:
            return Challenge(degree, second, squares.draw(times, columns.update))
        slack, masks = (where.stop - where.start for where in (columns.slack, columns.distance_masks))
        return Challenge(
            degree,
            second,
            squares.draw(times, slack),
            Stream(field, beacon, "slack").draw(times, slack),
            Stream(field, beacon, "sums").draw(times, 2 + masks),
            beacon,
        )

    def ternary(self, columns: Columns) -> Iterator[tuple[slice, NDArray[np.int8]]]:
        """Yield, block by block, which of the update's columns, and their coefficients [projections, columns]."""
        assert columns.terms.ball is not None
        stream = Stream(columns.layout.field, self.projections, "projections")
        for here in columns.blocks():
            yield here, stream.ternary(columns.terms.ball.projections, here.stop - here.start)
