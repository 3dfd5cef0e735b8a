"""Distances between updates, from shares: what multi-Krum needs and shows, and no more."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from peers.secure.field import Elements, Field


def distance_shares(field: Field, updates: Elements, masks: Elements, dealers: Sequence[int]) -> Elements:
    """Return a member's values of Σ (f − g)² + masks for each pair of dealers, in order, [pairs].

    The secrets of each, of degree 2 D, add up to the squared distance; the two dealers' masks for one another, whose
    secrets add up to zero, hide all else of them, so that one honest one of the two is enough.

    Args:
        field: the field.
        updates: [dealers, update columns], the member's shares.
        masks: [dealers, peers], of each dealer's masks, one for each peer.
        dealers: their numbers.
    """
    products = field.product(updates, updates.T)
    squares = np.diagonal(products)
    pairs = list(combinations(range(len(dealers)), 2))
    one, other = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    twice = field.add(products[one, other], products[one, other])
    total = field.subtract(field.add(squares[one], squares[other]), twice)
    number = np.array(dealers, np.int64)
    hidden = field.add(masks[one, number[other]], masks[other, number[one]])
    return field.add(total, hidden)
