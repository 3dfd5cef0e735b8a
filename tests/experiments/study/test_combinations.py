from collections.abc import Mapping
from typing import Any

import pytest

from experiments.study.combinations import Combination, best, combinations, effects, scenarios, threats_of, together
from experiments.study.results import Result
from tests.experiments.study.made_up import experiment, result

WOBBLE = (-0.01, 0.0, 0.01)


def cells(measures: Mapping[tuple[str, ...], float], repeats: int = 3, **described: Any) -> list[Result]:
    seconds = described.pop("seconds", 40.0)
    coordinates = described.pop("coordinates", None)
    changes = described.pop("changes", {})
    return [
        result(
            experiment(seed=1 + repeat, **described).change(changes),
            repeat,
            {key: value + WOBBLE[repeat] for key, value in measures.items()},
            seconds=seconds,
            coordinates=coordinates,
        )
        for repeat in range(repeats)
    ]


def only(results: list[Result]) -> tuple[Combination, ...]:
    (members,) = scenarios(combinations(results)).values()
    return members


FP32 = {("fp32", "clean"): 0.7, ("fp32", "all"): 0.1}


def test_a_winner_whose_interval_touches_no_other_is_clearly_best() -> None:
    members = only(cells(FP32) + cells({("fp32", "clean"): 0.6, ("fp32", "all"): 0.5}, trained=("pgd", 0.2)))
    found = best(members, "all")
    assert found is not None
    assert found.clear
    assert found.winner.label == "trained on 20 % PGD"
    assert found.winner.trained
    assert not found.winner.private
    assert found.accuracy.mean == pytest.approx(0.5)


def test_overlapping_intervals_are_a_tie() -> None:
    members = only(cells(FP32) + cells({("fp32", "clean"): 0.6, ("fp32", "all"): 0.13}, epsilon=7.0))
    found = best(members, "all")
    assert found is not None
    assert not found.clear
    assert found.winner.label == "DP (ε = 7)"
    assert [one.label for one in found.rivals] == ["no defence"]


def test_single_repeats_and_lone_combinations_are_never_clearly_best() -> None:
    apart = cells(FP32, repeats=1) + cells({("fp32", "clean"): 0.6, ("fp32", "all"): 0.9}, repeats=1, epsilon=7.0)
    found = best(only(apart), "all")
    assert found is not None
    assert not found.clear
    assert len(found.rivals) == 1
    alone = best(only(cells(FP32)), "all")
    assert alone is not None
    assert not alone.clear
    assert best(only(cells(FP32)), "query") is None


def test_against_the_insider_fp32_is_who_holds_the_deployed_model() -> None:
    measures = {("fp32", "clean"): 0.7, ("int8", "clean"): 0.7, ("fp32", "white-box"): 0.3, ("int8", "insider"): 0.4}
    plain, compressed = only(cells(measures))
    assert plain.accuracy("insider") == plain.accuracy("white-box")
    assert compressed.accuracy("insider")[1] == pytest.approx(0.4)
    assert threats_of([plain]) == ("white-box", "insider")


def test_a_defence_is_compared_with_what_differs_in_it_alone() -> None:
    both = {("fp32", "clean"): 0.7, ("int8", "clean"): 0.69}
    results = [
        *cells(both),
        *cells({("fp32", "clean"): 0.6, ("int8", "clean"): 0.59}, epsilon=7.0, seconds=80.0),
        *cells({("fp32", "clean"): 0.5, ("int8", "clean"): 0.49}, epsilon=7.0, trained=("pgd", 0.2)),
    ]
    found = {effect.defence: effect for effect in effects(only(results))}
    assert {name: len(effect.pairs) for name, effect in found.items()} == {
        "int8": 3,
        "DP-SGD, ε = 7": 2,
        "20 % PGD adversarial training": 2,
    }
    changes = {name: effect.change(lambda one: one.accuracy("clean")) for name, effect in found.items()}
    assert {name: round(change.mean, 6) for name, change in changes.items() if change} == {
        "int8": -0.01,
        "DP-SGD, ε = 7": -0.1,
        "20 % PGD adversarial training": -0.1,
    }
    dearer = found["DP-SGD, ε = 7"].ratio(Combination.seconds)
    assert dearer is not None
    assert dearer.mean == pytest.approx(2.0)
    smaller = found["int8"].ratio(Combination.size)
    assert smaller is not None
    assert smaller.mean == pytest.approx(45 / 160)


