"""What a member computes of its shares so that all can see whether a dealer's update is one that is allowed.

Two kinds of random combinations over all columns b of a deal, each repeated with other coefficients r that nobody could
foresee, and opened under a random mask:

- *degree*: Σ r_b f_b(X). If it is of degree D, so is every f_b, as far as honest members' shares go.
- *squares*: Σ r_b (f_b(X)² − 1), of degree 2 D. If it vanishes at the slots, every packed number is 1 or −1.

A false deal passes a repetition with probability 1/p. The masks need no check: what a wrong mask adds was fixed before
the coefficients were drawn.
"""

from dataclasses import dataclass

import numpy as np

from peers.secure.columns import Columns
from peers.secure.field import Elements, Field
from peers.secure.stream import Stream

_BLOCK = 1 << 16
"""Numbers that are squared together, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Challenge:
    """The coefficients of all combinations, the same for every dealer.

    Attributes:
        degree: [repetitions, update columns].
        beacon: [repetitions, second beacon's columns], of the degree check, too.
        squares: [repetitions, update columns].
    """

    degree: Elements
    beacon: Elements
    squares: Elements

    @staticmethod
    def drawn(columns: Columns, beacon: bytes) -> "Challenge":
        """Return what follows from a beacon."""
        field, times = columns.layout.field, columns.layout.repetitions
        return Challenge(
            Stream(field, beacon, "degree").draw(times, columns.update),
            Stream(field, beacon, "beacon").draw(times, columns.beacon),
            Stream(field, beacon, "squares").draw(times, columns.update),
        )


def scalars(columns: Columns, challenge: Challenge, update: Elements, small: Elements) -> Elements:
    """Return what a member opens of each dealer.

    Args:
        columns: of the deals.
        challenge: the coefficients.
        update: [dealers, update columns], its shares of the updates.
        small: [dealers, small columns], of the rest.

    Returns:
        [dealers, 2 · repetitions]: those of the degree, then those of the squares.
    """
    field, times = columns.layout.field, columns.layout.repetitions
    both = np.concatenate([challenge.degree, challenge.squares])
    total = field.zeros(2 * times, len(update))
    step = max(1, _BLOCK // max(1, len(update)))
    for start in range(0, columns.update, step):
        here = slice(start, start + step)
        shares = update[:, here]
        squares = field.subtract(field.multiply(shares, shares), np.ones_like(shares))
        part = np.concatenate(
            [field.product(both[:times, here], shares.T), field.product(both[times:, here], squares.T)]
        )
        total = field.add(total, part)
    degree = field.add(total[:times], field.product(challenge.beacon, small[:, columns.beacons[1]].T))
    degree = field.add(degree, small[:, columns.degree_masks].T)
    squares = field.add(total[times:], small[:, columns.zero_masks].T)
    return np.ascontiguousarray(np.concatenate([degree, squares]).T)


def fingerprint(field: Field, beacon: bytes, repetitions: int, row: Elements) -> Elements:
    """Return random combinations [repetitions] of one member's share of the sum; those of all lie on a polynomial."""
    coefficients = Stream(field, beacon, "fingerprint").draw(repetitions, row.size)
    return field.product(coefficients, row[:, None])[:, 0]
