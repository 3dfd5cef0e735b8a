"""Updates in a ball: any that is allowed passes and shows nothing, and none that is longer does.

Oracles are sums of products and Lagrange's formula, in whole numbers of Python.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from peers.secure import columns as sizes
from peers.secure.ball import Ball, ball
from peers.secure.challenge import Challenge
from peers.secure.columns import Columns
from peers.secure.field import LARGE, Elements
from peers.secure.layout import Layout
from peers.secure.lengths import expected_sum, refused, scalars_in_ball
from peers.secure.small import masks_of
from peers.secure.stream import Stream
from peers.secure.terms import Terms
from tests.peers.secure.balls import (
    ALL,
    PRIME,
    SIZE,
    at_slots,
    ball_of,
    challenge_of,
    columns_of,
    dealt,
    fault,
    opened,
    packed_up,
    random_elements,
    shared,
    signed,
    value,
)

EACH = pytest.mark.parametrize("layout", ALL.values(), ids=list(ALL))
BEACON = st.binary(min_size=32, max_size=32)
LONGER = "it is longer than the bound"
UNTRUE = "it is longer than its trust score allows, or the score is not what it says"
BITS = "what its length falls short of the bound is not dealt in bits"
LARGE_PROJECTION = "a projection of it is too large"
BOUND = 256
REFERENCE = [5, -3, 0, 120, 7, 7, -60, 1, 0, 2, 90]
ROOT = pow(5, (PRIME + 1) // 4, PRIME)
"""A number whose square is 5 modulo the prime, which is 3 modulo 4."""
HALF = (PRIME + 1) // 2
"""1 / 2."""


def with_distances(layout: Layout) -> Columns:
    """Return the columns of a deal with masks of distances."""
    return columns_of(layout, terms=Terms(ball_of(layout), distances=True))


def with_all(layout: Layout) -> Columns:
    """Return the columns of a deal with a reference and masks of distances."""
    reference = LARGE.elements(np.array(REFERENCE, np.int64))
    return columns_of(layout, terms=Terms(ball_of(layout), reference, distances=True))


def projected(columns: Columns, challenge: Challenge, secrets: Elements) -> list[list[int]]:
    """Return Σ r x of each slot for each projection, [projections, k], modulo the prime, nearest to zero."""
    rows = np.concatenate([factors for _, factors in challenge.ternary(columns)], axis=1).tolist()
    told = secrets.tolist()
    return [
        [signed(sum(r * x for r, x in zip(row, slot, strict=True)) % PRIME) for slot in told] for row in rows
    ]  # fmt: skip


def long_in_bits(columns: Columns, update: Sequence[int]) -> Elements:
    """Return members' shares of the bits that a cheater deals: those of B² − Σ x² modulo the prime, where they fit."""
    found = columns.terms.ball
    assert found is not None
    left = (found.bound**2 - sum(one * one for one in update)) % PRIME
    assert left < 1 << found.bits, "no bits make up for so much"
    return shared(columns.layout, packed_up(columns.layout, [left >> place & 1 for place in range(found.bits)]))


def played(
    columns: Columns, update: Sequence[int], challenge: Challenge, *, seed: int = 0, score: int = 0,
    slack: Elements | None = None, small: Elements | None = None,
) -> tuple[str, int]:  # fmt: skip
    """Return what is found wrong with an update, and how many projections would have to be refused.

    Its dealer refuses what an honest one would; if that is too much, as many as it may of those that would be seen.

    Args:
        columns, challenge: of the check.
        update: [size], or as many as fit into the columns.
        seed: of what is random.
        score: what the dealer says.
        slack, small: members' shares that are dealt in place of the honest ones.
    """
    secrets = packed_up(columns.layout, update)
    shares, rest, deal = dealt(columns, secrets, seed=seed)
    rest = rest.copy() if small is None else small.copy()
    if slack is not None:
        rest[:, columns.slack] = slack
    found = columns.terms.ball
    assert found is not None
    closed = refused(columns, challenge, secrets, deal.masks)
    if closed.sum() > found.refusals:
        hidden = deal.masks.T.tolist()
        closed = np.array([
            any(abs(signed((y + mask) % PRIME)) > found.mask - found.tail for y, mask in zip(*both, strict=True))
            for both in zip(projected(columns, challenge, secrets), hidden, strict=True)
        ])  # fmt: skip
    wanted = int(closed.sum())
    closed[np.flatnonzero(closed)[found.refusals :]] = False
    return fault(columns, challenge, opened(columns, challenge, shares, rest, closed), score), wanted


