from experiments.study.alike import confused, described, told_apart
from tests.experiments.study.made_up import experiment, result


def test_repeats_are_one_cell_and_descriptions_that_differ_are_two() -> None:
    results = [
        result(experiment(seed=seed).change({"model.width": width}), repeat, {})
        for width in (8, 16)
        for repeat, seed in ((1, 2), (0, 1))
    ]
    groups = told_apart(results, lambda one: one.setting)
    assert [group.apart for group in groups] == ["model.width = 8", "model.width = 16"]
    assert [[one.cell.repeat for one in group.results] for group in groups] == [[0, 1], [0, 1]]


def test_what_is_seen_already_is_not_said_again() -> None:
    results = [result(experiment(epsilon=epsilon), 0, {}) for epsilon in (None, 7.0)]
    assert [group.apart for group in told_apart(results, lambda one: one.setting)] == ["", ""]


def test_a_key_that_one_has_alone_is_told_for_both() -> None:
    results = [result(experiment(trained=trained), 0, {}) for trained in (None, ("pgd", 0.2))]
    plain, trained = told_apart(results, lambda one: 0)
    assert "no clients.0.adversarial_training.attack" in plain.apart
    assert "clients.0.adversarial_training.attack = pgd" in trained.apart


def test_attacks_tell_cells_apart_unless_federations_alone_are_asked_for() -> None:
    results = [result(experiment(threats=threats), 0, {}) for threats in (("query",), ("transfer",))]
    assert len(told_apart(results, lambda one: one.setting)) == 2
    assert len(told_apart(results, lambda one: one.setting, evaluation=False)) == 1


def test_seeds_of_repeats_and_of_their_generators_are_not_a_difference() -> None:
    cells = [
        result(
            experiment(seed=seed, threats=("transfer",)).change(
                {"evaluation.generators": [{"name": "private", "changes": {"seed": seed + 1}}], "evaluation.seed": 3}
            ),
            0,
            {},
        )
        for seed in (1, 2)
    ]
    assert described(cells[0]) == described(cells[1])


def test_cells_are_confused_by_what_changes_their_numbers_alone() -> None:
    plain = experiment()
    same = [result(plain, 0, {}), result(plain.change({"evaluation.threats": ["query"]}), 0, {}, study="other")]
    assert confused(same) == 0
    assert confused([*same, result(plain.change({"seed": 2}), 1, {})]) == 0
    assert confused([*same, result(plain.change({"federation.rounds": 9}), 0, {}, study="third")]) == 1
    assert confused([*same, result(plain.change({"evaluation.steps": 3}), 0, {})]) == 1
    more = plain.change({"evaluation.threats": ["query"], "evaluation.queries": 9})
    assert confused([*same, result(more, 0, {})]) == 1