def test_axes_that_are_no_defence_part_pairs_and_name_combinations() -> None:
    results = [
        cell
        for rounds in (5, 10)
        for epsilon in (None, 7.0)
        for cell in cells(
            {("fp32", "clean"): 0.7 + rounds / 100 - (0.1 if epsilon else 0)},
            epsilon=epsilon,
            coordinates={"rounds": str(rounds), "privacy": str(epsilon)},
            changes={"federation.rounds": rounds},
        )
    ]
    members = only(results)
    assert [one.label for one in members] == [
        "no defence, rounds = 5",
        "DP (ε = 7), rounds = 5",
        "no defence, rounds = 10",
        "DP (ε = 7), rounds = 10",
    ]
    (effect,) = effects(members)
    assert all(
        one.results[0].cell.coordinates["rounds"] == other.results[0].cell.coordinates["rounds"]
        for one, other in effect.pairs
    )
    assert len(effect.pairs) == 2
    change = effect.change(lambda one: one.accuracy("clean"))
    assert change is not None
    assert change.mean == pytest.approx(-0.1)


def test_one_federation_in_two_studies_is_one_combination() -> None:
    clean = cells({("fp32", "clean"): 0.7}, threats=("query",), coordinates={"a": "1"})
    attacked = cells({("fp32", "clean"): 0.7, ("fp32", "white-box"): 0.2}, coordinates={"b": "2"})
    (one,) = only(clean + attacked)
    assert one.accuracy("white-box") == pytest.approx({0: 0.19, 1: 0.2, 2: 0.21})
    assert one.label == "no defence"


def test_an_attack_on_the_training_is_another_scenario() -> None:
    found = scenarios(combinations(cells(FP32) + cells(FP32, poisoned=("pgd", 0.4)) + cells(FP32, budget=2 / 255)))
    assert [scenario.title() for scenario in found] == [
        "CIFAR-10, ResNet-9, 8/255",
        "CIFAR-10, ResNet-9, 40 % PGD train-time attack, 8/255",
        "CIFAR-10, ResNet-9, 2/255",
    ]


def test_adversarial_training_against_a_poisoner_is_compared_under_the_poisoner() -> None:
    poisoned = cells(FP32, poisoned=("pgd", 0.4))
    both = cells({("fp32", "clean"): 0.8, ("fp32", "all"): 0.3}, poisoned=("pgd", 0.4), trained=("fgsm", 0.2))
    (effect,) = effects(only(poisoned + both))
    assert effect.kind == "adversarial training"
    change = effect.change(lambda one: one.accuracy("all"))
    assert change is not None
    assert change.mean == pytest.approx(0.2)


def test_strengths_and_scenarios_come_together_by_kind() -> None:
    measures = {("fp32", "clean"): 0.7, ("int8", "clean"): 0.7}
    results = cells(measures) + cells(measures, epsilon=7.0) + cells(measures, epsilon=1.7)
    found = [effect for members in scenarios(combinations(results)).values() for effect in effects(members)]
    assert {effect.kind: len(effect.pairs) for effect in together(found)} == {"int8": 3, "DP-SGD": 4}


def test_worst_cases_are_compared_over_adversaries_that_all_met() -> None:
    weak = {("fp32", "clean"): 0.7, ("fp32", "transfer", "non-private"): 0.4, ("fp32", "all"): 0.4}
    strong = {**weak, ("fp32", "transfer", "non-private"): 0.6, ("fp32", "white-box"): 0.1, ("fp32", "all"): 0.1}
    found = best(only(cells(weak) + cells(strong, trained=("pgd", 0.2))), "all")
    assert found is not None
    assert found.winner.label == "trained on 20 % PGD"
    assert found.accuracy.mean == pytest.approx(0.6)
    assert "lowest under transfer" in found.winner.bounded()
    assert only(cells(strong))[0].bounded() == ""


def test_cells_with_queries_are_a_scenario_with_those_without_and_not_with_those_with_others() -> None:
    plain = cells({("fp32", "clean"): 0.7}, threats=("white-box",))
    few, many = (
        cells({("fp32", "clean"): 0.7}, threats=("query",), changes={"evaluation.queries": queries})
        for queries in (10, 100)
    )
    assert [len(members) for members in scenarios(combinations(plain + few)).values()] == [1]
    found = scenarios(combinations(plain + few + many))
    assert [[len(one.results) for one in members] for members in found.values()] == [[6], [3]]
