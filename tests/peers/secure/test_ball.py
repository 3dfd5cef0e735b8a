"""The sizes of a ball's proof, recomputed in whole numbers; and by counting, what its docstring says of projections."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import UserError
from peers.secure.ball import Ball, ball, bound_for
from peers.secure.field import LARGE, SMALL
from peers.secure.layout import Layout, committee, packed

PRIME = LARGE.modulus
LAYOUTS = {
    "least": packed(5, faults=1, coalition=1, field=LARGE),
    "three secrets": packed(12, faults=1, coalition=2, field=LARGE),
    "hundred": packed(100, faults=20, coalition=20, field=LARGE),
    "many secrets": packed(40, faults=1, coalition=1, field=LARGE),
    "committee": committee(10, 5, faults=1, coalition=1, field=LARGE),
}
EACH = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))


def refusal_chance(found: Ball, packing: int) -> Fraction:
    """Return the chance that an honest dealer refuses a projection: of 2 M + 1 masks, those that leave ±(M − Y)."""
    return 1 - Fraction(2 * (found.mask - found.tail) + 1, 2 * found.mask + 1) ** packing


def more_than(count: int, projections: int, chance: Fraction) -> Fraction:
    """Return the chance that more than so many of the projections are refused: exact."""
    whole = chance.limit_denominator(10**30) + Fraction(1, 10**30)  # not less, and short enough to be raised to a power
    return 1 - sum(
        (math.comb(projections, one) * whole**one * (1 - whole) ** (projections - one) for one in range(count + 1)),
        Fraction(0),
    )


def longer_passes(projections: int, refusals: int) -> Fraction:
    """Return the chance that of fair coins no more than so many fall on the wrong side."""
    return Fraction(sum(math.comb(projections, one) for one in range(refusals + 1)), 2**projections)


@EACH
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_the_mask_is_the_largest_that_leaves_room_for_all_squares_below_the_prime(layout: Layout, size: int) -> None:
    bound = bound_for(size)
    found = ball(layout, size, bound)
    left = [81 * layout.packing * mask**2 + 2 * bound**2 for mask in (found.mask, found.mask + 1)]
    assert left[0] < PRIME <= left[1]
    assert (found.bound, found.tail, found.bits) == (bound, 6 * bound, len(bin(bound**2)) - 2)


@EACH
@pytest.mark.parametrize("size", [50, 10_000])
def test_an_honest_update_fails_and_a_longer_one_passes_with_less_than_two_to_the_minus_forty(
    layout: Layout, size: int
) -> None:
    found = ball(layout, size, bound_for(size))
    small = Fraction(1, 2**40 * layout.peers)
    assert more_than(found.refusals, found.projections, refusal_chance(found, layout.packing)) < small
    assert longer_passes(found.projections, found.refusals) <= small / 2**layout.faults


@EACH
@pytest.mark.parametrize("size", [50, 10_000])
def test_fewer_projections_or_refusals_would_not_do(layout: Layout, size: int) -> None:
    found = ball(layout, size, bound_for(size))
    chance = refusal_chance(found, layout.packing)
    dealers = 2 ** layout.peers.bit_length()
    assert more_than(found.refusals - 1, found.projections, chance) > Fraction(1, 2**40 * dealers)
    fewer = found.projections - 1
    least = next(one for one in range(fewer) if more_than(one, fewer, chance) <= Fraction(1, 2**40 * dealers))
    assert longer_passes(fewer, least) > Fraction(1, 2 ** (40 + layout.faults) * dealers)


@pytest.mark.parametrize("security", [10, 20, 60])
def test_another_security_is_kept_to(security: int) -> None:
    layout = LAYOUTS["three secrets"]
    found = ball(layout, 50, bound_for(50), security)
    small = Fraction(1, 2**security * layout.peers)
    assert more_than(found.refusals, found.projections, refusal_chance(found, 3)) < small
    assert longer_passes(found.projections, found.refusals) <= small / 2


@settings(max_examples=60, deadline=None)
@given(peers=st.integers(3, 120), faults=st.integers(0, 29), coalition=st.integers(1, 29), size=st.integers(1, 10**8))
def test_whatever_is_not_refused_has_all_that_the_proof_needs(
    peers: int, faults: int, coalition: int, size: int
) -> None:
    assume(coalition >= faults and peers >= 2 * faults + 2 * coalition + 1)
    layout = packed(peers, faults=faults, coalition=coalition, field=LARGE)
    bound = bound_for(size)
    try:
        found = ball(layout, size, bound)
    except UserError:
        return
    columns = -(-size // layout.packing)
    assert 2 * (columns * 2 * found.mask) + 2 * found.mask < PRIME  # a sum of small numbers meets one interval only
    assert 81 * layout.packing * found.mask**2 < PRIME - bound**2  # no squared norm is a negative B² − slack
    assert found.bits < 61
    assert 2**found.bits - 1 - bound**2 < bound**2
    assert 0 < found.tail < found.mask
    assert 4 * bound**2 < PRIME  # a squared distance of two
    assert 2 * peers * bound**3 <= PRIME  # a sum of updates, each times its inner product with another
    assert found.refusals < found.projections / 2
    assert found.refusal_bytes == math.ceil(found.projections / 8)


@given(size=st.integers(1, 10**9))
def test_rounding_is_at_most_one_part_in_32_of_the_bound(size: int) -> None:
    assert 16**2 * size <= bound_for(size) ** 2
    assert bound_for(size) == 256 or (bound_for(size) - 16) ** 2 < 16**2 * size


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (packed(5, faults=1, coalition=1, field=SMALL), 50),
        (LAYOUTS["hundred"], 10**8),
        (LAYOUTS["many secrets"], 10**8),
    ],
    ids=["small field", "many numbers", "many secrets"],
)
def test_what_cannot_be_proven_is_refused_with_a_remedy(layout: Layout, size: int) -> None:
    with pytest.raises(
        UserError, match=r"^secure\.rule: updates of \d+ numbers .* take rule = 'rsa' or 'box-clipping'"
    ):
        ball(layout, size, bound_for(size))


@pytest.mark.parametrize(
    ("size", "bound"),
    [
        (PRIME // (8 * ball(LAYOUTS["least"], 50, 256).mask), 256),  # so many small numbers might meet two intervals
        (50, math.floor((PRIME / 10) ** (1 / 3))),  # five updates, each times its inner product with another
    ],
    ids=["columns", "sums"],
)
def test_a_size_and_a_bound_are_refused_one_above_the_largest(size: int, bound: int) -> None:
    assert 8 * size * ball(LAYOUTS["least"], size, bound).mask <= PRIME
    assert 10 * bound**3 <= PRIME
    one_more = (size + 1, bound) if bound == 256 else (size, bound + 1)
    with pytest.raises(UserError, match="too long to be proven short"):
        ball(LAYOUTS["least"], *one_more)


def test_a_bound_whose_square_reaches_the_prime_is_refused() -> None:
    with pytest.raises(UserError, match="too long to be proven short"):
        ball(LAYOUTS["least"], 50, 2**31)


# What a projection proves, by counting at small primes


def chances(numbers: Sequence[int], prime: int) -> NDArray[np.float64]:
    """Return the distribution of Σ r x modulo a prime, [prime]."""
    found = np.zeros(prime)
    found[0] = 1
    for number in numbers:
        found = found / 2 + np.roll(found, number % prime) / 4 + np.roll(found, -number % prime) / 4
    return found


def best(distribution: NDArray[np.float64], half: int) -> float:
    """Return the largest chance of an interval of 2 · half + 1 numbers, wherever it lies: of the best mask."""
    around = np.concatenate([distribution, distribution])
    total = np.concatenate([[0.0], np.cumsum(around)])
    width = 2 * half + 1
    return float((total[width : width + len(distribution)] - total[: len(distribution)]).max())


@given(data=st.data(), prime=st.sampled_from([211, 509, 1009]), mask=st.integers(2, 25), rest=st.integers(0, 6))
def test_one_number_larger_than_two_masks_passes_no_more_than_half_of_the_projections(
    data: st.DataObject, prime: int, mask: int, rest: int
) -> None:
    """Whatever the other numbers are: among them such whose double is small modulo the prime."""
    large = data.draw(st.integers(2 * mask + 1, prime - 2 * mask - 1) | st.just(prime // 2))
    others = data.draw(st.lists(st.integers(0, prime - 1), min_size=rest, max_size=rest))
    assert best(chances([large, *others], prime), mask - 1) <= 0.5 + 1e-12


def test_a_number_of_two_masks_and_less_may_pass_more_often() -> None:
    """So that the bound of the case above is the least."""
    assert best(chances([40], 1009), 20) == 0.75


@given(data=st.data(), mask=st.integers(1, 8), count=st.integers(21, 120))
def test_many_numbers_that_are_longer_than_nine_masks_pass_less_than_half(
    data: st.DataObject, mask: int, count: int
) -> None:
    """Each at most two masks; the prime is the least that ``ball`` lets so many columns have."""
    numbers = data.draw(
        st.lists(st.integers(-2 * mask, 2 * mask), min_size=count, max_size=count)
        | st.sampled_from([2 * mask, mask]).map(lambda one: [one] * count)
    )
    assume(sum(number**2 for number in numbers) > 81 * mask**2)
    assert best(chances(numbers, 8 * count * mask + 1), mask) < 0.5


@pytest.mark.parametrize("count", [4, 100, 2000])
def test_a_projection_is_longer_than_six_bounds_with_less_than_twice_e_to_the_minus_36(count: int) -> None:
    """Of so many ones, each times the difference of two bits: twice as many coins, of which more or fewer are heads."""
    least = math.isqrt(36 * count) + 1
    ways = sum(math.comb(2 * count, count + above) for above in range(least, count + 1))
    assert 2 * Fraction(ways, 4**count) < Fraction(2 * math.exp(-36))


@settings(max_examples=20)
@given(numbers=st.lists(st.integers(-9, 9), min_size=1, max_size=40))
def test_the_moments_of_a_projection_are_those_of_a_normal_number_of_half_the_variance_at_most(
    numbers: list[int],
) -> None:
    reach = sum(map(abs, numbers))
    told = np.roll(chances(numbers, 2 * reach + 1), reach)
    square = sum(number**2 for number in numbers)
    for by in (0.05, 0.3, 1.0):
        moment = float((told * np.exp(by * np.arange(-reach, reach + 1))).sum())
        assert moment <= math.exp(by**2 * square / 4) * (1 + 1e-9)
