"""Means over repeats: paired by repeat, with Student's interval, never from an invented value."""

from pathlib import Path
from typing import Any

import pytest

from common.config import parse
from experiments.study.grid import Cell
from experiments.study.results import Result, by_setting, difference, estimate, values
from experiments.study.setting import setting_of
from server.measures import Measure


def made(repeat: int, accuracy: float, **changes: Any) -> Result:
    experiment = parse({"clients": [{"name": "a"}, {"name": "b"}]}, "test").change(changes)
    rows = (Measure("fp32", "clean", "none", "", None, None, None, None, "accuracy", accuracy, 100, None, None),)
    return Result(Cell("s", {}, repeat, experiment), setting_of(experiment), rows, {}, {}, None, Path("x"))


def clean(result: Result) -> float | None:
    return result.accuracy("fp32")


def test_repeats_of_a_setting_come_together_in_order() -> None:
    groups = by_setting([made(1, 0.2), made(0, 0.1), made(0, 0.9, **{"privacy.enabled": True})])
    assert [[result.cell.repeat for result in group] for group in groups.values()] == [[0, 1], [0]]


def test_an_estimate_is_the_mean_with_its_interval() -> None:
    found = estimate([made(0, 0.1), made(1, 0.2), made(2, 0.3)], clean)
    assert found is not None
    assert found.mean == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - 4.302652729911275 * 0.1 / 3**0.5)
    assert found.n == 3


def test_one_repeat_has_no_interval_and_none_no_estimate() -> None:
    alone = estimate([made(0, 0.1)], clean)
    assert alone is not None
    assert (alone.low, alone.high, alone.n) == (None, None, 1)
    assert estimate([], clean) is None
    assert estimate([made(0, 0.1)], lambda result: result.accuracy("fp32", "transfer")) is None


def test_a_repeat_counts_once_however_many_cells_have_it() -> None:
    assert values([made(0, 0.1), made(0, 0.7), made(1, 0.2)], clean) == {0: 0.1, 1: 0.2}


def test_differences_are_paired_by_repeat() -> None:
    found = difference([made(0, 0.5), made(1, 0.9), made(2, 0.1)], [made(1, 0.8), made(0, 0.3)], clean)
    assert found is not None
    assert found.values == pytest.approx((0.2, 0.1))
