"""Packed Shamir sharing: k secrets on one polynomial, one value of it for each member.

Franklin and Yung 1992. A polynomial of degree D = t + k − 1 takes the secrets at the slots −1 … −k and is otherwise
random: t members' values together tell nothing, D + 1 tell all. Of the random values, t are the first members' own
shares, so that these need no more than a seed.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from peers.secure.field import Elements, Field


def slots(field: Field, packing: int) -> tuple[int, ...]:
    """Return the points that hold secrets: −1 … −k; members stand at 1, 2 …"""
    return tuple(field.modulus - place for place in range(1, packing + 1))


def member_points(members: int) -> tuple[int, ...]:
    """Return the members' points: 1 … m."""
    return tuple(range(1, members + 1))


@lru_cache(maxsize=256)
def interpolation(field: Field, known: tuple[int, ...], wanted: tuple[int, ...]) -> Elements:
    """Return the matrix [wanted, known] from a polynomial's values at some points to its values at others.

    The polynomial has a degree below the number of known points.

    Args:
        field: the field.
        known: different points.
        wanted: any points.

    Raises:
        ValueError: two known points are the same.
    """
    prime = field.modulus
    if len(set(known)) != len(known):
        raise ValueError("a polynomial has one value at a point")
    weights = []
    for here in known:
        weight = 1
        for other in known:
            if other != here:
                weight = weight * (here - other) % prime
        weights.append(pow(weight, -1, prime))
    rows = []
    for point in wanted:
        if point in known:
            rows.append([int(point == here) for here in known])
            continue
        whole = 1
        for here in known:
            whole = whole * (point - here) % prime
        rows.append([whole * weight * pow(point - here, -1, prime) % prime
                     for here, weight in zip(known, weights, strict=True)])  # fmt: skip
    matrix = np.array(rows, np.uint64).astype(field.dtype).reshape(len(wanted), len(known))
    matrix.setflags(write=False)
    return matrix


def pack(field: Field, vector: Elements, packing: int, filler: int = 0) -> Elements:
    """Return a vector [d] as columns of secrets [k, ⌈d/k⌉], one after the other; ``filler`` fills the last one."""
    columns = -(-vector.size // packing)
    padded = np.full(columns * packing, filler, field.dtype)
    padded[: vector.size] = vector
    return np.ascontiguousarray(padded.reshape(columns, packing).T)


def unpack(secrets: Elements, size: int) -> Elements:
    """Return the first ``size`` elements of what was packed."""
    return np.ascontiguousarray(secrets.T).reshape(-1)[:size]


def share(field: Field, secrets: Elements, random: Elements, members: int, seeded: Sequence[int]) -> Elements:
    """Return every member's share of each column of secrets.

    Args:
        field: the field.
        secrets: [k, columns].
        random: [r, columns], uniform; they are the shares of the seeded members, so r is what the degree needs:
            a polynomial of degree k + r − 1.
        members: m, at most as many as the field has points beside the slots.
        seeded: r different members, counted from 0, whose shares are ``random``.

    Returns:
        [m, columns].
    """
    points = member_points(members)
    fixed = tuple(points[member] for member in seeded)
    others = [member for member in range(members) if member not in set(seeded)]
    matrix = interpolation(field, (*slots(field, secrets.shape[0]), *fixed), tuple(points[member] for member in others))
    shares = np.empty((members, secrets.shape[1]), field.dtype)
    shares[list(seeded)] = random
    shares[others] = field.product(matrix, np.concatenate([secrets, random]))
    return shares


def reconstruct(field: Field, shares: Elements, holders: Sequence[int], packing: int) -> Elements:
    """Return the secrets [k, columns] of a polynomial from D + 1 shares of it, all of them right.

    Args:
        field: the field.
        shares: [D + 1, columns].
        holders: the members, counted from 0, whose shares they are.
        packing: k.
    """
    points = tuple(member + 1 for member in holders)
    return field.product(interpolation(field, points, slots(field, packing)), shares)
