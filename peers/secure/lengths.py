"""What shows that an update is in its ball: a member's part, and the dealer's (``peers.secure.checks``)."""

import numpy as np
from numpy.typing import NDArray

from peers.secure.ball import Ball
from peers.secure.challenge import Challenge
from peers.secure.columns import Columns
from peers.secure.field import Elements
from peers.secure.sharing import interpolation, pack, slots


def scalars_in_ball(
    columns: Columns, challenge: Challenge, update: Elements, small: Elements, place: int
) -> tuple[Elements, Elements, Elements]:
    """Return what a member opens of zeros and of sums, [repetitions, dealers], and of projections, [·, dealers].

    Args:
        columns: of the deals, with a ball.
        challenge: the coefficients.
        update: [dealers, update columns], the member's shares of the updates.
        small: [dealers, small columns], of the rest.
        place: the member's.
    """
    field, terms = columns.layout.field, columns.terms
    assert terms.ball is not None
    assert challenge.sums is not None
    slack = small[:, columns.slack]
    bits = field.product(challenge.squares, field.subtract(field.multiply(slack, slack), slack).T)
    weights = _at(columns, place, _powers(columns, terms.ball))
    total = field.add(_squares(columns, update), field.product(weights, slack.T)[0])
    told = np.stack([total, _inner_products(columns, place, update)])
    sums = field.product(challenge.sums, np.concatenate([told, small[:, columns.distance_masks].T]))
    projections = small[:, columns.projection_masks].T
    for here, factors in challenge.ternary(columns):
        projections = field.add(projections, field.product_of_few(factors, update[:, here].T))
    return (
        field.add(bits, small[:, columns.zero_masks].T),
        field.add(sums, small[:, columns.sum_masks].T),
        projections,
    )


def expected_sum(columns: Columns, challenge: Challenge, score: int) -> Elements:
    """Return what the secrets of the check of sums must add up to, [repetitions], for a dealer that tells a score."""
    field, ball = columns.layout.field, columns.terms.ball
    assert ball is not None
    assert challenge.sums is not None
    limit = ball.bound**2 if columns.terms.reference is None else score
    told = field.elements(np.array([limit, score], np.int64))
    return field.product(challenge.sums[:, :2], told[:, None])[:, 0]


def refused(columns: Columns, challenge: Challenge, secrets: Elements, masks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which projections a dealer must not have opened, [projections]: those that would show something.

    Args:
        columns: of its deal, with a ball.
        challenge: the coefficients.
        secrets: [k, update columns], its update.
        masks: [k, projections], of its deal.
    """
    field, ball = columns.layout.field, columns.terms.ball
    assert ball is not None
    found = field.zeros(ball.projections, len(secrets))
    for here, factors in challenge.ternary(columns):
        found = field.add(found, field.product_of_few(factors, secrets[:, here].T))
    numbers = field.signed(found).T
    open_to_all = (np.abs(numbers) <= ball.tail) & (np.abs(numbers + masks) <= ball.mask - ball.tail)
    closed: NDArray[np.bool_] = ~open_to_all.all(axis=0)
    return closed


def _squares(columns: Columns, update: Elements) -> Elements:
    """Return the sum of the squares of each dealer's shares, [dealers]."""
    field = columns.layout.field
    total = field.zeros(len(update))
    for here in columns.blocks():
        total = field.add(total, field.total(field.multiply(update[:, here], update[:, here]), axis=1))
    return total


def _inner_products(columns: Columns, place: int, update: Elements) -> Elements:
    """Return the inner product of each dealer's shares with the reference's, [dealers]; without one, zeros."""
    field, reference = columns.layout.field, columns.terms.reference
    if reference is None:
        return field.zeros(len(update))
    told: Elements = field.product(_at(columns, place, pack(field, reference, columns.layout.packing)), update.T)[0]
    return told


def _powers(columns: Columns, ball: Ball) -> Elements:
    """Return what each bit of the slack stands for, [k, slack columns]."""
    powers = columns.layout.field.elements(np.array([1 << place for place in range(ball.bits)], np.int64))
    return pack(columns.layout.field, powers, columns.layout.packing)


def _at(columns: Columns, place: int, known: Elements) -> Elements:
    """Return a member's values [1, columns] of polynomials of degree k − 1 with known secrets [k, columns]."""
    field = columns.layout.field
    return field.product(interpolation(field, slots(field, columns.layout.packing), (place + 1,)), known)
