"""Whole numbers of a ball: never too long, right on average, and back in units of the weights."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from peers.secure.ball import bound_for
from peers.secure.rules.scaling import clipped, rounded, stretched, unit

NORMS = st.floats(1e-6, 1e6)
DRAWS = 4000


def update(size: int, norm: float, seed: int = 0) -> NDArray[np.float64]:
    """Return numbers of a given Euclidean norm."""
    drawn = np.random.default_rng(seed).normal(size=size)
    return drawn * (norm / float(np.linalg.norm(drawn)))


def squared(whole: NDArray[np.int64]) -> int:
    """Return the squared norm, in Python's integers."""
    return sum(int(number) ** 2 for number in whole)


@pytest.mark.parametrize(("size", "norm", "expected"), [(20, 2.0, 2 / math.sqrt(256**2 - 10)), (1, 0.5, 0.5 / 255.999)])
def test_a_unit_is_the_norm_over_the_bound_less_what_rounding_adds(size: int, norm: float, expected: float) -> None:
    assert unit(size, norm) == pytest.approx(expected, rel=1e-6)


@given(size=st.integers(1, 300), norm=NORMS, seed=st.integers(0, 1000))
def test_no_rounded_update_is_longer_than_the_bound(size: int, norm: float, seed: int) -> None:
    whole = rounded(update(size, norm, seed), norm, np.random.default_rng(seed))
    assert whole.dtype == np.int64
    assert whole.shape == (size,)
    assert squared(whole) <= bound_for(size) ** 2


@pytest.mark.parametrize("peaks", [1, 2, 64])
def test_no_rounded_update_is_longer_than_the_bound_whatever_its_shape(peaks: int) -> None:
    """In one number, in a few, in all alike."""
    told = np.where(np.arange(64) < peaks, 1 / math.sqrt(peaks), 0.0)
    for seed in range(50):
        assert squared(rounded(told, 1.0, np.random.default_rng(seed))) <= bound_for(64) ** 2


@given(size=st.integers(1, 200), norm=NORMS, seed=st.integers(0, 1000), share=st.floats(0, 0.9))
def test_a_number_is_rounded_to_one_of_its_two_neighbours(size: int, norm: float, seed: int, share: float) -> None:
    told = update(size, norm * share, seed)
    exact = told / unit(size, norm)
    whole = rounded(told, norm, np.random.default_rng(seed))
    assert (np.abs(whole - exact) < 1 + 1e-9).all()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_rounding_is_right_on_average(share: float) -> None:
    """Five standard deviations of a mean of draws, each of a variance of p (1 − p)."""
    told = update(40, share, seed=3)
    draws = np.random.default_rng(1)
    mean = np.mean([rounded(told, 1.0, draws) for _ in range(DRAWS)], axis=0)
    exact = told / unit(40, 1.0)
    part = exact - np.floor(exact)
    assert (np.abs(mean - exact) <= 5 * np.sqrt(part * (1 - part) / DRAWS) + 1e-9).all()


def test_whole_numbers_stay_and_numbers_are_rounded_independently() -> None:
    """The product of two roundings has the product of their means, within five standard deviations."""
    one = unit(2, 1.0)
    draws = np.random.default_rng(2)
    assert rounded(np.array([3.0, -4.0]) * one, 1.0, draws).tolist() == [3, -4]
    pairs = np.array([rounded(np.array([0.25, 0.25]) * one, 1.0, draws) for _ in range(DRAWS)])
    assert abs(float((pairs[:, 0] * pairs[:, 1]).mean()) - 0.25**2) < 5 * 0.25 / math.sqrt(DRAWS)


@pytest.mark.parametrize("size", [20, 300, 5000])
def test_an_update_at_the_bound_loses_at_most_some_per_cent_of_its_length(size: int) -> None:
    told = update(size, 1.0, seed=5)
    draws = np.random.default_rng(3)
    kept = [float(rounded(told, 1.0, draws) @ told) * unit(size, 1.0) for _ in range(200)]
    assert 0.99 < np.mean(kept) < 1.001
    assert min(kept) > 0.96


@given(size=st.integers(1, 50), norm=NORMS, seed=st.integers(0, 100), length=st.floats(0, 1e12))
def test_what_is_clipped_is_shortened_and_keeps_its_direction(size: int, norm: float, seed: int, length: float) -> None:
    told = update(size, length, seed)
    short = clipped(told, norm)
    assert float(np.linalg.norm(short)) <= max(norm, 1e-300) * (1 + 1e-12)
    if float(np.linalg.norm(told)) <= norm:
        assert np.array_equal(short, told)
    else:
        assert short == pytest.approx(told / length * norm, rel=1e-9, abs=1e-300)


@given(size=st.integers(1, 50), norm=NORMS, seed=st.integers(0, 100), length=st.floats(1e-12, 1e12))
def test_what_is_stretched_has_the_norm_and_keeps_its_direction(
    size: int, norm: float, seed: int, length: float
) -> None:
    told = update(size, length, seed)
    assert stretched(told, norm) == pytest.approx(told / length * norm, rel=1e-9)


def test_an_update_of_zeros_stays() -> None:
    assert not stretched(np.zeros(5), 2.0).any()
    assert not clipped(np.zeros(5), 2.0).any()
    assert not rounded(np.zeros(5), 2.0, np.random.default_rng(0)).any()
