"""Deals of updates in a ball, and what all members open of them; oracles are Lagrange's formula in whole numbers."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from peers.secure.ball import Ball, ball, bound_for
from peers.secure.challenge import Challenge
from peers.secure.checks import scalars
from peers.secure.columns import Columns
from peers.secure.deal import Deal
from peers.secure.field import LARGE, Elements
from peers.secure.judgement import fault_of
from peers.secure.layout import Layout, committee, packed
from peers.secure.part import read_part
from peers.secure.sharing import pack, share
from peers.secure.stream import Stream
from peers.secure.terms import Terms
from tests.peers.secure.rounds import context_of, entropy_of

BINDING = context_of(9).binding
PRIME = LARGE.modulus
SIZE = 11
ONE = packed(5, faults=1, coalition=1, field=LARGE)
TWO, THREE = (packed(peers, faults=1, coalition=2, field=LARGE) for peers in (9, 12))
ALL = {
    "one secret": ONE,
    "two secrets": TWO,
    "three secrets": THREE,
    "committee": committee(10, 5, faults=1, coalition=1, field=LARGE),
}


def ball_of(layout: Layout, size: int = SIZE) -> Ball:
    """Return the sizes that a rule would take."""
    return ball(layout, size, bound_for(size))


def columns_of(layout: Layout, size: int = SIZE, terms: Terms | None = None) -> Columns:
    """Return the columns of a deal; without ``terms``, those of an update in a ball and no more."""
    return Columns(layout, size, Terms(ball_of(layout, size)) if terms is None else terms)


def challenge_of(columns: Columns, seed: int = 0) -> Challenge:
    """Return one of many challenges."""
    return Challenge.drawn(columns, hashlib.sha256(b"beacon %d" % seed).digest())


def random_elements(*shape: int, seed: int = 0) -> Elements:
    """Return uniform numbers, the same each time."""
    return Stream(LARGE, hashlib.sha256(b"random %d" % seed).digest(), "test").draw(*shape)


@lru_cache(maxsize=4096)
def lagrange(known: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Return what a polynomial's values at known points are multiplied with, to give that at another."""
    factors = []
    for here in known:
        factor = 1
        for other in known:
            if other != here:
                factor = factor * (at - other) * pow(here - other, -1, PRIME) % PRIME
        factors.append(factor)
    return tuple(factors)


def value(known: dict[int, int], at: int) -> int:
    """Return the value at a point of the polynomial through known ones."""
    factors = lagrange(tuple(known), at)
    return sum(factor * one for factor, one in zip(factors, known.values(), strict=True)) % PRIME


def at_slots(layout: Layout, column: Elements, degree: int) -> list[int]:
    """Return the secrets of the polynomial of a degree through all members' values, which are on it."""
    told = [int(one) for one in column]
    known = {place + 1: told[place] for place in range(degree + 1)}
    assert [value(known, place + 1) for place in range(layout.members)] == told, "on no polynomial of the degree"
    return [value(known, -slot) for slot in range(1, layout.packing + 1)]


def lies_on(layout: Layout, column: Elements, degree: int) -> bool:
    """Tell whether all members' values are one polynomial's of at most a degree."""
    known = {place + 1: int(column[place]) for place in range(degree + 1)}
    return all(value(known, place + 1) == int(column[place]) for place in range(layout.members))


def signed(number: int) -> int:
    """Return the representative nearest to zero."""
    return number - PRIME if number > PRIME // 2 else number


def packed_up(layout: Layout, update: Sequence[int] | NDArray[np.int64]) -> Elements:
    """Return an update as columns of secrets."""
    whole = np.array([int(one) % PRIME for one in update], np.uint64)
    return pack(LARGE, whole, layout.packing)


def dealt(columns: Columns, secrets: Elements, dealer: int = 0, seed: int = 0) -> tuple[Elements, Elements, Deal]:
    """Return members' shares of one deal, [members, columns]: of the update, and of the rest; and the deal."""
    deal = Deal(BINDING, dealer, columns, secrets, entropy_of(dealer, seed))
    list(deal.pieces())
    parts = [
        read_part(deal.part(place), columns, binding=BINDING, dealer=dealer, place=place, committed=deal.leaves[place])
        for place in range(columns.layout.members)
    ]
    return np.stack([part.update for part in parts]), np.stack([part.small for part in parts]), deal


def shared(layout: Layout, secrets: Elements, degree: int | None = None, seed: int = 0) -> Elements:
    """Return members' shares [members, columns] of secrets [k, columns] on random polynomials; degree: D by default."""
    random = random_elements((degree or layout.degree) + 1 - layout.packing, secrets.shape[1], seed=seed)
    return share(LARGE, secrets, random, layout.members, range(len(random)))


def opened(
    columns: Columns, challenge: Challenge, update: Elements, small: Elements, refused: NDArray[np.bool_] | None = None
) -> Elements:
    """Return what all members open of one dealer, [members, columns.scalars]."""
    closed = None if refused is None else refused[None]
    return np.stack([
        scalars(columns, challenge, update[place][None], small[place][None], place, closed)[0]
        for place in range(columns.layout.members)
    ])  # fmt: skip


def fault(columns: Columns, challenge: Challenge, told: Elements, score: int = 0) -> str:
    """Return what is found wrong with a dealer of whom this was opened, by members that all tell the truth."""
    layout = columns.layout
    bent = range(columns.opened_zeros.start, columns.opened_sums.stop)
    secrets = [
        at_slots(layout, told[:, one], layout.product_degree if one in bent else layout.degree)
        for one in range(columns.scalars)
    ]
    straight = [one for number, one in enumerate(secrets) if number not in bent]
    return fault_of(
        columns,
        challenge,
        np.array(straight, np.uint64).T,
        np.array([secrets[one] for one in bent], np.uint64).T,
        score,
    )
