from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.bulyan import bulyan, choice, least_for_bulyan, mean_around_the_middle
from common.rules.columns import Matrix
from common.rules.distances import squared_distances
from common.rules.options import TooFewUpdatesError
from tests.common.rules.test_krum import ranking_by_the_book


def bulyan_by_the_book(updates: list[list[Fraction]], malicious: int) -> list[Fraction]:
    """The paper's two steps in exact arithmetic; Krum's last ranking is that of 2f + 3 updates."""
    left, chosen = list(range(len(updates))), []
    while len(left) > 2 * malicious + 3:
        chosen.append(left.pop(ranking_by_the_book([updates[row] for row in left], malicious)[0]))
    chosen += [left[place] for place in ranking_by_the_book([updates[row] for row in left], malicious)[:3]]
    result = []
    for values in zip(*(updates[row] for row in chosen), strict=True):
        ordered = sorted(values)
        center = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        count = len(updates) - 4 * malicious
        nearest = sorted(ordered, key=lambda value: (abs(value - center), value))[:count]
        result.append(sum(nearest) / Fraction(count))
    return result


@st.composite
def whole_updates(draw: st.DrawFn) -> tuple[Matrix, int]:
    malicious = draw(st.integers(0, 2))
    clients = draw(st.integers(4 * malicious + 3, 13))
    numbers = st.lists(st.integers(-20, 20), min_size=3, max_size=3)
    return np.array(draw(st.lists(numbers, min_size=clients, max_size=clients)), dtype=np.float64), malicious


@given(drawn=whole_updates())
def test_bulyan_is_that_of_exact_arithmetic(drawn: tuple[Matrix, int]) -> None:
    updates, malicious = drawn
    wanted = bulyan_by_the_book([[Fraction(value) for value in row] for row in updates], malicious)
    result = bulyan(updates, num_malicious_nodes=malicious)
    np.testing.assert_allclose(result, [float(value) for value in wanted], atol=1e-13)


def test_bulyan_by_hand() -> None:
    # f = 1 of 7. Krum names 3 (1 + 1 + 4 + 4), then 4 of the others; of {1, 2, 5, 6.1, 9e9} it ranks 2, 5 and 1
    # best. The median of {1, 2, 3, 4, 5} is 3, and the three nearest to it are 2, 3 and 4.
    updates = np.array([[1.0], [2.0], [4.0], [3.0], [9e9], [5.0], [6.1]])
    assert bulyan(updates, num_malicious_nodes=1).tolist() == [3.0]


def test_the_chosen_come_one_by_one() -> None:
    updates = np.array([[1.0], [2.0], [4.0], [3.0], [9e9], [5.0], [6.1]])
    assert choice(squared_distances(updates), 1, 5) == [0, 1, 2, 3, 5]


def test_the_mean_around_the_middle_by_hand() -> None:
    ordered = np.array([[-1e30, 0.0, 1.0, 2.0, 7.0], [0.0, 0.0, 0.0, 5.0, 6.0], [-2.0, -1.0, 0.0, 1.0, 2.0]])
    assert mean_around_the_middle(ordered, 3).tolist() == [1.0, 0.0, 0.0]
    assert mean_around_the_middle(ordered, 2).tolist() == [0.5, 0.0, -0.5]  # of equally near values the lower
    assert mean_around_the_middle(ordered[1:], 5).tolist() == [2.2, 0.0]


def test_unstated_f_is_the_largest_that_the_updates_allow() -> None:
    updates = np.random.default_rng(1).standard_normal((12, 30))
    np.testing.assert_array_equal(bulyan(updates), bulyan(updates, num_malicious_nodes=2))


@pytest.mark.parametrize("few", [3, 4, 5, 6])
def test_unstated_f_is_never_none_at_all(few: int) -> None:
    with pytest.raises(TooFewUpdatesError, match=f"bulyan needs at least 7 updates, and {few} can be used"):
        bulyan(np.zeros((few, 1)))
    bulyan(np.zeros((few, 1)), num_malicious_nodes=0)


@pytest.mark.parametrize("malicious", [0, 1, 2])
def test_bulyan_needs_4f_plus_3_updates(malicious: int) -> None:
    least = least_for_bulyan(malicious)
    assert least == 4 * malicious + 3
    bulyan(np.zeros((least, 1)), num_malicious_nodes=malicious)
    with pytest.raises(
        TooFewUpdatesError, match=f"bulyan with num_malicious_nodes = {malicious} needs at least {least}"
    ):
        bulyan(np.zeros((least - 1, 1)), num_malicious_nodes=malicious)


def test_a_negative_f_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="num_malicious_nodes = -1 must be a whole number, 0 or more"):
        least_for_bulyan(-1)
