"""The small columns of a deal: the parts of beacons, masks, and what shows that an update is in its ball."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from peers.secure.ball import Ball
from peers.secure.columns import Columns
from peers.secure.field import Elements, Field
from peers.secure.sharing import interpolation, member_points, pack, slots
from peers.secure.stream import Stream


def small_columns(columns: Columns, secrets: Elements, seed: bytes) -> tuple[NDArray[np.int64], Elements]:
    """Return the masks of projections [k, projections], and every member's shares [m, small columns].

    Args:
        columns: of the deal.
        secrets: [k, update columns], the update.
        seed: 32 bytes, of all that is random.
    """
    layout, field = columns.layout, columns.layout.field
    stream, times = Stream(field, seed, "small"), layout.repetitions
    straight = stream.draw(layout.degree + 1, columns.straight.stop)
    bent = stream.draw(layout.product_degree + 1 - layout.packing, times)
    masks = np.zeros((layout.packing, 0), np.int64)
    points = member_points(layout.members)
    shares = [
        field.product(interpolation(field, points[: layout.degree + 1], points), straight),
        shares_of(columns, field.zeros(layout.packing, times), bent),
    ]
    if (ball := columns.terms.ball) is not None:
        masks = masks_of(ball, layout.packing, Stream(field, seed, "projection masks"))
        slack = slack_of(ball, field, secrets, limit_of(columns, secrets))
        carried = np.concatenate([slack, field.elements(masks)], axis=1)
        shares.append(shares_of(columns, carried, stream.draw(layout.coalition, carried.shape[1])))
        count = columns.distance_masks.stop - columns.sum_masks.start
        balanced = _adding_up_to_zero(field, stream, layout.packing, count)
        free = stream.draw(layout.product_degree + 1 - layout.packing, count)
        shares.append(shares_of(columns, balanced, free))
    return masks, np.concatenate(shares, axis=1)


def limit_of(columns: Columns, secrets: Elements) -> int:
    """Return what an update's squared norm may be: B², or its inner product with the reference."""
    ball, reference, field = columns.terms.ball, columns.terms.reference, columns.layout.field
    assert ball is not None
    if reference is None:
        return ball.bound**2
    there = field.signed(pack(field, reference, columns.layout.packing))
    return int((field.signed(secrets) * there).sum())


def slack_of(ball: Ball, field: Field, secrets: Elements, limit: int) -> Elements:
    """Return the bits of ``limit`` − Σ x², [k, slack columns], the lowest first: column by column, slot after slot."""
    packing = len(secrets)
    numbers = field.signed(secrets)
    squares = int((numbers * numbers).sum())  # of an update that is far too long it wraps around, and is seen
    slack = (limit - squares) % (1 << ball.bits)
    bits = np.zeros(-(-ball.bits // packing) * packing, field.dtype)
    bits[: ball.bits] = [slack >> place & 1 for place in range(ball.bits)]
    return np.ascontiguousarray(bits.reshape(-1, packing).T)


def masks_of(ball: Ball, packing: int, stream: Stream) -> NDArray[np.int64]:
    """Return uniform numbers of ±M, [k, projections]."""
    count, width = packing * ball.projections, 2 * ball.mask + 1
    kept: NDArray[Any] = np.zeros(0, np.int64)
    bits = (1 << width.bit_length()) - 1
    while kept.size < count:
        drawn = stream.draw(2 * count).astype(np.int64) & bits
        kept = np.concatenate([kept, drawn[drawn < width]])
    masks: NDArray[np.int64] = (kept[:count] - ball.mask).reshape(packing, ball.projections)
    return masks


def shares_of(columns: Columns, secrets: Elements, random: Elements) -> Elements:
    """Return members' values [m, columns] of polynomials with these secrets [k, columns] and first values [r, ·]."""
    field, points = columns.layout.field, member_points(columns.layout.members)
    known = (*slots(field, columns.layout.packing), *points[: len(random)])
    return field.product(interpolation(field, known, points), np.concatenate([secrets, random]))


def _adding_up_to_zero(field: Field, stream: Stream, packing: int, count: int) -> Elements:
    """Return random secrets [k, count] whose sum is zero in each column."""
    free = stream.draw(packing - 1, count)
    return np.concatenate([free, field.subtract(field.zeros(1, count), field.total(free, axis=0)[None])])
