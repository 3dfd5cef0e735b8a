from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.field import LARGE, SMALL, Elements, Field
from peers.secure.opening import opened, opened_each

FIELDS = pytest.mark.parametrize("field", [SMALL, LARGE], ids=["small", "large"])
EACH = st.sampled_from([SMALL, LARGE])
MEMBERS, DEGREE, PACKING, COLUMNS = 10, 3, 2, 3
"""Up to three liars are corrected."""
POINTS = tuple(range(1, MEMBERS + 1))


def value(coefficients: Sequence[int], point: int, prime: int) -> int:
    """Return a polynomial's value by its definition; the constant comes first."""
    whole: int = sum(coefficient * point**power for power, coefficient in enumerate(coefficients))
    return whole % prime


def dealt(field: Field, dealers: int, *, degree: int = DEGREE, seed: int = 0) -> tuple[Elements, list[list[list[int]]]]:
    """Return members' values [members, dealers, columns], and each dealer's secrets [k, columns]."""
    generator, prime = np.random.default_rng(seed), field.modulus
    values = np.empty((MEMBERS, dealers, COLUMNS), field.dtype)
    secrets = []
    for dealer in range(dealers):
        polynomials = [generator.integers(0, prime, degree + 1).tolist() for _ in range(COLUMNS)]
        for at, point in enumerate(POINTS):
            values[at, dealer] = [value(one, point, prime) for one in polynomials]
        secrets.append([[value(one, -slot, prime) for one in polynomials] for slot in range(1, PACKING + 1)])
    return values, secrets


def lie(field: Field, values: Elements, member: int, dealer: int, column: int, by: int = 1) -> None:
    """Change one value."""
    values[member, dealer, column] = (int(values[member, dealer, column]) + by) % field.modulus


def open_all(field: Field, values: Elements, *, liars: int = 3, points: Sequence[int] = POINTS) -> list[object]:
    """Return each dealer's secrets and wrong places, or None."""
    found = opened_each(field, points, values, degree=DEGREE, packing=PACKING, liars=liars)
    return [one and (one.secrets.tolist(), set(one.wrong)) for one in found]


@FIELDS
def test_honest_members_open_every_dealer_s_secrets(field: Field) -> None:
    values, secrets = dealt(field, 4)
    assert open_all(field, values) == [(one, set()) for one in secrets]
    assert open_all(field, values, liars=0) == [(one, set()) for one in secrets]


@FIELDS
@pytest.mark.parametrize("places", [(0,), (9,), (0, 1, 2), (3, 5, 8), (7, 8, 9)])
def test_who_lies_about_one_dealer_is_found_there_and_nowhere_else(field: Field, places: tuple[int, ...]) -> None:
    values, secrets = dealt(field, 3)
    for place in places:
        lie(field, values, place, 1, place % COLUMNS, by=1 + place)
    assert open_all(field, values) == [(secrets[0], set()), (secrets[1], set(places)), (secrets[2], set())]


@FIELDS
def test_each_dealer_has_liars_of_its_own(field: Field) -> None:
    """Three about each: more than a polynomial bears, were they added up."""
    values, secrets = dealt(field, 3)
    liars = [{0, 1, 2}, {3, 4, 5}, {6, 8, 9}]
    for dealer, places in enumerate(liars):
        for place in places:
            lie(field, values, place, dealer, 1)
    assert open_all(field, values) == list(zip(secrets, liars, strict=True))


@FIELDS
def test_who_lies_in_any_column_is_wrong_in_all(field: Field) -> None:
    """So members that lie in different columns are added up, against the cap as against the bound."""
    values, secrets = dealt(field, 1)
    for column, place in enumerate((2, 6, 9)):
        lie(field, values, place, 0, column)
    assert open_all(field, values) == [(secrets[0], {2, 6, 9})]
    assert open_all(field, values, liars=2) == [None]


@settings(max_examples=60)
@given(EACH, st.data())
def test_no_lies_of_as_many_as_agreed_change_what_is_opened(field: Field, data: st.DataObject) -> None:
    values, secrets = dealt(field, 2, seed=data.draw(st.integers(0, 99)))
    liars = data.draw(st.permutations(range(MEMBERS)))[: data.draw(st.integers(0, 3))]
    told = set()
    for liar in liars:
        for column in range(COLUMNS):
            by = data.draw(st.sampled_from([0, 1, 5]) | st.integers(0, field.modulus - 1))
            lie(field, values, liar, 0, column, by=by)
            if by:
                told.add(liar)
    assert open_all(field, values) == [(secrets[0], told), (secrets[1], set())]


@FIELDS
def test_lies_that_agree_with_each_other_change_nothing(field: Field) -> None:
    values, secrets = dealt(field, 1)
    other, _ = dealt(field, 1, seed=5)
    values[[1, 4, 7]] = other[[1, 4, 7]]
    assert open_all(field, values) == [(secrets[0], {1, 4, 7})]


