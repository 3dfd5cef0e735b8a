import pytest

from experiments.study.evidence import (
    attacked_groups,
    clean_groups,
    flagged,
    label,
    minus,
    own_generator,
    success,
    under,
    unique,
)
from experiments.study.trial import queries_of, trial_of
from tests.experiments.study.made_up import experiment, result


def test_differences_are_taken_over_the_repeats_of_both() -> None:
    assert minus({0: 0.5, 1: 0.7, 3: 0.1}, {1: 0.2, 0: 0.1, 2: 0.9}) == pytest.approx({0: 0.4, 1: 0.5})


@pytest.mark.parametrize(("epsilon", "wanted"), [(None, "non-private"), (1.7, "private")])
def test_a_transfer_attack_comes_from_a_generator_as_private_as_the_target(epsilon: float | None, wanted: str) -> None:
    both = {("fp32", "transfer", "private"): 0.1, ("fp32", "transfer", "non-private"): 0.4}
    cell = result(experiment(epsilon=epsilon), 0, both)
    assert own_generator(cell, "transfer") == wanted
    assert under([cell], "fp32", "transfer") == {0: both["fp32", "transfer", wanted]}


def test_where_no_generator_is_so_called_the_worst_of_all_counts() -> None:
    cell = result(experiment(), 0, {("fp32", "transfer", "other"): 0.3, ("fp32", "transfer", "third"): 0.2})
    assert own_generator(cell, "transfer") is None
    assert under([cell], "fp32", "transfer") == {0: 0.2}
    assert own_generator(cell, "white-box") is None


def test_success_is_that_of_the_strongest_attack() -> None:
    cell = result(experiment(), 0, {("int8", "white-box", "", "attack_success"): 0.8})
    assert success([cell], "int8", "white-box") == {0: 0.8}
    assert success([cell], "fp32", "white-box") == {}


def test_only_the_papers_budget_counts_under_attack_and_every_budget_for_clean_scores() -> None:
    cells = [result(experiment(budget=budget / 255), 0, {("fp32", "clean"): 0.5}) for budget in (2, 8, 16)]
    assert len(attacked_groups(cells)) == 1
    ((_, group),) = clean_groups(cells).items()
    assert len(group) == 3


def test_evaluations_that_attack_less_hard_are_another_trial() -> None:
    hard = experiment()
    soft = hard.change({"evaluation.steps": 3})
    cells = [result(one, 0, {("fp32", "clean"): 0.5}) for one in (hard, soft)]
    assert len(attacked_groups(cells)) == 2
    assert trial_of(hard) == trial_of(hard.change({"seed": 9, "evaluation.threats": ["query"]}))


def test_what_only_queries_depend_on_makes_no_other_trial_and_the_cell_with_most_threats_counts() -> None:
    plain = experiment(threats=("white-box",))
    queried = plain.change({"evaluation.threats": ["white-box", "query"], "evaluation.query_records": 40})
    cells = [
        result(plain, 0, {("int8", "white-box"): 0.3}),
        result(queried, 0, {("int8", "white-box"): 0.2}, study="other"),
    ]
    ((_, group),) = attacked_groups(cells).items()
    assert under(group, "int8", "white-box") == {0: 0.2}
    assert queries_of(plain) is None
    assert queries_of(queried) != queries_of(queried.change({"evaluation.queries": 9}))


def test_labels_say_what_a_reader_must_know() -> None:
    setting = result(experiment(epsilon=1.7, trained=("pgd", 0.2)), 0, {}).setting
    assert label(setting, "int8") == "CIFAR-10, ResNet-9, ε = 1.7, 20 % PGD adversarial training, int8"
    assert label(result(experiment(), 0, {}).setting) == "CIFAR-10, ResNet-9, non-private"


def test_flags_count_cells_of_that_target_once() -> None:
    doubt = ("unreliable", "int8: gradients vanish")
    first = result(experiment(), 0, {}, warnings=(doubt, ("note", "int8: not tried: query")))
    second = result(experiment(), 1, {}, warnings=(("unreliable", "fp32: gradients vanish"),))
    assert flagged([first, first, second], "int8") == (1, ("int8: gradients vanish",))
    assert len(unique([first, first, second])) == 2
