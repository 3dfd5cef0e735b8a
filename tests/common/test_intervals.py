import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from common.intervals import student, wilson


@given(n=st.integers(1, 5000), data=st.data())
def test_wilson_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_is_known_from_no_records() -> None:
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_students_interval_is_that_of_a_textbook() -> None:
    # Mean 2, standard deviation 1, n = 3: 2 ± 4.302653 / sqrt(3).
    low, high = student([1.0, 2.0, 3.0]) or (0.0, 0.0)
    assert low == pytest.approx(2 - 4.302652729911275 / 3**0.5)
    assert high == pytest.approx(2 + 4.302652729911275 / 3**0.5)


def test_one_repeat_has_no_interval() -> None:
    assert student([0.5]) is None
    assert student([]) is None


def test_students_interval_holds_the_mean_in_95_of_100_cases() -> None:
    import numpy as np

    draws = np.random.default_rng(0).normal(size=(4000, 3))
    holds = [low <= 0 <= high for low, high in (student(list(map(float, row))) or (1.0, 0.0) for row in draws)]
    assert 0.94 < np.mean(holds) < 0.96
