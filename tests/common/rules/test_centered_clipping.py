import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.centered_clipping import centered_clipping, least_for_centered_clipping
from common.rules.columns import Matrix, Vector
from common.rules.options import TooFewUpdatesError


def by_the_book(updates: Matrix, clip_norm: float, iterations: int) -> Vector:
    center = np.zeros(updates.shape[1])
    for _ in range(iterations):
        steps = []
        for update in updates:
            away = update - center
            length = float(np.linalg.norm(away))
            steps.append(away * min(1.0, clip_norm / length) if length else away)
        center = center + sum(steps) / len(updates)
    return center


@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(1, 9),
    clip_norm=st.sampled_from([0.01, 1.0, 3.0, 100.0]),
    iterations=st.integers(1, 5),
)
def test_it_follows_the_paper_s_formula(seed: int, clients: int, clip_norm: float, iterations: int) -> None:
    updates = 3 * np.random.default_rng(seed).standard_normal((clients, 6))
    result = centered_clipping(updates, clip_norm=clip_norm, iterations=iterations)
    np.testing.assert_allclose(result, by_the_book(updates, clip_norm, iterations), rtol=1e-9, atol=1e-12)


def test_four_numbers_in_one_out() -> None:
    updates = np.array([[0.5], [1.5], [-1e30], [4.0]])
    # Clipped to 1: 0.5 + 1 - 1 + 1 = 1.5, a quarter of it 0.375; then 0.125 + 1 - 1 + 1 = 1.125, a quarter 0.28125.
    assert centered_clipping(updates, clip_norm=1.0, iterations=1).tolist() == [0.375]
    assert centered_clipping(updates, clip_norm=1.0, iterations=2).tolist() == [0.65625]


def test_updates_within_the_norm_are_averaged() -> None:
    updates = np.random.default_rng(0).standard_normal((6, 10))
    result = centered_clipping(updates, clip_norm=100.0, iterations=1)
    np.testing.assert_allclose(result, updates.mean(axis=0), atol=1e-15)


def test_zero_updates_leave_the_center_where_it_is() -> None:
    assert centered_clipping(np.zeros((3, 4)), clip_norm=1.0).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "clip_norm is missing: give the L2 length"),
        ({"clip_norm": 0.0}, "clip_norm = 0.0 must be a finite number above 0"),
        ({"clip_norm": "1"}, "clip_norm = '1' must be a finite number above 0"),
        ({"clip_norm": 1.0, "iterations": 0}, "iterations = 0 must be a whole number, 1 or more"),
    ],
)
def test_options_out_of_range_are_sentences(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        least_for_centered_clipping(**options)


def test_no_update_is_too_few() -> None:
    with pytest.raises(TooFewUpdatesError, match="centered-clipping needs at least 1 updates, and 0"):
        centered_clipping(np.empty((0, 3)), clip_norm=1.0)
