import re
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure import field as field_module
from peers.secure.field import LARGE, SMALL, Elements, Field

FIELDS = pytest.mark.parametrize("field", [SMALL, LARGE], ids=["small", "large"])


def edges(field: Field) -> list[int]:
    """Return the elements at which limbs, words, signs and the modulus end."""
    prime = field.modulus
    near = {0, prime, prime // 2, *(1 << bit for bit in (15, 16, 30, 31, 32, 47, 48, 60))}
    return sorted({(number + step) % prime for number in near for step in (-2, -1, 0, 1, 2)})


def numbers(field: Field) -> st.SearchStrategy[int]:
    """Return any elements, the edges more often than by chance."""
    return st.sampled_from(edges(field)) | st.integers(0, field.modulus - 1)


def array(field: Field, integers: object) -> Elements:
    """Return elements that nobody can write to, so that an operation that changes its operands fails."""
    made = np.array(integers, field.dtype)
    made.setflags(write=False)
    return made


def random(field: Field, *shape: int, seed: int = 0) -> Elements:
    """Return elements, a third of them from the edges."""
    generator = np.random.default_rng(seed)
    uniform = generator.integers(0, field.modulus, shape, field.dtype.type)
    picked = generator.choice(np.array(edges(field), field.dtype), shape)
    return array(field, np.where(generator.random(shape) < 1 / 3, picked, uniform))


def times(left: Elements, right: Elements, prime: int) -> list[list[int]]:
    """Return the matrix product by Python's integers."""
    exact: list[list[int]] = ((left.astype(object) @ right.astype(object)) % prime).tolist()
    return exact


def are(field: Field, found: Elements, expected: object) -> bool:
    """Tell whether elements are of the field's type, below the modulus, and those expected."""
    return found.dtype == field.dtype and bool(np.all(found < field.modulus)) and found.tolist() == expected


def test_the_moduli_are_the_two_mersenne_primes() -> None:
    assert SMALL.modulus == 2147483647
    assert LARGE.modulus == 2305843009213693951
    assert SMALL.dtype == np.uint32
    assert LARGE.dtype == np.uint64


@pytest.mark.parametrize("bits", [0, 13, 30, 32, 60, 64])
def test_no_other_modulus_is_taken(bits: int) -> None:
    with pytest.raises(ValueError, match=re.escape(f"2^{bits} - 1 is not one of the two primes in use")):
        Field(bits)


@FIELDS
def test_sums_differences_and_products_of_all_edges_are_those_of_integers(field: Field) -> None:
    prime, ends = field.modulus, edges(field)
    left, right = array(field, [[one] for one in ends]), array(field, [ends])
    assert are(field, field.add(left, right), [[(one + other) % prime for other in ends] for one in ends])
    assert are(field, field.subtract(left, right), [[(one - other) % prime for other in ends] for one in ends])
    assert are(field, field.multiply(left, right), [[one * other % prime for other in ends] for one in ends])


@FIELDS
@settings(max_examples=50)
@given(data=st.data())
def test_sums_differences_and_products_are_those_of_integers(field: Field, data: st.DataObject) -> None:
    prime = field.modulus
    pairs = data.draw(st.lists(st.tuples(numbers(field), numbers(field)), min_size=1, max_size=20))
    left, right = (array(field, side) for side in zip(*pairs, strict=True))
    assert are(field, field.add(left, right), [(one + other) % prime for one, other in pairs])
    assert are(field, field.subtract(left, right), [(one - other) % prime for one, other in pairs])
    assert are(field, field.multiply(left, right), [one * other % prime for one, other in pairs])


@FIELDS
def test_a_number_less_itself_is_zero_and_not_the_modulus(field: Field) -> None:
    ends = array(field, edges(field))
    assert not field.subtract(ends, ends).any()
    assert not field.add(ends, field.subtract(field.zeros(ends.size), ends)).any()


@FIELDS
@settings(max_examples=50)
@given(data=st.data())
def test_integers_of_any_sign_become_their_residues(field: Field, data: st.DataObject) -> None:
    integers = data.draw(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=20))
    assert are(field, field.elements(np.array(integers, np.int64)), [one % field.modulus for one in integers])


