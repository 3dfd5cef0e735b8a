import contextlib
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peers.secure.decoding import Decoded, UndecodableError, consistent, decode
from peers.secure.field import LARGE, SMALL, Field

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


def nearest(points: Sequence[int], values: Sequence[int], degree: int, prime: int) -> tuple[int, ...]:
    """Return the places off a polynomial that is off the fewest: each that some of the values determine is tried."""
    best = tuple(range(len(points)))
    for chosen in itertools.combinations(range(len(points)), degree + 1):
        known, told = [points[at] for at in chosen], [values[at] for at in chosen]
        off = tuple(at for at, point in enumerate(points) if through(known, told, point, prime) != values[at] % prime)
        best = min(best, off, key=len)
    return best


@st.composite
def words(draw: st.DrawFn, *, beyond: bool = False) -> tuple[Field, list[int], list[int], list[int], tuple[int, ...]]:
    """Return a field, points, a polynomial, its values of which some are changed, and the places of those.

    As many are changed as can be corrected, or fewer; ``beyond``: or more.
    """
    field = draw(EACH)
    prime = field.modulus
    point = st.integers(1, 40) | st.integers(0, prime - 1)
    points = draw(st.lists(point, min_size=1, max_size=12, unique=True))
    degree = draw(st.integers(0, len(points) - 1))
    element = st.integers(0, 2) | st.integers(0, prime - 1)
    coefficients = draw(st.lists(element, min_size=degree + 1, max_size=degree + 1))
    most = len(points) if beyond else (len(points) - degree - 1) // 2
    wrong = sorted(draw(st.permutations(range(len(points))))[: draw(st.integers(0, most))])
    values = [value(coefficients, here, prime) for here in points]
    for at in wrong:
        values[at] = (values[at] + draw(st.integers(1, 3) | st.integers(1, prime - 1))) % prime
    return field, points, coefficients, values, tuple(wrong)


def agrees(field: Field, found: Decoded, coefficients: Sequence[int]) -> bool:
    """Tell whether a polynomial is another, whose highest coefficients may be zero."""
    padded = [*found.coefficients, *[0] * (len(coefficients) - len(found.coefficients))]
    return padded == list(coefficients)


@settings(max_examples=200)
@given(words())
def test_any_errors_up_to_the_bound_are_corrected_and_found(
    word: tuple[Field, list[int], list[int], list[int], tuple[int, ...]],
) -> None:
    field, points, coefficients, values, wrong = word
    found = decode(field, points, values, len(coefficients) - 1)
    assert agrees(field, found, coefficients)
    assert found.wrong == wrong
    for point in (0, 1, 77, field.modulus - 1):
        assert found.at(field, point) == value(coefficients, point, field.modulus)


@settings(max_examples=200)
@given(words(beyond=True))
def test_whatever_was_changed_no_polynomial_beyond_the_bound_is_returned(
    word: tuple[Field, list[int], list[int], list[int], tuple[int, ...]],
) -> None:
    field, points, coefficients, values, wrong = word
    degree, bound = len(coefficients) - 1, (len(points) - len(coefficients)) // 2
    try:
        found = decode(field, points, values, degree)
    except UndecodableError:
        assert len(wrong) > bound
        return
    off = [at for at, here in enumerate(points) if value(found.coefficients, here, field.modulus) != values[at]]
    assert list(found.wrong) == off
    assert len(off) <= bound
    assert len(found.coefficients) <= degree + 1


@settings(max_examples=60)
@given(EACH, st.integers(0, 3), st.lists(st.integers(0, 2), min_size=4, max_size=8))
def test_a_polynomial_is_found_exactly_where_trying_all_finds_one(field: Field, degree: int, values: list[int]) -> None:
    """Small values, so that many lie on a common polynomial by chance."""
    points = list(range(1, len(values) + 1))
    off = nearest(points, values, degree, field.modulus)
    if 2 * len(off) <= len(points) - degree - 1:
        assert decode(field, points, values, degree).wrong == off
    else:
        with pytest.raises(UndecodableError):
            decode(field, points, values, degree)


@FIELDS
@pytest.mark.parametrize(("members", "degree"), [(7, 2), (8, 2), (9, 4), (16, 5)])
def test_one_error_more_than_the_bound_next_to_another_polynomial_gives_that_one(
    field: Field, members: int, degree: int
) -> None:
    """The bound is sharp: halfway between two polynomials, whichever is nearer is returned, or none."""
    points, prime = list(range(1, members + 1)), field.modulus
    mine = [3] * (degree + 1)
    other = list(mine)  # differs where the polynomial that vanishes at the first D points does not
    vanishing = [1]
    for point in points[:degree]:
        vanishing = [(low * -point + high) % prime for low, high in zip([*vanishing, 0], [0, *vanishing], strict=True)]
    other = [(one + two) % prime for one, two in zip(mine, vanishing, strict=True)]
    apart = members - degree
    for taken in range(apart + 1):
        switch = degree + taken
        values = [value(other if at < switch else mine, point, prime) for at, point in enumerate(points)]
        if 2 * taken <= apart - 1:
            assert agrees(field, decode(field, points, values, degree), mine)
        elif 2 * (apart - taken) <= apart - 1:
            assert agrees(field, decode(field, points, values, degree), other)
        else:
            with pytest.raises(UndecodableError):
                decode(field, points, values, degree)


