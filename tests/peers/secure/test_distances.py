"""Distances from shares: exactly those of the updates, and nothing else, while one of the two dealers is honest."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.distances import distance_shares
from peers.secure.field import LARGE, SMALL, Elements, Field
from peers.secure.layout import Layout
from peers.secure.terms import Terms
from tests.peers.secure.balls import (
    ALL,
    PRIME,
    SIZE,
    at_slots,
    ball_of,
    columns_of,
    dealt,
    packed_up,
    random_elements,
    value,
)

EACH = pytest.mark.parametrize("layout", ALL.values(), ids=list(ALL))


def updates_of(layout: Layout, seed: int = 0) -> list[list[int]]:
    """Return every peer's update; two are the same, and two as far from each other as the ball allows."""
    told = [[int(one) for one in row] for row in np.random.default_rng(seed).integers(-77, 78, (layout.peers, SIZE))]
    told[1] = list(told[0])
    told[2], told[3] = [256, *[0] * 10], [-256, *[0] * 10]
    return told


def opened_of(layout: Layout, updates: list[list[int]], dealers: list[int]) -> tuple[Elements, Elements, Elements]:
    """Return what members open [members, pairs], and the shares of it: [members, dealers, columns] of both kinds."""
    columns = columns_of(layout, terms=Terms(ball_of(layout), distances=True))
    deals = [dealt(columns, packed_up(layout, updates[dealer]), dealer) for dealer in dealers]
    shares = np.stack([update for update, _, _ in deals], axis=1)
    masks = np.stack([small for _, small, _ in deals], axis=1)[:, :, columns.distance_masks]
    told = [distance_shares(LARGE, shares[place], masks[place], dealers) for place in range(layout.members)]
    return np.stack(told), shares, masks


@EACH
@pytest.mark.parametrize("left_out", [(), (0,), (1, 4)])
def test_secrets_of_what_is_opened_add_up_to_the_distances(layout: Layout, left_out: tuple[int, ...]) -> None:
    updates = updates_of(layout)
    dealers = [peer for peer in range(layout.peers) if peer not in left_out]
    told, _, _ = opened_of(layout, updates, dealers)
    found = [sum(at_slots(layout, column, layout.product_degree)) % PRIME for column in told.T]
    expected = [
        sum((x - y) ** 2 for x, y in zip(updates[one], updates[other], strict=True))
        for one, other in combinations(dealers, 2)
    ]
    assert found == expected
    assert max(expected) == 512**2
    assert min(expected) == 0 or 1 in left_out or 0 in left_out


@settings(max_examples=30)
@given(
    field=st.sampled_from([SMALL, LARGE]), dealers=st.lists(st.integers(0, 8), min_size=1, max_size=5, unique=True),
    count=st.integers(1, 6), seed=st.integers(0, 2**20),
)  # fmt: skip
def test_shares_of_distances_are_what_is_written_down(field: Field, dealers: list[int], count: int, seed: int) -> None:
    """Each dealer's masks are read where the other one's number says; those for itself and for the absent never."""
    random, dealers = np.random.default_rng(seed), sorted(dealers)
    updates, masks = (random.integers(0, field.modulus, (len(dealers), many), field.dtype.type) for many in (count, 9))
    found = distance_shares(field, updates, masks, dealers)
    assert found.dtype == field.dtype
    assert found.tolist() == [
        (sum((int(x) - int(y)) ** 2 for x, y in zip(updates[one], updates[other], strict=True))
         + int(masks[one][dealers[other]]) + int(masks[other][dealers[one]])) % field.modulus
        for one, other in combinations(range(len(dealers)), 2)
    ]  # fmt: skip


@EACH
def test_whoever_knows_one_of_two_deals_learns_no_more_of_the_other_than_the_distance(layout: Layout) -> None:
    """With its share of the honest one's masks and update. For every update that is as far there is such a mask.

    The cheater's own update and masks are fixed; the honest one's mask is what is opened less all else. It must be of
    degree 2 D, add up to zero, and be what the cheater was given of it.
    """
    updates = [[3, 4, *[0] * 9], [0] * SIZE]
    told, shares, masks = opened_of(layout, updates, [0, 1])
    coalition = list(range(layout.coalition))
    other = packed_up(layout, [0, 0, -5, *[0] * 8])  # as far from zeros
    points = [*(-1 - slot for slot in range(layout.packing)), *(place + 1 for place in coalition)]
    for_other = np.array([
        [value(dict(zip(points, [*column, *seen], strict=True)), place + 1) for place in range(layout.members)]
        for column, seen in zip(other.T.tolist(), shares[coalition, 0].T.tolist(), strict=True)
    ], np.uint64).T  # fmt: skip
    bare = masks.copy()
    bare[:, 0, 1] = 0
    both = np.stack([for_other, shares[:, 1]], axis=1)
    known = np.stack([distance_shares(LARGE, both[place], bare[place], [0, 1]) for place in range(layout.members)])
    needed = LARGE.subtract(told, known)[:, 0]
    assert sum(at_slots(layout, needed, layout.product_degree)) % PRIME == 0
    assert (needed[coalition] == masks[coalition, 0, 1]).all()
    assert (needed != masks[:, 0, 1]).any()


@EACH
def test_what_is_opened_is_another_with_other_masks_of_either(layout: Layout) -> None:
    updates, masks = random_elements(2, 4), random_elements(2, layout.peers, seed=1)
    told = [int(distance_shares(LARGE, updates, masks, [0, 1])[0])]
    for dealer, peer in ((0, 1), (1, 0)):
        changed = masks.copy()
        changed[dealer, peer] = (int(changed[dealer, peer]) + 1) % PRIME
        told.append(int(distance_shares(LARGE, updates, changed, [0, 1])[0]))
    assert told[1] == told[2] == (told[0] + 1) % PRIME


def test_one_dealer_alone_has_no_distances() -> None:
    assert distance_shares(LARGE, random_elements(1, 4), random_elements(1, 9), [3]).shape == (0,)