# What a member opens


@EACH
@pytest.mark.parametrize("block", [10_000, 2], ids=["one block", "blocks of 2"])
def test_what_a_member_opens_are_the_sums_that_are_written_down(
    layout: Layout, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any numbers, on no polynomial; the reference's and the powers' by Lagrange's formula through their slots."""
    monkeypatch.setattr(sizes, "BLOCK", block)
    columns, challenge, place = with_all(layout), challenge_of(with_all(layout)), layout.members - 2
    found = columns.terms.ball
    assert found is not None
    update, small = random_elements(3, columns.update), random_elements(3, columns.small, seed=1)
    zeros, sums, projections = (one.T.tolist() for one in scalars_in_ball(columns, challenge, update, small, place))

    def here(numbers: Sequence[int], count: int) -> list[int]:
        padded = [*numbers, *[0] * (count * layout.packing - len(numbers))]
        return [
            value({-1 - slot: padded[column * layout.packing + slot] for slot in range(layout.packing)}, place + 1)
            for column in range(count)
        ]

    reference = here(REFERENCE, columns.update)
    powers = here([2**bit for bit in range(17)], columns.slack.stop - columns.slack.start)
    rows = np.concatenate([factors for _, factors in challenge.ternary(columns)], axis=1).tolist()
    assert challenge.sums is not None
    for dealer in range(3):
        shares, rest = update[dealer].tolist(), small[dealer].tolist()
        slack, masks = rest[columns.slack], rest[columns.distance_masks]
        norm = sum(x * x for x in shares) + sum(one * bit for one, bit in zip(powers, slack, strict=True))
        inner = sum(one * other for one, other in zip(reference, shares, strict=True))
        for time in range(layout.repetitions):
            bits = sum(r * (bit * bit - bit) for r, bit in zip(challenge.squares[time].tolist(), slack, strict=True))
            assert zeros[dealer][time] == (bits + rest[columns.zero_masks][time]) % PRIME
            total = sum(
                r * one for r, one in zip(challenge.sums[time].tolist(), [norm, inner, *masks], strict=True)
            )  # fmt: skip
            assert sums[dealer][time] == (total + rest[columns.sum_masks][time]) % PRIME
        assert projections[dealer] == [
            (sum(r * x for r, x in zip(row, shares, strict=True)) + mask) % PRIME
            for row, mask in zip(rows, rest[columns.projection_masks], strict=True)
        ]


@EACH
@given(score=st.integers(-(2**60) + 1, 2**60 - 1))
@settings(max_examples=10)
def test_what_is_expected_is_what_the_squares_may_be_and_the_score_by_their_coefficients(
    layout: Layout, score: int
) -> None:
    for columns, limit in ((columns_of(layout), BOUND**2), (with_all(layout), score)):
        challenge = challenge_of(columns)
        assert challenge.sums is not None
        assert expected_sum(columns, challenge, score).tolist() == [
            (row[0] * limit + row[1] * score) % PRIME for row in challenge.sums.tolist()
        ]


# What is refused


@EACH
@pytest.mark.parametrize("block", [10_000, 2], ids=["one block", "blocks of 2"])
@pytest.mark.parametrize("mask", [4000, 25_000])
def test_an_honest_dealer_refuses_what_would_show_something_and_nothing_else(
    layout: Layout, block: int, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "BLOCK", block)
    found = Ball(BOUND, mask, 300, 0)
    columns = columns_of(layout, terms=Terms(found))
    challenge = challenge_of(columns)
    masks = masks_of(found, layout.packing, Stream(LARGE, bytes(32), "masks"))
    secrets = packed_up(layout, [1500, *[90] * 10])  # now and then above 6 B = 1536
    numbers = projected(columns, challenge, secrets)
    expected = [
        any(abs(y) > 1536 or abs(y + hidden) > mask - 1536 for y, hidden in zip(row, column, strict=True))
        for row, column in zip(numbers, masks.T.tolist(), strict=True)
    ]
    assert any(abs(y) > 1536 for row in numbers for y in row)
    assert refused(columns, challenge, secrets, masks).tolist() == expected
    assert any(expected)
    assert not all(expected)


@EACH
@pytest.mark.parametrize("update", [[0] * SIZE, [256], [77] * SIZE], ids=["zeros", "one number", "all alike"])
def test_each_projection_is_refused_as_often_whatever_the_update(layout: Layout, update: list[int]) -> None:
    """Within five standard deviations of the share of masks that ±(M − Y) leaves, though M is small here."""
    found = Ball(BOUND, 20_000, 20_000, 0)
    columns = columns_of(layout, len(update), Terms(found))
    masks = masks_of(found, layout.packing, Stream(LARGE, bytes(32), "masks"))
    closed = refused(columns, challenge_of(columns), packed_up(layout, update), masks)
    expected = 1 - ((2 * (20_000 - 1536) + 1) / (2 * 20_000 + 1)) ** layout.packing
    assert abs(closed.mean() - expected) < 5 * math.sqrt(expected * (1 - expected) / 20_000)


@EACH
@pytest.mark.parametrize("update", [[0] * SIZE, [256], [77] * SIZE], ids=["zeros", "one number", "all alike"])
def test_what_is_opened_of_a_projection_is_uniform_whatever_the_update(layout: Layout, update: list[int]) -> None:
    """Kolmogorov and Smirnov: √n · D is above 2.5 once in 130,000 times. Each slot alone."""
    found = Ball(BOUND, 6000, 20_000, 0)
    columns = columns_of(layout, len(update), Terms(found))
    challenge, secrets = challenge_of(columns), packed_up(layout, update)
    masks = masks_of(found, layout.packing, Stream(LARGE, bytes(32), "masks"))
    closed = refused(columns, challenge, secrets, masks)
    numbers = np.array(projected(columns, challenge, secrets)).T + masks
    half = 6000 - 1536
    for slot in numbers[:, ~closed]:
        told = np.sort(slot)
        assert abs(told[[0, -1]]).max() <= half
        steps = (np.arange(told.size) + 1) / told.size
        ends = (told + half + 1) / (2 * half + 1)
        assert math.sqrt(told.size) * np.abs(steps - ends).max() < 2.5


def test_without_refusals_what_is_opened_tells_the_longest_from_zeros() -> None:
    """The ablation: opened as they are, projections of 256 under small masks leave the interval, those of 0 do not."""
    found = Ball(BOUND, 300, 2000, 0)
    columns = columns_of(ALL["one secret"], 1, Terms(found))
    masks = masks_of(found, 1, Stream(LARGE, bytes(32), "masks"))
    for number in (0, 256):
        numbers = np.array(projected(columns, challenge_of(columns), packed_up(ALL["one secret"], [number]))).T + masks
        assert bool((np.abs(numbers) > 300).any()) == (number > 0)


# Completeness


@settings(max_examples=25)
@given(
    layout=st.sampled_from(list(ALL.values())), beacon=BEACON, seed=st.integers(0, 2**32),
    shape=st.sampled_from(["any", "longest", "one number", "zeros"]),
)  # fmt: skip
def test_no_challenge_refuses_an_update_that_is_allowed(layout: Layout, beacon: bytes, seed: int, shape: str) -> None:
    random = np.random.default_rng(seed)
    update = [int(one) for one in random.integers(-77, 78, SIZE)]
    if shape == "longest":  # four squares make up for any rest (Lagrange)
        update = [*[70, -70, 70, -70, 70, -70, 70], *four_squares(BOUND**2 - 7 * 70**2)]
        assert sum(one * one for one in update) == BOUND**2
    elif shape != "any":
        update = [0] * SIZE
        update[int(random.integers(SIZE))] = 0 if shape == "zeros" else -BOUND
    columns = with_distances(layout)
    found, wanted = played(columns, update, Challenge.drawn(columns, beacon), seed=seed)
    ball_ = columns.terms.ball
    assert ball_ is not None
    assert wanted <= ball_.refusals
    assert not found


@settings(max_examples=15)
@given(
    layout=st.sampled_from(list(ALL.values())), beacon=BEACON, seed=st.integers(0, 2**32),
    shape=st.sampled_from(["any", "the reference", "zeros"]),
)  # fmt: skip
def test_no_challenge_refuses_an_update_in_the_ball_over_the_reference(
    layout: Layout, beacon: bytes, seed: int, shape: str
) -> None:
    """‖x − r / 2‖ ≤ ‖r‖ / 2, which is 81: at both ends of it, and anywhere."""
    update = [one // 2 + int(noise) for one, noise in zip(REFERENCE, np.random.default_rng(seed).integers(
        -22, 23, SIZE), strict=True)]  # fmt: skip
    update = {"any": update, "the reference": REFERENCE, "zeros": [0] * SIZE}[shape]
    score = inner(update)
    assert 0 <= score - sum(one * one for one in update) <= 81**2
    columns = with_all(layout)
    assert played(columns, update, Challenge.drawn(columns, beacon), seed=seed, score=score)[0] == ""