@FIELDS
@pytest.mark.parametrize("coefficients", [[0, 0, 0], [5, 0, 0], [0, 0, 1], [7, 0, 2]])
def test_no_errors_are_none_though_high_coefficients_are_zero(field: Field, coefficients: list[int]) -> None:
    points = [1, 2, 3, 4, 5, 6]
    found = decode(field, points, [value(coefficients, point, field.modulus) for point in points], 2)
    assert agrees(field, found, coefficients)
    assert found.wrong == ()


@FIELDS
@pytest.mark.parametrize("silent", range(8))
def test_a_missing_value_costs_half_of_a_wrong_one(field: Field, silent: int) -> None:
    """2 e + s ≤ n − D − 1, and no further."""
    members, coefficients = 10, [4, 1, 9]
    points = [point for point in range(1, members + 1) if point > silent]
    right = [value(coefficients, point, field.modulus) for point in points]
    errors = (members - 3 - silent) // 2
    values = [told + (at < errors) for at, told in enumerate(right)]
    found = decode(field, points, values, 2)
    assert agrees(field, found, coefficients)
    assert found.wrong == tuple(range(errors))
    values = [told + (at <= errors) * (at + 1) ** 3 for at, told in enumerate(right)]  # on no other polynomial
    with contextlib.suppress(UndecodableError):
        assert not agrees(field, decode(field, points, values, 2), coefficients)


@FIELDS
@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_values_determine_nothing(field: Field, count: int) -> None:
    with pytest.raises(UndecodableError, match=f"{count} values do not determine a polynomial of degree 3"):
        decode(field, range(1, count + 1), [1] * count, 3)


@FIELDS
def test_as_many_values_as_the_degree_needs_are_taken_as_they_are(field: Field) -> None:
    found = decode(field, [1, 2, 3], [5, 1, 8], 2)
    assert [found.at(field, point) for point in (1, 2, 3)] == [5, 1, 8]
    assert found.wrong == ()


def test_what_cannot_be_decoded_is_told_with_its_sizes() -> None:
    with pytest.raises(UndecodableError, match="no polynomial of degree 1 is within 1 of 4 values"):
        decode(SMALL, [1, 2, 3, 4], [0, 0, 1, 1], 1)


@FIELDS
def test_a_point_given_twice_is_refused(field: Field) -> None:
    with pytest.raises(ValueError):
        decode(field, [1, 2, 1], [5, 5, 5], 0)


@FIELDS
def test_a_hundred_members_of_whom_thirty_five_lie_are_decoded(field: Field) -> None:
    generator = np.random.default_rng(0)
    coefficients = generator.integers(0, field.modulus, 30).tolist()
    points = list(range(1, 101))
    values = [value(coefficients, point, field.modulus) for point in points]
    wrong = sorted(generator.choice(100, 35, replace=False).tolist())
    for at in wrong:
        values[at] = int(generator.integers(0, field.modulus))
    found = decode(field, points, values, 29)
    assert agrees(field, found, coefficients)
    assert list(found.wrong) == wrong


@settings(max_examples=60)
@given(words(beyond=True), st.integers(0, 3))
def test_consistent_says_of_each_column_whether_decoding_finds_no_error(
    word: tuple[Field, list[int], list[int], list[int], tuple[int, ...]], column: int
) -> None:
    field, points, coefficients, values, _ = word
    degree = len(coefficients) - 1
    assume(len(points) > degree + 1)  # else a test of its own
    columns = [[value(coefficients, point, field.modulus) for point in points] for _ in range(4)]
    columns[column] = values
    told = consistent(field, points, np.array(columns, field.dtype).T, degree)
    assert told.dtype == np.bool
    assert told.tolist() == [at != column or not nearest_errors(field, points, values, degree) for at in range(4)]


def nearest_errors(field: Field, points: Sequence[int], values: Sequence[int], degree: int) -> bool:
    """Tell whether decoding finds errors, or more than can be corrected."""
    try:
        return bool(decode(field, points, values, degree).wrong)
    except UndecodableError:
        return True


@FIELDS
@pytest.mark.parametrize("place", range(6))
def test_one_value_off_anywhere_is_inconsistent(field: Field, place: int) -> None:
    values = np.array([[value([1, 2, 3], point, field.modulus)] * 3 for point in range(1, 7)], field.dtype)
    values[place, 1] += 1
    assert consistent(field, range(1, 7), values, 2).tolist() == [True, False, True]


@FIELDS
def test_as_many_values_as_the_degree_needs_are_consistent(field: Field) -> None:
    values = np.array([[5, 0], [1, 0], [8, 1]], field.dtype)
    assert consistent(field, [1, 2, 3], values, 2).tolist() == [True, True]


@FIELDS
def test_no_columns_are_consistent(field: Field) -> None:
    assert consistent(field, [1, 2, 3, 4], field.zeros(4, 0), 2).tolist() == []


def test_a_word_decoded_by_hand() -> None:
    """1 + 2 x at 1 … 5 is 3, 5, 7, 9, 11; the third is changed."""
    assert decode(LARGE, [1, 2, 3, 4, 5], [3, 5, 70, 9, 11], 1) == Decoded((1, 2), (2,))
