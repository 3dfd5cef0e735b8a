from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.intervals import student
from experiments.study.points import (
    at,
    concerns,
    families,
    in_order,
    known,
    privacies,
    scored,
    seen,
    taken,
    threats_measured,
    words,
)
from experiments.study.results import Result
from experiments.study.setting import Setting

Make = Callable[..., Result]
SETTING = Setting("CIFAR-10", "ResNet-9", None, "none", None, None, 8 / 255)


def repeats(make_result: Make, values: list[float]) -> list[Result]:
    return [make_result(SETTING, repeat=k, accuracies={("int8", "clean"): v}) for k, v in enumerate(values)]


def test_a_point_is_the_mean_over_repeats_with_students_interval(make_result: Make) -> None:
    one = scored(SETTING, repeats(make_result, [0.4, 0.5, 0.45]), "int8", "clean")
    assert one.estimate is not None
    assert one.estimate.mean == pytest.approx(0.45)
    assert (one.estimate.low, one.estimate.high) == student([0.4, 0.5, 0.45])
    assert (one.estimate.n, one.images) == (3, (500,))


def test_an_interval_is_cut_where_accuracy_ends(make_result: Make) -> None:
    one = scored(SETTING, repeats(make_result, [0.9, 1.0]), "int8", "clean").estimate
    assert one is not None
    assert one.high == 1.0
    assert one.low == (student([0.9, 1.0]) or (0, 0))[0]


def test_what_was_not_measured_has_no_estimate_and_no_images(make_result: Make) -> None:
    one = scored(SETTING, repeats(make_result, [0.4]), "fp32", "white-box")
    assert (one.estimate, one.images) == (None, ())
    assert known([one]) == []


def test_transfer_is_that_of_the_generator_or_the_worst_of_all(make_result: Make) -> None:
    rows = {("int8", "transfer", "private", "worst"): 0.1, ("int8", "transfer", "non-private", "worst"): 0.3}
    result = make_result(SETTING, accuracies={("int8", "clean"): 0.8, **rows})
    assert taken(result, "int8", "transfer", "non-private") == (0.3, 200)
    assert taken(result, "int8", "transfer") == (0.1, 200)
    success = taken(result, "int8", "transfer", "private", "attack success")
    assert success == (pytest.approx(1 - 0.1 / 0.8), 160)


@given(st.lists(st.sampled_from(["clean", "all", "query", "white-box", "insider", "transfer", "odd", "rare"])))
def test_threats_keep_the_order_of_a_report(names: list[str]) -> None:
    found = in_order(names)
    assert sorted(found) == sorted(set(names))
    wanted = ["clean", "white-box", "insider", "transfer", "query", "odd", "rare", "all"]
    assert found == [one for one in wanted if one in names]


def test_privacy_goes_from_none_to_the_strongest() -> None:
    assert privacies([1.7, None, 7.0, 3.4, None]) == [None, 7.0, 3.4, 1.7]


def test_an_insider_of_fp32_is_a_white_box_adversary() -> None:
    assert [concerns("insider", "fp32"), concerns("insider", "int8"), concerns("white-box", "fp32")] == [0, 1, 1]


def test_points_are_found_by_any_column(study_results: Callable[..., list[Result]]) -> None:
    results = study_results(uses=("train-time attack",), attacks=("fgsm", "pgd"), shares=(0.1,), repeats=1)
    points = [scored(one.setting, [one], "int8", "clean") for one in results]
    assert seen(points, "training attack") == ["fgsm", "pgd"]
    assert len(at(points, training_attack="pgd", epsilon=1.7)) == 1
    assert threats_measured(results) == ["white-box", "insider", "transfer", "query", "all"]


def test_families_are_named_by_what_differs_and_never_alike(make_result: Make) -> None:
    data = ["CIFAR-10", "Chest X-rays", "chest/x-rays", "ÄÖ"]
    results = [make_result(replace(SETTING, data=name)) for name in [*data, "CIFAR-10"]]
    found = families(results, ("data", "model"))
    assert [one.suffix for one in found] == ["cifar-10", "chest-x-rays", "chest-x-rays-2", ""]
    assert [len(one.results) for one in found] == [2, 1, 1, 1]
    assert found[1].subtitle == "Chest X-rays, ResNet-9"
    assert [one.suffix for one in families(results[:1], ("data", "budget"))] == [""]


def test_values_are_written_for_people() -> None:
    assert words("epsilon", None) == "non-private"
    assert words("epsilon", 3.4) == "ε = 3.4"
    assert words("share", 0.123) == "12.3 %"
    assert words("budget", 8 / 255) == "8/255"
    assert words("training attack", "pgd") == "PGD"
    assert words("training attack", None) == ""