def inner(update: Sequence[int]) -> int:
    """Return the inner product with the reference."""
    return sum(one * other for one, other in zip(REFERENCE, update, strict=True))


def four_squares(rest: int) -> list[int]:
    """Return four whole numbers whose squares add up to one."""
    for one in range(math.isqrt(rest), -1, -1):
        for two in range(math.isqrt(rest - one**2), -1, -1):
            left = rest - one**2 - two**2
            for three in range(math.isqrt(left), -1, -1):
                if math.isqrt(left - three**2) ** 2 == left - three**2:
                    return [one, two, three, math.isqrt(left - three**2)]
    raise AssertionError("Lagrange was wrong")


def test_so_many_refusals_as_are_allowed_are_hardly_ever_exceeded() -> None:
    """At 2⁻¹⁰ in place of 2⁻⁴⁰, of four thousand honest dealers; at 2⁻⁴⁰, none of them comes near."""
    layout = ALL["three secrets"]
    strict = ball(layout, 10_000, 10_000, 6)
    columns = columns_of(layout, 3, Terms(strict))
    challenge = challenge_of(columns)
    secrets = packed_up(layout, [9000, -4000, 1000])
    told = projected(columns, challenge, secrets)
    drawn = masks_of(Ball(10_000, strict.mask, strict.projections * 4000, 0), 3, Stream(LARGE, bytes(32), "masks"))
    numbers = drawn.reshape(3, 4000, strict.projections) + np.array(told).T[:, None]
    counts = (np.abs(numbers) > strict.mask - strict.tail).any(axis=0).sum(axis=1)
    assert (counts > strict.refusals).mean() < 2**-6 / 12
    assert counts.max() <= ball(layout, 10_000, 10_000).refusals
    assert counts.max() > 0


