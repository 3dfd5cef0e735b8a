from collections.abc import Callable

import pytest

from experiments.study.cost_table import cost_points
from experiments.study.published import cost_table
from experiments.study.results import Result
from experiments.study.tables import to_markdown


def test_costs_are_means_over_repeats_and_sums_over_clients(make_result: Callable[..., Result]) -> None:
    points = cost_points([make_result(repeat=repeat, epsilon=6.9) for repeat in (0, 1)])
    found = {one.where["metric"]: one.estimate for one in points}
    means = {metric: estimate.mean for metric, estimate in found.items() if estimate is not None}
    assert means == pytest.approx({
        "seconds of federation": 41.8, "seconds of evaluation": 22.9, "bytes up": 14_660_000, "epsilon reached": 6.9,
        "bytes of fp32": 9_758_000, "bytes of int8": 2_498_000, "size reduction": 0.744,
    })  # fmt: skip


def test_federations_that_differ_in_what_no_setting_says_are_rows_of_their_own(
    make_result: Callable[..., Result],
) -> None:
    results = [
        make_result(manifest={"seconds": {"federation": float(width)}}, evaluation={}, changes={"model.width": width})
        for width in (8, 64)
    ]
    found = [(one.where["differs in"], one.estimate.mean) for one in cost_points(results) if one.estimate is not None]
    assert found == [("model.width = 8", 8.0), ("model.width = 64", 64.0)]


def test_the_table_says_what_its_seconds_are_worth(make_result: Callable[..., Result]) -> None:
    assert "several cells ran at once" in to_markdown(cost_table([make_result()]))


def test_what_no_cell_knows_is_left_out_and_what_some_know_is_kept(make_result: Callable[..., Result]) -> None:
    bare = make_result(manifest={"seconds": {}, "bytes": {"a": {}}}, evaluation={})
    assert cost_points([bare]) == []
    lengths = [one.estimate.n for one in cost_points([bare, make_result(repeat=1)]) if one.estimate is not None]
    assert set(lengths) == {1}
