"""What a member computes of its shares so that all can see whether a dealer's update is one that is allowed.

Random combinations over all columns b of a deal, each repeated with other coefficients r that nobody could foresee,
and opened under a random mask:

- *degree*: Σ r_b f_b(X). If it is of degree D, so is every f_b, as far as honest members' shares go.
- *zeros*: Σ r_b (f_b(X)² − 1), of degree 2 D. If it vanishes at the slots, every packed number is 1 or −1. For an
  update in a ball the same with g_c(X)² − g_c(X), so that every number of its slack is a bit.
- *sums*, in a ball: r (Σ f_b(X)² + Σ w_c(X) g_c(X)) + r' Σ R_b(X) f_b(X) + Σ r_i m_i(X), of degree 2 D, where w are
  powers of two, R is the reference, and m hide distances. If its secrets add up to r B² + r' s, the squared norm and
  the slack make B² together, the inner product with the reference is s, and each m_i's secrets add up to zero. Where
  there is a reference, s takes B²'s place.
- *projections*, in a ball: Σ r_b f_b(X) with r of −1, 0 and 1, of degree D (``peers.secure.ball``).

A false deal passes a repetition of the first three with probability 1/p. The masks need no check: what a wrong mask
adds was fixed before the coefficients were drawn.
"""

import numpy as np
from numpy.typing import NDArray

from peers.secure.challenge import Challenge
from peers.secure.columns import Columns
from peers.secure.field import Elements, Field
from peers.secure.lengths import scalars_in_ball
from peers.secure.stream import Stream

_BLOCK = 1 << 16
"""Numbers that are squared together, so that they stay in the processor's cache."""


def scalars(
    columns: Columns, challenge: Challenge, update: Elements, small: Elements, place: int = 0,
    refused: NDArray[np.bool_] | None = None,
) -> Elements:  # fmt: skip
    """Return what a member opens of each dealer.

    Args:
        columns: of the deals.
        challenge: the coefficients.
        update: [dealers, update columns], its shares of the updates.
        small: [dealers, small columns], of the rest.
        place: the member's; read only in a ball.
        refused: [dealers, projections], those that are not opened; zeros take their place. None: all are opened.

    Returns:
        [dealers, columns.scalars].
    """
    if columns.terms.ball is None:
        zeros = _zeros_of_signs(columns, challenge, update, small)
        return np.ascontiguousarray(np.concatenate([_degrees(columns, challenge, update, small), zeros]).T)
    kinds = [_degrees(columns, challenge, update, small), *scalars_in_ball(columns, challenge, update, small, place)]
    opened = np.ascontiguousarray(np.concatenate(kinds).T)
    if refused is not None:
        opened[:, columns.opened_projections][refused] = 0
    return opened


def _degrees(columns: Columns, challenge: Challenge, update: Elements, small: Elements) -> Elements:
    """Return [repetitions, dealers]."""
    field = columns.layout.field
    total = field.product(challenge.beacon, small[:, columns.beacons[1]].T)
    if challenge.slack is not None:
        total = field.add(total, field.product(challenge.slack, small[:, columns.slack].T))
    for here in _blocks(update):
        total = field.add(total, field.product(challenge.degree[:, here], update[:, here].T))
    return field.add(total, small[:, columns.degree_masks].T)


def _blocks(update: Elements) -> list[slice]:
    """Return so many columns together that they stay in the processor's cache."""
    step = max(1, _BLOCK // max(1, len(update)))
    return [slice(start, start + step) for start in range(0, update.shape[1], step)]


def _zeros_of_signs(columns: Columns, challenge: Challenge, update: Elements, small: Elements) -> Elements:
    """Return [repetitions, dealers]."""
    field = columns.layout.field
    total = field.zeros(columns.layout.repetitions, len(update))
    for here in _blocks(update):
        shares = update[:, here]
        squares = field.subtract(field.multiply(shares, shares), np.ones_like(shares))
        total = field.add(total, field.product(challenge.squares[:, here], squares.T))
    return field.add(total, small[:, columns.zero_masks].T)


def fingerprint(field: Field, beacon: bytes, repetitions: int, row: Elements) -> Elements:
    """Return random combinations [repetitions] of one member's share of the sum; those of all lie on a polynomial."""
    coefficients = Stream(field, beacon, "fingerprint").draw(repetitions, row.size)
    return field.product(coefficients, row[:, None])[:, 0]
