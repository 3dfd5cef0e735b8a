from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from common.rules.columns import Matrix, Vector
from common.rules.geometric_median import geometric_median, least_for_geometric_median
from common.rules.options import TooFewUpdatesError


def sum_of_distances(point: Vector, updates: Matrix) -> float:
    return float(np.linalg.norm(updates - point, axis=1).sum())


def best_by_scipy(updates: Matrix) -> float:
    """The smallest sum of distances that a general optimiser finds, or an update has."""
    found = minimize(
        sum_of_distances, updates.mean(axis=0), args=(updates,), method="BFGS", options={"gtol": 1e-10}
    ).fun
    return min(float(found), *(sum_of_distances(update, updates) for update in updates))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), clients=st.integers(1, 9), parameters=st.integers(1, 6))
def test_no_point_that_scipy_finds_has_a_smaller_sum_of_distances(seed: int, clients: int, parameters: int) -> None:
    updates = np.random.default_rng(seed).standard_normal((clients, parameters))
    result = geometric_median(updates, iterations=2000, tolerance=1e-10)
    assert sum_of_distances(result, updates) <= best_by_scipy(updates) * (1 + 1e-5)


def test_defaults_come_within_a_hundredth_of_a_percent_of_the_smallest_sum() -> None:
    for seed in range(20):
        updates = np.random.default_rng(seed).standard_normal((20, 50))
        updates[:9] *= 1e6
        wanted = sum_of_distances(geometric_median(updates, iterations=5000, tolerance=1e-13), updates)
        assert sum_of_distances(geometric_median(updates), updates) <= wanted * (1 + 1e-4)


def test_the_point_that_sees_a_triangle_s_sides_at_120_degrees() -> None:
    # Corners (0, 0), (1, 0), (1/2, √3/2): the centre. Stretched to (±1, 0), (0, h): (0, 1/√3) for every h above.
    for height in (sqrt(3), 5.0, 1e6, 1e30):
        corners = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, height]])
        result = geometric_median(corners, iterations=2000, tolerance=1e-12)
        np.testing.assert_allclose(result, [0, 1 / sqrt(3)], atol=1e-5)


def test_a_corner_of_more_than_120_degrees_is_the_point_itself() -> None:
    corners = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.1]])
    np.testing.assert_allclose(geometric_median(corners, iterations=2000, tolerance=1e-10), [0.0, 0.1], atol=1e-5)


def test_on_a_line_it_is_the_median() -> None:
    line = np.array([1.0, 2.0, 4.0, 8.0, 1e30])[:, None] * np.array([[1.0, -1.0, 0.5]])
    np.testing.assert_allclose(geometric_median(line, iterations=2000), [4.0, -4.0, 2.0], rtol=1e-5)


def test_where_most_updates_are_is_the_result_exactly() -> None:
    updates = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2], [7.0, -1e30], [3.0, 9.0]])
    assert geometric_median(updates).tolist() == [0.1, 0.2]


def test_more_iterations_never_lead_away() -> None:
    updates = np.random.default_rng(0).standard_normal((9, 5))
    updates[:4] += 1e5
    sums = [
        sum_of_distances(geometric_median(updates, iterations=count, tolerance=1e-15), updates)
        for count in range(1, 60)
    ]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(sums))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"iterations": 0}, "iterations = 0 must be a whole number, 1 or more"),
        ({"tolerance": 0.0}, "tolerance = 0.0 must be a finite number above 0"),
        ({"tolerance": float("inf")}, "tolerance = inf must be a finite number above 0"),
    ],
)
def test_options_out_of_range_are_sentences(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        least_for_geometric_median(**options)


def test_no_update_is_too_few() -> None:
    with pytest.raises(TooFewUpdatesError, match="geometric-median needs at least 1 updates, and 0"):
        geometric_median(np.empty((0, 3)))
