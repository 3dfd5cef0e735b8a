import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.intervals import student
from experiments.study.deciding import (
    CONFIRMED,
    OPEN,
    REFUTED,
    Band,
    about,
    average,
    bounds,
    decide,
    exact,
    farthest,
    largest,
    smallest,
)
from experiments.study.results import Estimate

REPEATS = st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=2, max_size=5)
SETTINGS = st.lists(REPEATS, min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.02, 0.03, CONFIRMED),
        (0.01, 0.05, CONFIRMED),
        (0.06, 0.07, REFUTED),
        (-0.02, 0.0, REFUTED),
        (0.04, 0.06, OPEN),
        (0.0, 0.02, OPEN),
        (-1.0, 1.0, OPEN),
    ],
)
def test_an_interval_decides_only_where_it_lies_wholly_inside_or_outside(low: float, high: float, verdict: str) -> None:
    assert decide(Estimate((low + high) / 2, low, high, (low, high)), Band(0.01, 0.05)) == verdict


def test_nothing_measured_or_a_single_repeat_decides_nothing() -> None:
    assert decide(None, Band(0, 1)) == OPEN
    assert decide(Estimate(0.5, None, None, (0.5,)), Band(0, 1)) == OPEN


def test_the_end_of_a_strict_band_does_not_belong_to_it() -> None:
    nothing = Estimate(0.0, 0.0, 0.0, (0.0, 0.0))
    assert decide(nothing, Band(0.0, None)) == CONFIRMED
    assert decide(nothing, Band(0.0, None, strict=True)) == REFUTED


def test_a_file_size_decides_without_repeats() -> None:
    assert decide(exact(0.744), Band(0.739, 0.749)) == CONFIRMED
    assert decide(exact(0.746), Band(0.761, 0.771)) == REFUTED


def test_about_reaches_from_half_to_half_as_much_again() -> None:
    assert (about(0.2).low, about(0.2).high) == pytest.approx((0.1, 0.3))


@given(numbers=REPEATS)
def test_uncorrected_bounds_are_students_interval(numbers: list[float]) -> None:
    assert bounds(numbers) == pytest.approx(student(numbers), abs=1e-12)


@given(settings=SETTINGS)
def test_the_largest_mean_seen_lies_in_its_interval(settings: list[list[float]]) -> None:
    found = largest(settings)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.mean == max(mean(numbers) for numbers in settings)
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9


@given(settings=SETTINGS)
def test_the_smallest_mirrors_the_largest(settings: list[list[float]]) -> None:
    found, mirrored = smallest(settings), largest([[-number for number in numbers] for numbers in settings])
    assert found is not None
    assert mirrored is not None
    assert (found.mean, found.low, found.high) == (-mirrored.mean, -(mirrored.high or 0), -(mirrored.low or 0))


@given(settings=SETTINGS, flips=st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_distance_from_zero_has_no_sign(settings: list[list[float]], flips: list[bool]) -> None:
    flipped = [[-n for n in numbers] if flip else numbers for numbers, flip in zip(settings, flips, strict=False)]
    one, other = farthest(settings), farthest(flipped)
    assert one is not None
    assert other is not None
    assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))
    assert (one.low or 0) >= 0


def test_a_distance_pays_for_every_setting_and_both_signs() -> None:
    # Student's t with 2 degrees of freedom lies within ±x with probability x / sqrt(2 + x²), in closed form.
    inside = 1 - 2 * 0.025 / 4
    quantile = inside * (2 / (1 - inside**2)) ** 0.5
    found = farthest([[0.9, 1.0, 1.1], [0.0, 0.1, -0.1]])
    assert found is not None
    assert found.low == pytest.approx(1.0 - quantile * 0.1 / 3**0.5)


def covered(true: list[float], *, corrected: bool) -> float:
    """Return in which share of studies of three repeats the interval holds the largest true mean."""
    rng, hits, studies = random.Random(5), 0, 1500
    for _ in range(studies):
        settings = [[rng.gauss(one, 1) for _ in range(3)] for one in true]
        found = largest(settings)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        low = found.low if corrected else max(bounds(numbers)[0] for numbers in settings)
        hits += low <= max(true) <= found.high
    return hits / studies


def test_the_interval_of_a_maximum_holds_the_largest_true_mean_and_an_uncorrected_one_does_not() -> None:
    assert covered([0.0] * 8, corrected=True) > 0.94
    assert covered([0.0] * 8, corrected=False) < 0.90
    assert covered([0.0, -1.0, -5.0], corrected=True) > 0.94


def test_settings_with_one_repeat_are_left_out_of_an_extreme() -> None:
    found = largest([[9.0], [1.0, 1.2, 1.1]])
    assert found is not None
    assert found.mean == pytest.approx(1.1)
    assert largest([[9.0]]) is None
    assert smallest([]) is None
    assert farthest([[9.0]]) is None


def test_equal_repeats_of_one_setting_do_not_show_that_a_bound_is_exceeded() -> None:
    found = largest([[0.52 - 0.5, 0.62 - 0.6, 0.02], [-0.01, 0.03, 0.01]])  # equal but for rounding
    assert found is not None
    assert found.mean == pytest.approx(0.02)
    assert found.low is not None
    assert found.low < 0
    all_equal = largest([[0.02, 0.02], [0.01, 0.01]])
    assert all_equal is not None
    assert (all_equal.low, all_equal.high) == pytest.approx((0.02, 0.02))


def test_an_average_takes_the_repeats_that_all_settings_have() -> None:
    found = average([{0: 0.1, 1: 0.2, 2: 0.6}, {0: 0.3, 1: 0.6}, {0: 99.0}])
    assert found is not None
    assert found.values == pytest.approx((0.2, 0.4))
    assert (found.low, found.high) == pytest.approx(student([0.2, 0.4]))
    assert average([{0: 1.0}]) is None
    assert average([{0: 1.0, 1: 1.0}, {2: 1.0, 3: 1.0}]) is None
