import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.columns import Columns
from peers.secure.decoding import consistent
from peers.secure.field import LARGE, SMALL, Elements, Field
from peers.secure.layout import packed
from peers.secure.sharing import interpolation, member_points, pack, reconstruct, share, slots, unpack

FIELDS = pytest.mark.parametrize("field", [SMALL, LARGE], ids=["small", "large"])
EACH = st.sampled_from([SMALL, LARGE])


def value(coefficients: Sequence[int], point: int, prime: int) -> int:
    """Return a polynomial's value by its definition; the constant comes first."""
    whole: int = sum(coefficient * point**power for power, coefficient in enumerate(coefficients))
    return whole % prime


def through(points: Sequence[int], values: Sequence[int], at: int, prime: int) -> int:
    """Return the value at a point of the least polynomial through others: Lagrange's sum of fractions."""
    total = 0
    for here, told in zip(points, values, strict=True):
        above = below = 1
        for other in points:
            if other != here:
                above, below = above * (at - other) % prime, below * (here - other) % prime
        total += told * above * pow(below, -1, prime)
    return total % prime


def determinant(matrix: list[list[int]], prime: int) -> int:
    """Return a determinant modulo a prime, by elimination."""
    rest, result = [list(row) for row in matrix], 1
    for column in range(len(rest)):
        pivot = next((row for row in range(column, len(rest)) if rest[row][column]), None)
        if pivot is None:
            return 0
        if pivot != column:
            rest[column], rest[pivot], result = rest[pivot], rest[column], -result
        result = result * rest[column][column] % prime
        inverse = pow(rest[column][column], -1, prime)
        for row in range(column + 1, len(rest)):
            factor = rest[row][column] * inverse
            rest[row] = [(one - factor * other) % prime for one, other in zip(rest[row], rest[column], strict=True)]
    return result % prime


def random(field: Field, *shape: int, seed: int = 0) -> Elements:
    """Return uniform elements."""
    return np.random.default_rng(seed).integers(0, field.modulus, shape, field.dtype.type)


@st.composite
def settings_of_a_deal(draw: st.DrawFn) -> tuple[Field, int, int, int, list[int], int]:
    """Return a field, members, k, t, the t seeded members and a seed."""
    members = draw(st.integers(2, 12))
    coalition = draw(st.integers(1, members - 1))
    packing = draw(st.integers(1, 5))
    seeded = draw(st.permutations(range(members)))[:coalition]
    return draw(EACH), members, packing, coalition, seeded, draw(st.integers(0, 1 << 32))


@FIELDS
def test_slots_and_members_stand_at_different_points(field: Field) -> None:
    assert slots(field, 3) == (field.modulus - 1, field.modulus - 2, field.modulus - 3)
    assert member_points(4) == (1, 2, 3, 4)
    assert not set(slots(field, 100)) & set(member_points(1000))


@settings(max_examples=60)
@given(EACH, st.data())
def test_interpolation_agrees_with_evaluating_the_polynomial(field: Field, data: st.DataObject) -> None:
    prime = field.modulus
    point = st.integers(1, 30) | st.integers(prime - 30, prime - 1) | st.integers(0, prime - 1)
    known = data.draw(st.lists(point, min_size=1, max_size=8, unique=True))
    wanted = data.draw(st.lists(point | st.sampled_from(known), max_size=5))
    coefficients = data.draw(st.lists(st.integers(0, prime - 1), min_size=1, max_size=len(known)))
    matrix = interpolation(field, tuple(known), tuple(wanted))
    assert matrix.shape == (len(wanted), len(known))
    assert matrix.dtype == field.dtype
    values = [value(coefficients, here, prime) for here in known]
    found = [sum(int(one) * told for one, told in zip(row, values, strict=True)) % prime for row in matrix]
    assert found == [value(coefficients, there, prime) for there in wanted]


@FIELDS
def test_interpolation_at_a_known_point_takes_its_value(field: Field) -> None:
    assert interpolation(field, (1, 5, 9), (9, 1)).tolist() == [[0, 0, 1], [1, 0, 0]]


@FIELDS
def test_interpolation_from_a_point_given_twice_is_refused(field: Field) -> None:
    with pytest.raises(ValueError, match="a polynomial has one value at a point"):
        interpolation(field, (1, 2, 1), (3,))