@FIELDS
def test_the_least_and_the_greatest_integers_become_their_residues(field: Field) -> None:
    prime = field.modulus
    signed = [-(1 << 63), 1 - (1 << 63), -prime - 1, -prime, 1 - prime, -1, 0, 1, prime - 1, prime, (1 << 63) - 1]
    assert are(field, field.elements(np.array(signed, np.int64)), [one % prime for one in signed])
    unsigned = [0, prime, 1 << 63, (1 << 64) - 1]
    assert are(field, field.elements(np.array(unsigned, np.uint64)), [one % prime for one in unsigned])
    assert int(field.elements(-1)) == prime - 1


@pytest.mark.parametrize(
    ("field", "dtype"),
    [
        (SMALL, np.int32),
        (SMALL, np.uint32),
        *(pytest.param(SMALL, short) for short in (np.int8, np.uint8, np.int16)),
        *(pytest.param(LARGE, short) for short in (np.int8, np.int32, np.uint32)),
    ],
)
def test_short_integers_become_their_residues(field: Field, dtype: type[np.integer[Any]]) -> None:
    bounds = np.iinfo(dtype)
    integers = [int(bounds.min), 0, 1, int(bounds.max)]
    assert are(field, field.elements(np.array(integers, dtype)), [one % field.modulus for one in integers])


@FIELDS
@settings(max_examples=50)
@given(data=st.data())
def test_the_signed_representative_is_the_one_nearest_to_zero(field: Field, data: st.DataObject) -> None:
    elements = array(field, data.draw(st.lists(numbers(field), max_size=20)))
    signed = field.signed(elements)
    assert signed.dtype == np.int64
    assert all(abs(one) <= field.modulus // 2 for one in signed.tolist())
    assert are(field, field.elements(signed), elements.tolist())


@FIELDS
@settings(max_examples=50)
@given(data=st.data())
def test_an_inverse_times_its_number_is_one(field: Field, data: st.DataObject) -> None:
    several = data.draw(st.lists(numbers(field).filter(bool), max_size=10))
    expected = [pow(one, -1, field.modulus) for one in several]
    assert are(field, field.inverse(array(field, several)), expected)


@FIELDS
@pytest.mark.parametrize("several", [[0], [3, 0, 5]])
def test_zero_has_no_inverse_alone_or_among_others(field: Field, several: list[int]) -> None:
    with pytest.raises(ZeroDivisionError, match="zero has no inverse"):
        field.inverse(array(field, several))


@FIELDS
@pytest.mark.parametrize("shape", [(1, 1), (0, 3), (3, 0), (7, 5), (300, 2)])
def test_totals_along_either_axis_are_those_of_integers(field: Field, shape: tuple[int, int]) -> None:
    elements = random(field, *shape)
    exact = [[int(one) for one in row] for row in elements]
    assert are(field, field.total(elements, 1), [sum(row) % field.modulus for row in exact])
    assert are(field, field.total(elements, 0), [sum(row[at] for row in exact) % field.modulus
                                                 for at in range(shape[1])])  # fmt: skip


@FIELDS
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 65_537, 300_000])
def test_a_total_of_the_greatest_elements_does_not_overflow(field: Field, count: int) -> None:
    whole = field.total(array(field, np.full(count, field.modulus - 1)), 0)
    assert int(whole) == count * (field.modulus - 1) % field.modulus


@FIELDS
@pytest.mark.parametrize("inner", [1, 2, 127, 128, 129, 256, 1000])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5)])
def test_a_matrix_product_is_that_of_integers_for_any_inner_size(
    field: Field, inner: int, rows: int, columns: int
) -> None:
    left, right = random(field, rows, inner), random(field, inner, columns, seed=1)
    assert are(field, field.product(left, right), times(left, right, field.modulus))


