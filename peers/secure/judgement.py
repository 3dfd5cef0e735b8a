"""Whether what was opened of a dealer's update shows one that is allowed."""

import numpy as np

from peers.secure.challenge import Challenge
from peers.secure.columns import Columns
from peers.secure.field import Elements
from peers.secure.lengths import expected_sum


def fault_of(columns: Columns, challenge: Challenge, straight: Elements, bent: Elements, score: int) -> str:
    """Return what is wrong with an update, as a clause; empty: nothing.

    Args:
        columns: of the deal.
        challenge: the coefficients of the checks.
        straight: [k, ·], the secrets of what was opened of degree D: of the degree check, then of projections.
        bent: [k, ·], of what was opened of degree 2 D: of zeros, then of sums.
        score: what the dealer says is its inner product with the reference.
    """
    times, ball, field = columns.layout.repetitions, columns.terms.ball, columns.layout.field
    if ball is None:
        return "a number of it is neither 1 nor -1" if bent.any() else ""
    if bent[:, :times].any():
        return "what its length falls short of the bound is not dealt in bits"
    projections = np.abs(field.signed(straight[:, times:]))
    if (projections > ball.mask - ball.tail).any():
        return "a projection of it is too large"
    if not np.array_equal(field.total(bent[:, times:], axis=0), expected_sum(columns, challenge, score)):
        if columns.terms.reference is None:
            return "it is longer than the bound"
        return "it is longer than its trust score allows, or the score is not what it says"
    return ""