# Soundness


@EACH
@settings(max_examples=8)
@given(beacon=BEACON, place=st.integers(0, SIZE - 1))
def test_one_unit_more_than_the_bound_is_seen_whatever_bits_are_dealt(
    layout: Layout, beacon: bytes, place: int
) -> None:
    """Honest bits of −1 are those of a number that is too large; any others do not make the bound."""
    update = [0] * SIZE
    update[place], update[(place + 1) % SIZE] = BOUND, -1
    columns = columns_of(layout)
    challenge = Challenge.drawn(columns, beacon)
    assert played(columns, update, challenge)[0] == LONGER
    for left in (0, 1, 2**17 - 1):
        bits = shared(layout, packed_up(layout, [left >> bit & 1 for bit in range(17)]))
        assert played(columns, update, challenge, slack=bits)[0] == LONGER


@EACH
def test_an_update_a_thousand_times_as_long_is_seen(layout: Layout) -> None:
    columns = columns_of(layout)
    update = [1000 * number for number in (70, -70, 30, 0, 9, 1, -2, 11, 0, 70, 70)]
    for seed in range(5):
        assert played(columns, update, challenge_of(columns, seed), seed=seed)[0] == LONGER


@EACH
@settings(max_examples=8)
@given(beacon=BEACON, seed=st.integers(0, 2**20))
def test_numbers_that_are_small_beside_the_masks_pass_projections_and_not_the_sum(
    layout: Layout, beacon: bytes, seed: int
) -> None:
    update = [int(one) for one in np.random.default_rng(seed).integers(-10_000, 10_000, SIZE)]
    columns = columns_of(layout)
    assert sum(one * one for one in update) > BOUND**2
    assert played(columns, update, Challenge.drawn(columns, beacon), seed=seed)[0] == LONGER