@FIELDS
@pytest.mark.parametrize("cap", [0, 1, 2])
def test_more_liars_than_may_be_are_none_though_they_could_be_corrected(field: Field, cap: int) -> None:
    values, secrets = dealt(field, 2)
    for place in range(cap + 1):
        lie(field, values, place, 0, 0)
    assert open_all(field, values, liars=cap) == [None, (secrets[1], set())]
    assert open_all(field, values, liars=cap + 1) == [(secrets[0], set(range(cap + 1))), (secrets[1], set())]


@FIELDS
def test_a_dealer_whose_polynomials_are_of_too_high_a_degree_has_none(field: Field) -> None:
    values, secrets = dealt(field, 3)
    values[:, 1] = dealt(field, 1, degree=DEGREE + 1, seed=1)[0][:, 0]
    assert open_all(field, values) == [(secrets[0], set()), None, (secrets[2], set())]


@FIELDS
def test_a_dealer_of_whom_members_have_just_any_numbers_has_no_polynomials(field: Field) -> None:
    values, secrets = dealt(field, 2)
    values[:, 0] = np.random.default_rng(1).integers(0, field.modulus, values[:, 0].shape)
    assert open_all(field, values) == [None, (secrets[1], set())]


@FIELDS
def test_one_column_without_a_polynomial_is_enough_to_have_none(field: Field) -> None:
    values, _ = dealt(field, 1)
    values[:, 0, COLUMNS - 1] = np.random.default_rng(1).integers(0, field.modulus, MEMBERS)
    assert open_all(field, values) == [None]


@FIELDS
@pytest.mark.parametrize("silent", range(1, MEMBERS - DEGREE - 1))
def test_silent_members_are_done_without_and_cost_half_a_liar(field: Field, silent: int) -> None:
    values, secrets = dealt(field, 1)
    here = list(range(silent, MEMBERS))
    liars = (MEMBERS - silent - DEGREE - 1) // 2
    for place in here[:liars]:
        lie(field, values, place, 0, 0)
    found = open_all(field, values[here], liars=liars, points=[POINTS[place] for place in here])
    assert found == [(secrets[0], set(range(liars)))]  # places among those that spoke


@FIELDS
def test_as_many_members_as_the_degree_needs_open_the_secrets(field: Field) -> None:
    values, secrets = dealt(field, 2)
    here = [1, 4, 5, 9]
    found = open_all(field, values[here], liars=0, points=[POINTS[place] for place in here])
    assert found == [(one, set()) for one in secrets]


@FIELDS
@pytest.mark.parametrize("members", [0, 1, DEGREE])
def test_too_few_members_open_nothing(field: Field, members: int) -> None:
    values, _ = dealt(field, 3)
    assert open_all(field, values[:members], points=POINTS[:members]) == [None, None, None]


@FIELDS
def test_no_dealers_are_nothing_to_open(field: Field) -> None:
    assert open_all(field, field.zeros(MEMBERS, 0, COLUMNS)) == []


@FIELDS
def test_a_dealer_without_columns_has_no_secrets_and_no_liars(field: Field) -> None:
    found = opened_each(field, POINTS, field.zeros(MEMBERS, 2, 0), degree=DEGREE, packing=PACKING, liars=3)
    assert [one and (one.secrets.shape, one.wrong) for one in found] == [((PACKING, 0), frozenset())] * 2


@FIELDS
def test_places_known_to_be_wrong_are_not_looked_at_and_count_as_liars(field: Field) -> None:
    values, secrets = dealt(field, 1)
    for place in (0, 3):
        lie(field, values, place, 0, 0)

    def found(liars: int, known: frozenset[int]) -> object:
        one = opened(field, POINTS, values[:, 0], degree=DEGREE, packing=PACKING, liars=liars, known=known)
        return one and (one.secrets.tolist(), set(one.wrong))

    assert found(2, frozenset({0})) == (secrets[0], {0, 3})
    assert found(3, frozenset({0, 8})) == (secrets[0], {0, 3, 8})
    assert found(2, frozenset({0, 8})) is None
    assert found(6, frozenset(range(7))) is None
    assert found(10, frozenset(range(7))) is None  # three are left, and four are needed


@FIELDS
def test_known_places_may_leave_as_many_as_the_degree_needs(field: Field) -> None:
    values, secrets = dealt(field, 1)
    known = frozenset(range(6))
    found = opened(field, POINTS, values[:, 0], degree=DEGREE, packing=PACKING, liars=6, known=known)
    assert found is not None
    assert found.secrets.tolist() == secrets[0]
    assert found.wrong == known


def test_one_dealer_opened_by_hand() -> None:
    """7 + 2 x at 1 … 4 is 9, 11, 13, 15, and 5 at −1; the second is changed."""
    values = np.array([9, 12, 13, 15], np.uint32).reshape(4, 1, 1)
    (found,) = opened_each(SMALL, (1, 2, 3, 4), values, degree=1, packing=1, liars=1)
    assert found is not None
    assert found.secrets.tolist() == [[5]]
    assert found.wrong == {1}