@FIELDS
def test_an_interpolation_that_is_kept_cannot_be_changed(field: Field) -> None:
    with pytest.raises(ValueError, match="read-only"):
        interpolation(field, (1, 2), (3,))[0, 0] = 0


@given(EACH, st.integers(0, 30), st.integers(1, 7), st.integers(0, 9))
def test_what_is_packed_is_unpacked(field: Field, size: int, packing: int, filler: int) -> None:
    vector = random(field, size)
    secrets = pack(field, vector, packing, filler)
    columns = -(-size // packing)
    assert secrets.shape == (packing, columns)
    assert secrets.dtype == field.dtype
    assert unpack(secrets, size).tolist() == vector.tolist()
    assert unpack(secrets, columns * packing).tolist() == vector.tolist() + [filler] * (columns * packing - size)


def test_a_vector_is_packed_column_by_column() -> None:
    assert pack(SMALL, np.arange(1, 6, dtype=np.uint32), 2, filler=9).tolist() == [[1, 3, 5], [2, 4, 9]]


@settings(max_examples=50)
@given(settings_of_a_deal())
def test_shares_are_the_values_of_the_polynomial_through_secrets_and_randomness(
    deal: tuple[Field, int, int, int, list[int], int],
) -> None:
    field, members, packing, coalition, seeded, seed = deal
    secrets, noise = random(field, packing, 3, seed=seed), random(field, coalition, 3, seed=seed + 1)
    shares = share(field, secrets, noise, members, seeded)
    assert shares.shape == (members, 3)
    assert shares.dtype == field.dtype
    known = [*(-place % field.modulus for place in range(1, packing + 1)), *(member + 1 for member in seeded)]
    for column in range(3):
        values = [int(one) for one in (*secrets[:, column], *noise[:, column])]
        expected = [through(known, values, point, field.modulus) for point in range(1, members + 1)]
        assert shares[:, column].tolist() == expected


@FIELDS
def test_all_members_may_be_seeded(field: Field) -> None:
    noise = random(field, 3, 4)
    assert share(field, random(field, 2, 4), noise, 3, (2, 0, 1)).tolist() == noise[[1, 2, 0]].tolist()


@settings(max_examples=50)
@given(settings_of_a_deal())
def test_the_seeded_members_hold_exactly_the_random_rows(deal: tuple[Field, int, int, int, list[int], int]) -> None:
    field, members, packing, coalition, seeded, seed = deal
    noise = random(field, coalition, 3, seed=seed)
    shares = share(field, random(field, packing, 3), noise, members, seeded)
    assert shares[seeded].tolist() == noise.tolist()


@FIELDS
def test_a_member_cannot_be_seeded_twice(field: Field) -> None:
    with pytest.raises(ValueError, match="one value at a point"):
        share(field, random(field, 2, 1), random(field, 2, 1), 5, (3, 3))


@FIELDS
@pytest.mark.parametrize(("members", "packing", "coalition"), [(7, 2, 3), (6, 1, 2), (8, 4, 1), (5, 3, 3)])
def test_any_degree_plus_one_shares_tell_the_secrets(field: Field, members: int, packing: int, coalition: int) -> None:
    secrets, noise = random(field, packing, 4), random(field, coalition, 4, seed=1)
    shares = share(field, secrets, noise, members, range(coalition))
    for holders in itertools.combinations(range(members), coalition + packing):
        assert np.array_equal(reconstruct(field, shares[list(holders)], holders, packing), secrets), holders


@FIELDS
def test_shares_in_any_order_tell_the_secrets(field: Field) -> None:
    secrets = random(field, 2, 3)
    shares = share(field, secrets, random(field, 2, 3, seed=1), 6, (1, 4))
    holders = [5, 0, 3, 1]
    assert np.array_equal(reconstruct(field, shares[holders], holders, 2), secrets)


@FIELDS
@pytest.mark.parametrize(("members", "packing", "coalition"), [(7, 2, 3), (6, 3, 2), (8, 4, 1), (9, 1, 4)])
def test_any_t_shares_are_a_bijection_of_the_randomness_so_they_tell_nothing(
    field: Field, members: int, packing: int, coalition: int
) -> None:
    """Whatever the secrets are, each t shares come from exactly one randomness: uniform shares from a uniform one."""
    nothing = field.zeros(packing, coalition)
    for seeded in (tuple(range(coalition)), tuple(range(members - coalition, members))):
        matrix = share(field, nothing, np.eye(coalition, dtype=field.dtype), members, seeded).tolist()
        for holders in itertools.combinations(range(members), coalition):
            assert determinant([matrix[member] for member in holders], field.modulus), (seeded, holders)


@settings(max_examples=15)
@given(st.integers(0, 1 << 32), EACH)
def test_any_t_shares_are_a_bijection_of_the_randomness_at_full_size(seed: int, field: Field) -> None:
    layout = packed(100, faults=20, coalition=20, field=field)
    generator = np.random.default_rng(seed)
    seeded = Columns(layout, 1).seeded(int(generator.integers(100)))
    holders = generator.choice(100, layout.coalition, replace=False)
    nothing, unit = field.zeros(layout.packing, layout.coalition), np.eye(layout.coalition, dtype=field.dtype)
    matrix = share(field, nothing, unit, layout.members, seeded)[holders].tolist()
    assert determinant(matrix, field.modulus)


@FIELDS
def test_one_share_more_than_t_tells_something(field: Field) -> None:
    """So t is the bound: t + 1 shares come from exactly one pair of first secret and randomness."""
    unit = np.eye(4, dtype=field.dtype)
    secrets = np.concatenate([unit[:1], field.zeros(1, 4)])
    matrix = share(field, secrets, unit[1:], 7, (0, 1, 2)).tolist()
    for holders in itertools.combinations(range(7), 4):
        assert determinant([matrix[member] for member in holders], field.modulus), holders


@FIELDS
def test_as_many_shares_as_the_degree_fit_other_secrets_too(field: Field) -> None:
    prime, members, packing, coalition = field.modulus, 7, 2, 3
    secrets = random(field, packing, 1)
    shares = share(field, secrets, random(field, coalition, 1, seed=1), members, (0, 1, 2))
    for holders in itertools.combinations(range(members), coalition + packing - 1):
        change = []  # a polynomial of the degree that vanishes where the holders stand
        for point in (-1, -2, *range(1, members + 1)):
            whole = 1
            for holder in holders:
                whole = whole * (point - holder - 1) % prime
            change.append([whole])
        other = field.add(shares, np.array(change[packing:], field.dtype))
        assert np.array_equal(other[list(holders)], shares[list(holders)])
        found = reconstruct(field, other[: coalition + packing], range(coalition + packing), packing)
        assert np.array_equal(found, field.add(secrets, np.array(change[:packing], field.dtype)))
        assert not np.any(found == secrets)


@FIELDS
def test_a_sum_of_shares_is_shares_of_the_sum(field: Field) -> None:
    one, other, weight = random(field, 3, 5), random(field, 3, 5, seed=1), random(field, 1, 1, seed=2)
    mine = share(field, one, random(field, 2, 5, seed=3), 9, (0, 1))
    yours = share(field, other, random(field, 2, 5, seed=4), 9, (5, 7))  # dealers seed different members
    both = field.add(mine, field.multiply(weight, yours))
    expected = field.add(one, field.multiply(weight, other))
    for holders in [(0, 1, 2, 3, 4), (8, 5, 2, 1, 7)]:
        assert np.array_equal(reconstruct(field, both[list(holders)], holders, 3), expected)


@FIELDS
def test_a_product_of_shares_is_shares_of_the_product_at_twice_the_degree(field: Field) -> None:
    one, other = random(field, 2, 4), random(field, 2, 4, seed=1)
    mine = share(field, one, random(field, 2, 4, seed=2), 9, (0, 1))
    yours = share(field, other, random(field, 2, 4, seed=3), 9, (2, 3))
    both, degree = field.multiply(mine, yours), 2 * (2 + 2 - 1)
    assert consistent(field, member_points(9), both, degree).all()
    assert not consistent(field, member_points(9), both, degree - 1).any()
    holders = range(1, degree + 2)
    assert np.array_equal(reconstruct(field, both[list(holders)], holders, 2), field.multiply(one, other))


@FIELDS
def test_a_deal_without_columns_is_shares_without_columns(field: Field) -> None:
    assert share(field, field.zeros(2, 0), field.zeros(3, 0), 6, (0, 1, 2)).shape == (6, 0)


def test_two_shares_of_the_smallest_deal_by_hand() -> None:
    """The line through (−1, 5) and (1, 9) is 7 + 2 x."""
    shares = share(SMALL, np.array([[5]], np.uint32), np.array([[9]], np.uint32), 3, (0,))
    assert shares.tolist() == [[9], [11], [13]]
