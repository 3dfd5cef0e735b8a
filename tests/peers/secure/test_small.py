"""The small columns of a deal in a ball: of the degrees and with the secrets that the checks rely on."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.ball import Ball, bound_for
from peers.secure.columns import Columns
from peers.secure.field import LARGE, SMALL
from peers.secure.layout import Layout, packed
from peers.secure.small import limit_of, masks_of, slack_of, small_columns
from peers.secure.stream import Stream
from peers.secure.terms import Terms
from tests.peers.secure.balls import ALL, SIZE, at_slots, ball_of, columns_of, lies_on, packed_up, signed

EACH = pytest.mark.parametrize("layout", ALL.values(), ids=list(ALL))
SEED = hashlib.sha256(b"small").digest()
UPDATE = [3, -7, 0, 200, -1, 0, 15, 2, 2, -90, 4]


def with_distances(layout: Layout) -> Columns:
    return columns_of(layout, terms=Terms(ball_of(layout), distances=True))


@EACH
@settings(max_examples=25)
@given(update=st.lists(st.integers(-77, 77), min_size=SIZE, max_size=SIZE))
def test_the_bits_of_the_slack_add_up_to_what_the_squares_leave(layout: Layout, update: list[int]) -> None:
    """77² · 11 is less than 256². The bits lie one after the other, slot by slot, the lowest first."""
    ball = ball_of(layout)
    bits = slack_of(ball, LARGE, packed_up(layout, update), 256**2)
    assert bits.shape == (layout.packing, math.ceil(ball.bits / layout.packing))
    assert bits.dtype == LARGE.dtype
    told = [int(bits[slot, column]) for column in range(bits.shape[1]) for slot in range(layout.packing)]
    assert set(told) <= {0, 1}
    assert not any(told[ball.bits :])
    assert sum(bit << place for place, bit in enumerate(told)) == 256**2 - sum(one**2 for one in update)


@pytest.mark.parametrize(("update", "left"), [([0], 65536), ([256], 0), ([-255], 511), ([256, 1], 2**17 - 1)])
def test_the_slack_of_the_shortest_of_the_longest_and_of_one_that_is_too_long(update: list[int], left: int) -> None:
    """One unit too long: all bits, which stand for more than the bound."""
    layout = ALL["one secret"]
    bits = slack_of(ball_of(layout), LARGE, packed_up(layout, update), 256**2)
    assert sum(int(bit) << place for place, bit in enumerate(bits[0])) == left


@EACH
@settings(max_examples=10)
@given(
    update=st.lists(st.integers(-77, 77), min_size=SIZE, max_size=SIZE),
    reference=st.lists(st.integers(-77, 77), min_size=SIZE, max_size=SIZE),
)
def test_the_squares_may_be_the_bound_s_or_the_inner_product_with_a_reference(
    layout: Layout, update: list[int], reference: list[int]
) -> None:
    secrets, ball = packed_up(layout, update), ball_of(layout)
    assert limit_of(columns_of(layout), secrets) == 256**2
    with_one = columns_of(layout, terms=Terms(ball, LARGE.elements(np.array(reference))))
    inner = sum(one * other for one, other in zip(update, reference, strict=True))
    assert limit_of(with_one, secrets) == inner
    _, small = small_columns(with_one, secrets, SEED)
    slack = [at_slots(layout, column, layout.degree) for column in small[:, with_one.slack].T]
    left = sum(bit << place for place, bit in enumerate(one for column in slack for one in column))
    assert left == (inner - sum(one**2 for one in update)) % 2**ball.bits


@EACH
@pytest.mark.parametrize("seed", [0, 1])
def test_masks_are_in_their_range_and_follow_from_the_seed(layout: Layout, seed: int) -> None:
    ball, raw = ball_of(layout), hashlib.sha256(b"%d" % seed).digest()
    masks = masks_of(ball, layout.packing, Stream(LARGE, raw, "masks"))
    assert masks.shape == (layout.packing, ball.projections)
    assert (np.abs(masks) <= ball.mask).all()
    assert (masks == masks_of(ball, layout.packing, Stream(LARGE, raw, "masks"))).all()
    assert (masks != masks_of(ball, layout.packing, Stream(LARGE, SEED, "masks"))).any()
    assert np.unique(masks).size == masks.size  # of 10⁸ values and more


@pytest.mark.parametrize("mask", [1, 2, 7, 8])
def test_each_mask_is_as_frequent_as_any_other(mask: int) -> None:
    """χ² of 2 M values: above 2 M + 6 · √(4 M) once in a million times or so."""
    drawn = masks_of(Ball(256, mask, 30_000, 0), 2, Stream(LARGE, SEED, "masks"))
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == list(range(-mask, mask + 1))
    expected = drawn.size / (2 * mask + 1)
    assert ((counts - expected) ** 2 / expected).sum() < 2 * mask + 6 * math.sqrt(4 * mask)


@EACH
def test_every_column_is_of_its_degree_and_of_no_lower_one(layout: Layout) -> None:
    columns = with_distances(layout)
    _, small = small_columns(columns, packed_up(layout, UPDATE), SEED)
    assert small.shape == (layout.members, columns.small)
    straight = [columns.straight, columns.slack, columns.projection_masks]
    bent = [columns.zero_masks, columns.sum_masks, columns.distance_masks]
    for kinds, degree in ((straight, layout.degree), (bent, layout.product_degree)):
        for here in kinds:
            for column in small[:, here].T:
                assert lies_on(layout, column, degree)
                assert not lies_on(layout, column, degree - 1)


@EACH
def test_slack_and_masks_are_the_secrets_of_their_columns(layout: Layout) -> None:
    columns = with_distances(layout)
    secrets = packed_up(layout, UPDATE)
    masks, small = small_columns(columns, secrets, SEED)
    slack = [at_slots(layout, column, layout.degree) for column in small[:, columns.slack].T]
    ball = columns.terms.ball
    assert ball is not None
    assert np.array(slack).T.tolist() == slack_of(ball, LARGE, secrets, 256**2).tolist()
    carried = [at_slots(layout, column, layout.degree) for column in small[:, columns.projection_masks].T]
    assert [[signed(one) for one in column] for column in carried] == masks.T.tolist()


@EACH
def test_masks_of_zeros_vanish_and_those_of_sums_add_up_to_zero_without_vanishing(layout: Layout) -> None:
    columns = with_distances(layout)
    _, small = small_columns(columns, packed_up(layout, UPDATE), SEED)
    for column in small[:, columns.zero_masks].T:
        assert not any(at_slots(layout, column, layout.product_degree))
    for column in small[:, columns.sum_masks.start : columns.distance_masks.stop].T:
        secrets = at_slots(layout, column, layout.product_degree)
        assert sum(secrets) % LARGE.modulus == 0
        assert any(secrets) == (layout.packing > 1)


@EACH
def test_no_two_small_columns_of_two_deals_are_the_same(layout: Layout) -> None:
    columns, secrets = with_distances(layout), packed_up(layout, UPDATE)
    told = [small_columns(columns, secrets, hashlib.sha256(b"%d" % seed).digest())[1] for seed in range(2)]
    rows = np.concatenate(told, axis=1).T.tolist()
    assert len({tuple(row) for row in rows}) == len(rows)


@EACH
def test_what_so_many_members_hold_as_may_pool_does_not_depend_on_the_update(layout: Layout) -> None:
    """Of the first ones it is the random numbers themselves; of others it follows by the degree."""
    columns = with_distances(layout)
    (_, one), (_, other) = (small_columns(columns, packed_up(layout, update), SEED) for update in (UPDATE, [0] * SIZE))
    assert (one[: layout.coalition] == other[: layout.coalition]).all()
    assert (one[layout.coalition :, columns.slack] != other[layout.coalition :, columns.slack]).any(axis=1).all()
    kept = np.delete(np.arange(columns.small), columns.slack)
    assert (one[:, kept] == other[:, kept]).all()


def test_signs_have_no_masks_of_projections() -> None:
    columns = Columns(packed(9, faults=2, coalition=2, field=SMALL), SIZE)
    masks, small = small_columns(columns, SMALL.elements(np.ones((1, SIZE), np.int64)), SEED)
    assert masks.shape == (1, 0)
    assert small.shape == (9, columns.zero_masks.stop)


def test_an_update_that_is_far_too_long_is_dealt_all_the_same() -> None:
    """A cheater's: its slack wraps around, in as many bits."""
    layout = ALL["two secrets"]
    ball = ball_of(layout)
    bits = slack_of(ball, LARGE, packed_up(layout, [10**9 + number for number in range(SIZE)]), 256**2)
    assert set(bits.reshape(-1).tolist()) <= {0, 1}
    assert ball.bound == bound_for(SIZE)
