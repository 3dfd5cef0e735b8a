import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from common.intervals import wilson


@given(n=st.integers(1, 5000), data=st.data())
def test_wilson_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_is_known_from_no_records() -> None:
    assert wilson(0.0, 0) == (0.0, 1.0)