@FIELDS
@pytest.mark.parametrize("columns", [2047, 2048, 2049, 4097])
def test_a_matrix_product_is_that_of_integers_for_any_number_of_columns(field: Field, columns: int) -> None:
    left, right = random(field, 2, 5), random(field, 5, columns, seed=1)
    assert are(field, field.product(left, right), times(left, right, field.modulus))


@FIELDS
@settings(max_examples=50)
@given(st.integers(1, 5), st.integers(1, 140), st.integers(1, 6), st.integers(0, 1 << 32))
def test_a_matrix_product_is_that_of_integers(field: Field, rows: int, inner: int, columns: int, seed: int) -> None:
    left, right = random(field, rows, inner, seed=seed), random(field, inner, columns, seed=seed + 1)
    assert are(field, field.product(left, right), times(left, right, field.modulus))


@FIELDS
@pytest.mark.parametrize("inner", [128, 129, 384, 1000])
def test_a_matrix_product_of_the_worst_numbers_is_exact(field: Field, inner: int) -> None:
    """Odd limbs next to ±2¹⁵ against odd words of all ones make sums as near to 2⁵³ as they come, all of one sign."""
    prime = field.modulus
    lowest, least, highest = (
        sum(limb << 16 * at for at in range(field.bits // 16)) for limb in (0x8001, 0x8000, 0x7FFF)
    )
    worst = [lowest, least, highest, prime - lowest, prime - least, prime // 2, prime // 2 + 1, prime - 1, 0x8001]
    for here in worst:
        for there in [
            prime - 1,
            prime - 2,
            prime // 2,
            ((1 << 31) - 1) % prime,
            (1 << 31) - 3,
            0x10000,
            0xFFFF,
            0x8000,
            1,
        ]:
            found = field.product(array(field, np.full((1, inner), here)), array(field, np.full((inner, 1), there)))
            assert are(field, found, [[inner * here * there % prime]]), (here, there)


def test_a_matrix_product_of_more_terms_than_are_summed_at_a_time_is_exact() -> None:
    """Four million odd limbs, all of one sign: an odd number of them has an odd sum, and above 2⁵³ floats are even."""
    inner, lowest, highest = (1 << 22) + 202, 0x8001, 0x1FFFF
    left = np.full((1, inner), lowest)
    left[0, 0] = 0
    found = SMALL.product(array(SMALL, left), array(SMALL, np.full((inner, 1), highest)))
    assert are(SMALL, found, [[(inner - 1) * lowest * highest % SMALL.modulus]])


@FIELDS
@pytest.mark.parametrize("inner", [129, 200, 201, 400, 450])
def test_a_matrix_product_does_not_depend_on_how_many_terms_are_summed_at_a_time(
    monkeypatch: pytest.MonkeyPatch, field: Field, inner: int
) -> None:
    monkeypatch.setattr(field_module, "_LONG", (16, 200))
    left, right = random(field, 3, inner), random(field, inner, 4, seed=1)
    assert are(field, field.product(left, right), times(left, right, field.modulus))


@FIELDS
def test_a_matrix_product_takes_views(field: Field) -> None:
    left, right = random(field, 4, 130).T, random(field, 9, 8, seed=1).T[::2]
    assert are(field, field.product(left, right), times(left, right, field.modulus))


@FIELDS
@pytest.mark.parametrize(("rows", "inner", "columns"), [(2, 0, 3), (2, 3, 0), (0, 3, 0), (0, 0, 2)])
def test_an_empty_matrix_product_is_one_of_zeros(field: Field, rows: int, inner: int, columns: int) -> None:
    found = field.product(field.zeros(rows, inner), field.zeros(inner, columns))
    assert found.shape == (rows, columns)
    assert not found.any()


@FIELDS
def test_a_matrix_without_rows_has_a_product_without_rows(field: Field) -> None:
    assert field.product(field.zeros(0, 3), field.zeros(3, 2)).shape == (0, 2)


@FIELDS
@pytest.mark.parametrize(("inner", "other"), [(3, 4), (4, 3), (200, 128), (129, 128), (128, 129), (256, 400)])
def test_matrices_that_do_not_fit_have_no_product(field: Field, inner: int, other: int) -> None:
    with pytest.raises(ValueError, match=re.escape(f"no product of (2, {inner}) and ({other}, 2)")):
        field.product(field.zeros(2, inner), field.zeros(other, 2))


@FIELDS
@settings(max_examples=50)
@given(st.integers(0, 5), st.integers(0, 140), st.integers(0, 6), st.integers(0, 1 << 32))
def test_a_product_with_a_matrix_of_minus_one_zero_and_one_is_that_of_integers(
    field: Field, rows: int, inner: int, columns: int, seed: int
) -> None:
    few = np.random.default_rng(seed).integers(-1, 2, (rows, inner)).astype(np.int8)
    right = random(field, inner, columns, seed=seed)
    exact = (few.astype(object) @ right.astype(object) % field.modulus).tolist() if inner else [[0] * columns] * rows
    assert are(field, field.product_of_few(few, right), exact)


@FIELDS
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("inner", [1, 2, 1000, 100_003])
def test_a_sum_or_difference_of_the_greatest_elements_is_exact(field: Field, sign: int, inner: int) -> None:
    """The largest sums of each limb; of equal ones and of one less, so that the last bit counts."""
    right = np.full((inner, 2), field.modulus - 1, field.dtype)
    right[0, 1] = field.modulus - 2
    exact = [(sign * (field.modulus - 1) * inner - sign * one) % field.modulus for one in (0, 1)]
    assert are(field, field.product_of_few(np.full((1, inner), sign, np.int8), right), [exact])


def test_a_sum_of_so_many_elements_that_longer_limbs_would_be_rounded_is_exact() -> None:
    """Of limbs of 31 bits it would be odd and above 2⁵³."""
    inner = (1 << 22) + (1 << 20)
    right = np.full((inner, 1), LARGE.modulus - 1, np.uint64)
    right[0] -= np.uint64(1)
    found = LARGE.product_of_few(np.ones((1, inner), np.int8), right)
    assert are(LARGE, found, [[-(inner + 1) % LARGE.modulus]])


@FIELDS
def test_a_product_with_few_takes_views_and_changes_nothing(field: Field) -> None:
    few, right = np.array([[1, -1, 0], [0, 1, 1]], np.int8), random(field, 4, 3)
    before = right.copy()
    found = field.product_of_few(few, right.T[:, 1:])
    assert found.tolist() == times(few, right.T[:, 1:], field.modulus)
    assert (right == before).all()


@FIELDS
def test_a_product_with_few_of_shapes_that_do_not_fit_is_refused(field: Field) -> None:
    with pytest.raises(ValueError):
        field.product_of_few(np.ones((2, 3), np.int8), random(field, 4, 2))


@FIELDS
@settings(max_examples=50)
@given(data=st.data())
def test_bytes_hold_each_element_the_lowest_byte_first(field: Field, data: st.DataObject) -> None:
    several = data.draw(st.lists(numbers(field), max_size=10))
    raw = field.to_bytes(array(field, several))
    assert raw == b"".join(one.to_bytes(field.dtype.itemsize, "little") for one in several)
    assert are(field, field.from_bytes(raw, len(several)), several)


@FIELDS
def test_bytes_are_those_of_the_array_s_order_whatever_its_memory_s(field: Field) -> None:
    elements = random(field, 3, 4)
    assert field.to_bytes(elements.T) == field.to_bytes(np.ascontiguousarray(elements.T))


@FIELDS
def test_what_was_read_from_bytes_cannot_be_changed(field: Field) -> None:
    with pytest.raises(ValueError, match="read-only"):
        field.from_bytes(bytes(field.dtype.itemsize), 1)[0] = 1


@FIELDS
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_number_that_is_no_element_is_refused_wherever_it_stands(field: Field, place: int) -> None:
    width = field.dtype.itemsize
    for number in (field.modulus, field.modulus + 1, (1 << 8 * width) - 1):
        several = [field.modulus - 1, 0, 1]
        several[place] = number
        with pytest.raises(ValueError, match="a number that is not below the modulus"):
            field.from_bytes(b"".join(one.to_bytes(width, "little") for one in several), 3)


@FIELDS
@pytest.mark.parametrize(("count", "extra"), [(0, 1), (1, -1), (3, -1), (3, 1), (3, 100)])
def test_bytes_of_another_length_are_refused(field: Field, count: int, extra: int) -> None:
    right = count * field.dtype.itemsize
    with pytest.raises(ValueError, match=f"{right + extra} bytes instead of {right}"):
        field.from_bytes(bytes(right + extra), count)


@FIELDS
@settings(max_examples=50)
@given(raw=st.binary(max_size=64), count=st.integers(0, 9))
def test_no_bytes_do_more_than_be_refused(field: Field, raw: bytes, count: int) -> None:
    try:
        elements = field.from_bytes(raw, count)
    except ValueError:
        return
    assert field.to_bytes(elements) == raw
    assert bool(np.all(elements < field.modulus))


@FIELDS
@settings(max_examples=50)
@given(data=st.data())
def test_the_field_s_laws_hold(field: Field, data: st.DataObject) -> None:
    one, other, third = (array(field, [data.draw(numbers(field))]) for _ in range(3))
    same: list[tuple[Elements, Elements]] = [
        (field.add(one, other), field.add(other, one)),
        (field.multiply(one, other), field.multiply(other, one)),
        (field.subtract(field.add(one, other), other), one),
        (field.multiply(field.multiply(one, other), third), field.multiply(one, field.multiply(other, third))),
        (
            field.multiply(one, field.add(other, third)),
            field.add(field.multiply(one, other), field.multiply(one, third)),
        ),
    ]
    assert all(np.array_equal(left, right) for left, right in same)


@FIELDS
def test_single_elements_are_computed_without_a_warning(field: Field) -> None:
    three, five = array(field, [3, 5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int(field.total(array(field, [3, 5]), 0)) == 8
        assert int(field.add(three, five)) == 8
        assert int(field.subtract(three, five)) == field.modulus - 2
        assert int(field.multiply(three, five)) == 15


def test_zeros_are_of_the_field_s_type() -> None:
    assert are(LARGE, LARGE.zeros(2, 3), [[0, 0, 0], [0, 0, 0]])
    assert are(SMALL, SMALL.zeros(0), [])


@FIELDS
@pytest.mark.parametrize("terms", [1, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("kind", ["largest", "limbs' ends", "half", "small by large", "random"])
def test_a_product_is_exact_at_every_number_of_terms_where_its_way_changes(field: Field, terms: int, kind: str) -> None:
    prime, generator = field.modulus, np.random.default_rng(terms)
    low, high = {
        "largest": (prime - 1, prime),
        "limbs' ends": ((1 << 15) - 1, (1 << 15) + 2),
        "half": (prime // 2, prime // 2 + 2),
        "small by large": (0, 3),
        "random": (0, prime),
    }[kind]
    left = generator.integers(low, high, (3, terms))
    right = generator.integers(0 if kind == "random" else prime - 2, prime, (terms, 20))
    expected = left.astype(object) @ right.astype(object) % prime
    assert are(field, field.product(array(field, left.tolist()), array(field, right.tolist())), expected.tolist())
