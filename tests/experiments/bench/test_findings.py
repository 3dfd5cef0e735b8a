"""What a finding says of its numbers: ratios repeat by repeat, medians against targets, sides in turn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.bench.findings import (
    Finding,
    Taken,
    at_least,
    at_most,
    compared,
    interleaved,
    times_as_fast,
    times_the_cost,
)


def test_ratios_are_taken_repeat_by_repeat() -> None:
    ours, other = [1.0, 2.0, 4.0], [10.0, 4.0, 12.0]
    assert Finding("", "x", "s", ours, other).values() == [10.0, 2.0, 3.0]
    assert Finding("", "x", "s", ours, other, times_as_fast(2)).values() == [10.0, 2.0, 3.0]
    assert Finding("", "x", "s", ours, other, times_the_cost(2)).values() == pytest.approx([0.1, 0.5, 1 / 3])
    assert Finding("", "x", "s", ours, other, at_most(2)).values() == ours
    assert Finding("", "", "s", ours, []).values() == ours


def test_sides_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Finding("", "x", "s", [1.0, 2.0], [1.0]).values()


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (times_as_fast(3), True),
        (times_as_fast(3.1), False),
        (times_the_cost(1 / 3), True),
        (times_the_cost(0.3), False),
        (at_most(2), True),
        (at_most(1.9), False),
        (at_least(2), True),
        (at_least(2.1), False),
    ],
)
def test_the_median_decides(target: object, reached: bool) -> None:
    finding = Finding("", "x", "s", [2.0, 1.0, 9.0], [6.0, 90.0, 9.0], target)  # type: ignore[arg-type]
    assert finding.reached() is reached


def test_a_fact_has_nothing_to_reach() -> None:
    assert Finding("", "x", "s", [1.0], [2.0]).reached() is None


def test_growth_of_nothing_can_be_compared() -> None:
    assert Finding("", "x", "MiB", [0.0, 0.0], [5.0, 0.0]).values() == [math.inf, 1.0]
    assert Finding("", "x", "MiB", [0.0, 5.0], [0.0, 0.0], times_the_cost(1)).values() == [1.0, math.inf]


@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)), min_size=1), st.floats(1e-3, 1e3))
def test_as_fast_and_the_cost_are_two_ways_to_say_one_thing(pairs: list[tuple[float, float]], bound: float) -> None:
    ours, other = map(list, zip(*pairs, strict=True))
    fast = Finding("", "x", "s", ours, other, times_as_fast(bound)).values()
    cost = Finding("", "x", "s", ours, other, times_the_cost(1 / bound)).values()
    assert [a * b for a, b in zip(fast, cost, strict=True)] == pytest.approx([1.0] * len(pairs))


def test_words_name_the_ratio_or_the_measure() -> None:
    assert times_as_fast(5).words("CPU s") == "other / ours ≥ 5"
    assert times_the_cost(1.45).words("CPU s") == "ours / other ≤ 1.45"
    assert at_most(4).words("wall s") == "≤ 4 wall s"
    assert at_least(0.9).words("of 2 cores") == "≥ 0.9 of 2 cores"


def test_sides_are_timed_in_turn_after_a_call_that_does_not_count() -> None:
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleaved(sides, 2)
    assert calls == list("ababab")
    assert {name: len(taken) for name, taken in times.items()} == {"a": 2, "b": 2}
    assert all(taken.wall >= 0 and taken.cpu >= 0 for side in times.values() for taken in side)
    calls.clear()
    interleaved(sides, 1, warm_up=False)
    assert calls == list("ab")


def test_a_comparison_tells_cpu_and_wall_and_has_its_target_once() -> None:
    ours, other = [Taken(wall=2.0, cpu=1.0)], [Taken(wall=8.0, cpu=3.0)]
    first, second = compared("p", "x", ours, other, times_as_fast(3), "equal")
    assert (first.measure, first.ours, first.other, first.note) == ("CPU s", [1.0], [3.0], "equal")
    assert (second.measure, second.ours, second.other, second.note) == ("wall s", [2.0], [8.0], "")
    assert (first.reached(), second.reached()) == (True, None)
    first, second = compared("p", "x", ours, other, times_as_fast(3), by="wall")
    assert (first.measure, first.reached(), second.reached()) == ("wall s", True, None)


def test_nothing_is_reached_with_other_results() -> None:
    assert Finding("", "x", "s", [1.0], [9.0], times_as_fast(3)).reached() is True
    assert Finding("", "x", "s", [1.0], [9.0], times_as_fast(3), equal=False).reached() is False
    assert Finding("", "x", "s", [1.0], [9.0], equal=False).reached() is None