WRAPPED = {
    "a root of 5": [ROOT],
    "its negative": [PRIME - ROOT, 3],
    "many roots": [ROOT] * 9,
    "a root and its negative": [ROOT, PRIME - ROOT],
    "roots in one slot each": [ROOT * one % PRIME for one in range(1, 7)],
    "the last number": [0] * 10 + [ROOT],
}


@EACH
@pytest.mark.parametrize("update", WRAPPED.values(), ids=list(WRAPPED))
def test_numbers_whose_squares_are_small_modulo_the_prime_alone_are_seen(layout: Layout, update: list[int]) -> None:
    """The sum is right and so are the bits: projections alone show it, though the dealer refuses the worst."""
    columns = columns_of(layout)
    update = [*update, *[0] * (SIZE - len(update))]
    bits = long_in_bits(columns, update)
    for seed in range(4):
        found, wanted = played(columns, update, challenge_of(columns, seed), slack=bits, seed=seed)
        assert found == LARGE_PROJECTION
        assert wanted > 10


def test_a_number_behind_the_last_is_seen_like_any_other() -> None:
    """Of three secrets on a polynomial the twelfth is a filler, which no sum shows."""
    layout = ALL["three secrets"]
    columns = columns_of(layout)
    for update, expected in (([*[0] * 11, BOUND], ""), ([*[0] * 11, BOUND + 1], LONGER)):
        assert played(columns, update, challenge_of(columns))[0] == expected
    update = [*[0] * 11, ROOT]
    assert played(columns, update, challenge_of(columns), slack=long_in_bits(columns, update))[0] == LARGE_PROJECTION


