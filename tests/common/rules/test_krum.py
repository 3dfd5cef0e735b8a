from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.columns import Matrix, Vector
from common.rules.krum import krum, least_for_krum, least_for_multi_krum, multi_krum, ranking
from common.rules.options import TooFewUpdatesError


def ranking_by_the_book(updates: list[list[Fraction]], malicious: int) -> list[int]:
    """The definition in exact arithmetic: scores, then the next neighbours, then the order of the rows."""
    keys = []
    for row, update in enumerate(updates):
        apart = sorted(
            sum((a - b) ** 2 for a, b in zip(update, other, strict=True))
            for number, other in enumerate(updates)
            if number != row
        )
        counted = len(updates) - malicious - 2
        keys.append(([sum(apart[:counted]), *apart[counted:]], row))
    return [row for _, row in sorted(keys)]


@st.composite
def whole_updates(draw: st.DrawFn) -> tuple[Matrix, int]:
    """Small whole numbers, in which float64 is exact and ties are common."""
    malicious = draw(st.integers(0, 3))
    clients = draw(st.integers(2 * malicious + 3, 11))
    parameters = draw(st.integers(1, 4))
    numbers = st.lists(st.integers(-6, 6), min_size=parameters, max_size=parameters)
    return np.array(draw(st.lists(numbers, min_size=clients, max_size=clients)), dtype=np.float64), malicious


@given(drawn=whole_updates(), data=st.data())
def test_krum_and_multi_krum_are_those_of_exact_arithmetic(drawn: tuple[Matrix, int], data: st.DataObject) -> None:
    updates, malicious = drawn
    order = ranking_by_the_book([[Fraction(value) for value in row] for row in updates], malicious)
    np.testing.assert_array_equal(krum(updates, num_malicious_nodes=malicious), updates[order[0]])
    selected = data.draw(st.integers(1, len(updates) - malicious))
    result = multi_krum(updates, num_malicious_nodes=malicious, num_nodes_to_select=selected)
    np.testing.assert_allclose(result, updates[order[:selected]].mean(axis=0), atol=1e-14)


def test_krum_by_hand() -> None:
    # With f = 1 of 5 two neighbours count: 0.11 has 0.1 and 0.12 at 0.01, the others are farther.
    updates = np.array([[0.10], [0.11], [0.12], [9.0], [-3.0]])
    assert krum(updates, num_malicious_nodes=1).tolist() == [0.11]
    assert multi_krum(updates, num_malicious_nodes=1, num_nodes_to_select=3) == pytest.approx([0.11])
    assert multi_krum(updates, num_malicious_nodes=1) == pytest.approx([(0.11 + 0.10) / 2])  # n - f - 2 = 2


def test_one_update_alone_with_multi_krum_is_krum() -> None:
    updates = np.random.default_rng(0).standard_normal((9, 30))
    np.testing.assert_array_equal(multi_krum(updates, num_nodes_to_select=1), krum(updates))


def test_of_two_that_are_each_other_s_neighbour_the_one_nearer_to_the_rest_wins() -> None:
    for order in ([0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [5.0, 0.0, 1.0]):
        assert krum(np.array(order)[:, None], num_malicious_nodes=0).tolist() == [1.0]


def test_of_full_ties_the_lower_row_wins() -> None:
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    squared = ((corners[:, None] - corners) ** 2).sum(axis=2)
    assert ranking(squared, 0) == [0, 1, 2, 3]
    assert krum(corners[::-1], num_malicious_nodes=0).tolist() == [1.0, 1.0]


def test_unstated_f_is_the_largest_that_the_updates_allow() -> None:
    updates = np.random.default_rng(1).standard_normal((9, 30))
    np.testing.assert_array_equal(krum(updates), krum(updates, num_malicious_nodes=3))
    wide = multi_krum(updates, num_nodes_to_select=8)
    np.testing.assert_array_equal(wide, multi_krum(updates, num_malicious_nodes=1, num_nodes_to_select=8))


@pytest.mark.parametrize(("rule", "name"), [(krum, "krum"), (multi_krum, "multi-krum")])
def test_unstated_f_is_never_none_at_all(rule: Callable[..., Vector], name: str) -> None:
    updates = np.array([[0.1], [0.2], [0.3], [9e9], [0.25]])
    assert 0.1 <= float(rule(updates)[0]) <= 0.3
    for few in (3, 4):
        with pytest.raises(TooFewUpdatesError, match=f"{name} needs at least 5 updates, and {few} can be used"):
            rule(updates[:few])
        rule(updates[:few], num_malicious_nodes=0)


@pytest.mark.parametrize("malicious", [0, 1, 2, 5])
def test_krum_needs_2f_plus_3_updates(malicious: int) -> None:
    least = least_for_krum(malicious)
    assert least == 2 * malicious + 3
    krum(np.zeros((least, 1)), num_malicious_nodes=malicious)
    words = f"krum with num_malicious_nodes = {malicious} needs at least {least} updates, and {least - 1} can be used"
    with pytest.raises(TooFewUpdatesError, match=words):
        krum(np.zeros((least - 1, 1)), num_malicious_nodes=malicious)


def test_multi_krum_needs_f_more_than_it_selects() -> None:
    assert least_for_multi_krum(2, 6) == 8
    assert least_for_multi_krum(2, 3) == 7
    assert least_for_multi_krum(None, 6) == 7
    with pytest.raises(
        TooFewUpdatesError, match="num_malicious_nodes = 2 and num_nodes_to_select = 6 needs at least 8"
    ):
        multi_krum(np.zeros((7, 1)), num_malicious_nodes=2, num_nodes_to_select=6)


@pytest.mark.parametrize("value", [-1, 1.0, True, "2", float("nan")])
def test_options_out_of_range_are_sentences(value: object) -> None:
    with pytest.raises(ValueError, match=r"num_malicious_nodes = .* must be a whole number, 0 or more"):
        least_for_krum(value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"num_nodes_to_select = .* must be a whole number, 1 or more"):
        least_for_multi_krum(0, value)  # type: ignore[arg-type]
