import pytest

from experiments.study.results import Result
from experiments.study.worst_case import bounded_by, comparable, same_privacy
from tests.experiments.study.made_up import experiment, result

PLAIN = {("fp32", "clean"): 0.8, ("fp32", "white-box"): 0.2, ("fp32", "transfer", "non-private"): 0.5}
ALL = {**PLAIN, ("fp32", "all"): 0.15}


def worst_cases(results: list[Result], target: str = "fp32") -> list[float | None]:
    return [one.accuracy(target, "all") for one in comparable(results)]


def test_models_that_met_the_same_keep_their_worst_case_image_by_image() -> None:
    private = {("fp32", "white-box"): 0.1, ("fp32", "transfer", "private"): 0.3, ("fp32", "all"): 0.05}
    results = [result(experiment(), 0, ALL), result(experiment(epsilon=7.0), 0, private)]
    assert comparable(results) == results
    assert bounded_by(results, "fp32") == ""


def test_an_adversary_that_one_alone_met_does_not_count() -> None:
    weaker = {("fp32", "transfer", "non-private"): 0.4, ("fp32", "all"): 0.4}
    results = [result(experiment(), 0, ALL), result(experiment(trained=("pgd", 0.2)), 0, weaker)]
    assert worst_cases(results) == [0.5, 0.4]
    told = bounded_by(comparable(results), "fp32")
    assert "transfer (non-private)" in told
    assert "not taken image by image" in told
    assert [one.accuracy("fp32", "white-box") for one in comparable(results)] == [0.2, None]


def test_a_generator_that_one_alone_met_does_not_count() -> None:
    both = {("fp32", "transfer", "private"): 0.1, ("fp32", "transfer", "non-private"): 0.4, ("fp32", "all"): 0.1}
    own = {("fp32", "transfer", "private"): 0.3, ("fp32", "all"): 0.3}
    results = [result(experiment(), 0, both), result(experiment(epsilon=7.0), 0, own)]
    # The generator of the same name, and the one of the same privacy, are both common: 0.1 and 0.4, then 0.3 twice.
    assert worst_cases(results) == [0.1, 0.3]
    third = result(experiment(), 1, {("fp32", "transfer", "non-private"): 0.4, ("fp32", "all"): 0.4})
    assert worst_cases([*results, third]) == [0.4, 0.3, 0.4]


def test_an_insider_of_fp32_is_who_holds_the_deployed_model() -> None:
    int8 = {("int8", "white-box"): 0.25, ("int8", "insider"): 0.3, ("int8", "all"): 0.2}
    fp32 = {("fp32", "white-box"): 0.2, ("fp32", "all"): 0.2}
    results = [result(experiment(), 0, int8 | fp32)]
    assert comparable(results) == results


def test_a_white_box_adversary_with_queries_is_another_than_one_without() -> None:
    int8 = {("int8", "white-box"): 0.25, ("int8", "insider"): 0.3, ("int8", "all"): 0.25}
    queried = {**int8, ("int8", "white-box"): 0.1, ("int8", "query"): 0.1, ("int8", "all"): 0.1}
    results = [result(experiment(), 0, int8), result(experiment(epsilon=7.0), 0, queried)]
    assert worst_cases(results, "int8") == [0.3, 0.3]


def test_without_a_common_adversary_there_is_no_worst_case_and_nobody_is_forgotten() -> None:
    query = {("fp32", "query"): 0.4, ("fp32", "all"): 0.4}
    clean = {("fp32", "clean"): 0.8}
    results = [result(experiment(), 0, ALL), result(experiment(), 1, query), result(experiment(), 2, clean)]
    assert worst_cases(results) == [None, None, None]
    assert worst_cases([results[0], results[2]]) == [0.15, None]


@pytest.mark.parametrize(("epsilon", "name"), [(None, "non-private"), (1.7, "private")])
def test_a_generator_is_called_by_its_privacy(epsilon: float | None, name: str) -> None:
    assert same_privacy(result(experiment(epsilon=epsilon), 0, {}).setting) == name
