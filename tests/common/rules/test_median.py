import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from common.rules.columns import Matrix
from common.rules.median import median
from common.rules.options import TooFewUpdatesError


@given(updates=arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e38, 1e38)))
def test_the_median_is_that_of_the_standard_library(updates: Matrix) -> None:
    assert median(updates).tolist() == [statistics.median(column) for column in updates.T.tolist()]


def test_four_numbers_in_one_out() -> None:
    assert median(np.array([[4.0], [1.0], [1e30], [2.0]])).tolist() == [3.0]


def test_no_update_is_too_few() -> None:
    with pytest.raises(TooFewUpdatesError, match="median needs at least 1 updates, and 0 can be used"):
        median(np.empty((0, 3)))