@pytest.mark.parametrize(
    ("number", "mask"),
    [(ROOT, 0), (ROOT, -ROOT), (HALF, 0), (HALF, HALF), (HALF + 3, HALF - 3), (PRIME // 2, PRIME // 2), (10**9, 0)],
    ids=["root", "root and back", "half", "half and half", "near half", "half less", "three times two masks"],
)
def test_whatever_mask_is_dealt_half_of_the_projections_of_a_large_number_at_least_must_be_refused(
    number: int, mask: int
) -> None:
    """Masks of any size, and twice the number small modulo the prime: within five standard deviations of a half."""
    found = Ball(BOUND, ball_of(ALL["one secret"]).mask, 4000, 0)
    columns = columns_of(ALL["one secret"], 1, Terms(found))
    numbers = projected(columns, challenge_of(columns), packed_up(ALL["one secret"], [number]))
    passing = [abs(signed((y + mask) % PRIME)) <= found.mask - found.tail for (y,) in numbers]
    assert sum(passing) / 4000 < 0.5 + 5 * math.sqrt(0.25 / 4000)


@EACH
@pytest.mark.parametrize("wrong", [2, PRIME - 1, HALF, ROOT])
def test_slack_that_adds_up_and_is_not_in_bits_is_seen(layout: Layout, wrong: int) -> None:
    """A number in place of the lowest bit makes up for any length."""
    update = [0] * SIZE
    update[3] = 300
    columns = columns_of(layout)
    found = columns.terms.ball
    assert found is not None
    left = (BOUND**2 - 300**2 - wrong) % PRIME
    numbers = [wrong, *[0] * 15, left * pow(2**16, -1, PRIME) % PRIME]
    assert sum(one * 2**bit for bit, one in enumerate(numbers)) % PRIME == (BOUND**2 - 300**2) % PRIME
    assert played(columns, update, challenge_of(columns), slack=shared(layout, packed_up(layout, numbers)))[0] == BITS


@EACH
@pytest.mark.parametrize("place", [0, 9, 16])
def test_each_place_of_the_slack_must_hold_a_bit(layout: Layout, place: int) -> None:
    columns = columns_of(layout)
    numbers = [0] * 17
    numbers[place] = 2
    slack = shared(layout, packed_up(layout, numbers))
    assert played(columns, [0] * SIZE, challenge_of(columns), slack=slack)[0] == BITS


@EACH
@pytest.mark.parametrize("off", [1, -1, 2, 2**40, -(2**60)])
@pytest.mark.parametrize("bits", ["of its own score", "of the score that it says"])
def test_another_score_than_the_inner_product_is_seen(layout: Layout, off: int, bits: str) -> None:
    """Whether the squares and the slack make the one or the other."""
    columns = with_all(layout)
    update = [2, -1, 3, 60, 5, -6, -30, 0, 1, 0, 40]
    left = inner(update) - sum(one * one for one in update) + (0 if bits == "of its own score" else off)
    slack = shared(layout, packed_up(layout, [left % 2**17 >> bit & 1 for bit in range(17)]))
    found, _ = played(columns, update, challenge_of(columns), score=inner(update) + off, slack=slack)
    assert found == UNTRUE


@EACH
@pytest.mark.parametrize(
    "more", [[0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 300], [-10, 6, 0, -240, -14, -14, 120, -2, 0, -4, -180]]
)
def test_an_update_that_is_longer_than_its_score_allows_is_seen(layout: Layout, more: list[int]) -> None:
    """The reference itself meets the limit; one more beside it, or along it, is too much; so is the other way."""
    columns = with_all(layout)
    update = [one + other for one, other in zip(REFERENCE, [*more, *[0] * (SIZE - len(more))], strict=True)]
    assert sum(one * one for one in update) > inner(update)
    for seed in range(3):
        found, _ = played(columns, update, challenge_of(columns, seed), seed=seed, score=inner(update))
        assert found == UNTRUE


@EACH
@pytest.mark.parametrize("which", ["sum", "the first peer's distance", "the last peer's distance", "its own"])
def test_masks_whose_secrets_do_not_add_up_to_zero_are_seen(layout: Layout, which: str) -> None:
    columns = with_distances(layout)
    _, small, _ = dealt(columns, packed_up(layout, [0] * SIZE))
    at = columns.distance_masks
    place = {"sum": columns.sum_masks.start, "the last peer's distance": at.stop - 1}.get(which, at.start)
    small[:, place] = LARGE.add(small[:, place], shared(layout, packed_up(layout, [1]), layout.product_degree)[:, 0])
    assert played(columns, [0] * SIZE, challenge_of(columns), small=small)[0] == LONGER


@EACH
def test_a_mask_that_makes_up_for_a_longer_update_under_one_challenge_does_not_under_others(layout: Layout) -> None:
    """It is fixed before the coefficients are drawn."""
    columns = columns_of(layout)
    update = [BOUND, 1, *[0] * 9]
    secrets = packed_up(layout, update)
    _, small, _ = dealt(columns, secrets)
    small[:, columns.slack] = 0
    told = challenge_of(columns, 0).sums
    assert told is not None
    for time in range(layout.repetitions):
        here = columns.sum_masks.start + time
        short = PRIME - int(told[time, 0])  # for one unit too much
        made_up = shared(layout, packed_up(layout, [short]), layout.product_degree)[:, 0]
        small[:, here] = LARGE.add(small[:, here], made_up)
    for seed in range(6):
        found, _ = played(columns, update, challenge_of(columns, seed), small=small)
        assert found == ("" if seed == 0 else LONGER)


# What the checks show


@EACH
def test_what_is_opened_beside_projections_is_what_it_must_be_and_else_random(layout: Layout) -> None:
    """Zeros vanish at the slots; secrets of sums add up to what all know; with other masks, all else is different."""
    columns = columns_of(layout)
    challenge, update = challenge_of(columns), [20, -30, *[5] * 9]
    expected = expected_sum(columns, challenge, 0).tolist()
    values: list[NDArray[np.uint64]] = []
    for seed in range(2):
        shares, small, _ = dealt(columns, packed_up(layout, update), seed=seed)
        told = opened(columns, challenge, shares, small)
        for column in told[:, columns.opened_zeros].T:
            assert not any(at_slots(layout, column, layout.product_degree))
        for column, one in zip(told[:, columns.opened_sums].T, expected, strict=True):
            assert sum(at_slots(layout, column, layout.product_degree)) % PRIME == one
        values.append(told)
    assert (values[0] != values[1]).all()


@EACH
@pytest.mark.parametrize("members", ["first", "last"])
def test_a_coalition_sees_of_one_update_what_it_could_have_seen_of_any_other_in_the_ball(
    layout: Layout, members: str
) -> None:
    """Its shares and all that is opened: to each update there are masks and bits that make it that one's.

    The other update's masks are computed as what is opened less what its own polynomials give; they must be of the
    degree, with secrets in ±M, that add up to zero, or that vanish, and unchanged where the coalition looks.
    """
    columns, times = columns_of(layout), layout.repetitions
    coalition = (
        range(layout.coalition) if members == "first" else range(layout.members - layout.coalition, layout.members)
    )
    challenge, found = challenge_of(columns), columns.terms.ball
    assert found is not None
    shares, small, deal = dealt(columns, packed_up(layout, [30, -200, *[4] * 9]))
    closed = refused(columns, challenge, packed_up(layout, [30, -200, *[4] * 9]), deal.masks)
    told = opened(columns, challenge, shares, small, closed)
    other = [-100, 5, 5, 100, *[0] * 7]
    secrets, left = packed_up(layout, other), BOUND**2 - sum(one * one for one in other)
    bits = packed_up(layout, [left >> bit & 1 for bit in range(17)])

    def continued(known: Elements, seen: Elements) -> Elements:
        """Return members' shares of polynomials of degree D with these secrets and the coalition's shares."""
        points = [*(-1 - slot for slot in range(layout.packing)), *(place + 1 for place in coalition)]
        rows = [
            [value(dict(zip(points, [*column, *shown], strict=True)), place + 1) for place in range(layout.members)]
            for column, shown in zip(known.T.tolist(), seen.T.tolist(), strict=True)
        ]
        return np.array(rows, np.uint64).T

    update = continued(secrets, shares[list(coalition)])
    bare = small.copy()
    bare[:, columns.slack] = continued(bits, small[list(coalition), columns.slack])
    kinds = (columns.degree_masks, columns.zero_masks, columns.sum_masks, columns.projection_masks)
    for kind in kinds:
        bare[:, kind] = 0
    needed = LARGE.subtract(told, opened(columns, challenge, update, bare))
    order = [range(times), *(range(here.start, here.stop) for here in (columns.opened_zeros, columns.opened_sums))]
    masks = [needed[:, list(one)] for one in order]
    for kind, mask in zip(kinds[:3], masks, strict=True):
        assert (mask[list(coalition)] == small[list(coalition), kind]).all()
    assert all(at_slots(layout, column, layout.degree) for column in masks[0].T)
    assert not any(any(at_slots(layout, column, layout.product_degree)) for column in masks[1].T)
    assert not any(sum(at_slots(layout, column, layout.product_degree)) % PRIME for column in masks[2].T)
    for number in np.flatnonzero(~closed):
        column = needed[:, columns.opened_projections.start + number]
        assert all(abs(signed(one)) <= found.mask for one in at_slots(layout, column, layout.degree))
        here = columns.projection_masks.start + number
        assert (column[list(coalition)] == small[list(coalition), here]).all()
