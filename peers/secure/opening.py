"""Opening shared numbers: what members' values say together, though some of them lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peers.secure.decoding import UndecodableError, consistent, decode
from peers.secure.field import Elements, Field
from peers.secure.sharing import interpolation, slots


@dataclass(frozen=True, eq=False)
class Opened:
    """What was opened.

    Attributes:
        secrets: [k, columns], the polynomials' values at the slots.
        wrong: the places of the values that are on none of them.
    """

    secrets: Elements
    wrong: frozenset[int]


def opened_each(
    field: Field, points: Sequence[int], values: Elements, *, degree: int, packing: int, liars: int
) -> list[Opened | None]:
    """Return what each dealer's polynomials are.

    Args:
        field: the field.
        points: the members'.
        values: [members, dealers, columns].
        degree: of the polynomials, at most.
        packing: k.
        liars: members that may have given wrong values.

    Returns:
        One for each dealer; None: there are no such polynomials.
    """
    members, dealers, columns = values.shape
    if members <= degree:
        return [None] * dealers
    flat = values.reshape(members, dealers * columns)
    fine = np.all(consistent(field, points, flat, degree).reshape(dealers, columns), axis=1)
    ends = _at_slots(field, points, flat, degree, packing).reshape(packing, dealers, columns)
    return [
        Opened(ends[:, dealer], frozenset())
        if fine[dealer]
        else opened(field, points, values[:, dealer], degree=degree, packing=packing, liars=liars)
        for dealer in range(dealers)
    ]


def opened(
    field: Field,
    points: Sequence[int],
    values: Elements,
    *,
    degree: int,
    packing: int,
    liars: int,
    known: frozenset[int] = frozenset(),
) -> Opened | None:
    """Return what some polynomials of one dealer are, or None: at most ``liars`` members are wrong in any of them.

    Args:
        field, points, degree, packing, liars: as for ``opened_each``.
        values: [members, columns].
        known: places whose values are known to be wrong, and are not looked at.
    """
    wrong = set(known)
    while True:
        kept = [place for place in range(len(points)) if place not in wrong]
        here, told = [points[place] for place in kept], values[kept]
        if len(wrong) > liars or len(kept) <= degree:
            return None
        bad = np.flatnonzero(~consistent(field, here, told, degree))
        if not bad.size:
            return Opened(_at_slots(field, here, told, degree, packing), frozenset(wrong))
        try:
            found = decode(field, here, [int(value) for value in told[:, bad[0]]], degree)
        except UndecodableError:
            return None
        wrong |= {kept[place] for place in found.wrong}


def _at_slots(field: Field, points: Sequence[int], values: Elements, degree: int, packing: int) -> Elements:
    known = tuple(points[: degree + 1])
    return field.product(interpolation(field, known, slots(field, packing)), values[: degree + 1])
