from collections.abc import Callable
from dataclasses import replace

import pytest

from experiments.study.points import at, known
from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.study.share_figures import draw_loss, draw_shares, loss_points, share_points
from experiments.study.sheet import Heading
from server.measures import measure

Study = Callable[..., list[Result]]
PLAIN = Setting("CIFAR-10", "ResNet-9", 1.7, "none", None, None, 8 / 255)
TRAINED = replace(PLAIN, use="adversarial training", attack="pgd", share=0.2)
ROWS = {("int8", "clean"): 0.8, ("int8", "transfer", "private", "worst"): 0.5,
        ("int8", "transfer", "non-private", "worst"): 0.1}  # fmt: skip


def test_loss_is_paired_within_each_cell_and_from_the_generator_of_the_targets_privacy(
    make_result: Callable[..., Result],
) -> None:
    rows = {**ROWS, ("fp32", "clean"): 0.9, ("fp32", "transfer", "private", "worst"): 0.8}
    found = known(at(loss_points([make_result(TRAINED, accuracies=rows)]), target="int8"))
    assert [estimate.mean for _, estimate in found] == pytest.approx([0.3])
    assert found[0][0].where["generator"] == "same privacy"


def test_loss_is_of_the_attacked_images_alone(make_result: Callable[..., Result]) -> None:
    # 60 of 200 attacked images are right before and 40 after; of all 1000 test images 80 % are right.
    cell = make_result(TRAINED, accuracies={})
    rows = [
        measure("int8", "clean", "none", "accuracy", 0.8, 1000),
        measure("int8", "transfer", "worst", "accuracy", 0.2, 200, generator="private"),
        measure("int8", "transfer", "worst", "attack_success", 1 / 3, 60, generator="private"),
    ]
    points = loss_points([replace(cell, measures=tuple(rows))])
    [(_, estimate)] = known(points)
    assert estimate.mean == pytest.approx(0.1)
    [(_, figure)] = draw_loss(points, Heading("t"))
    assert any("both on the attacked images" in text.get_text() for text in figure.texts)


def test_where_no_attacked_image_was_right_before_there_is_nothing_to_lose(make_result: Callable[..., Result]) -> None:
    rows = [
        measure("int8", "clean", "none", "accuracy", 0.1, 1000),
        measure("int8", "transfer", "worst", "accuracy", 0.0, 200, generator="private"),
    ]
    cell = replace(make_result(TRAINED, accuracies={}), measures=tuple(rows))
    assert [estimate.mean for _, estimate in known(loss_points([cell]))] == [0.0]


def test_the_worst_generator_counts_where_one_of_the_same_privacy_is_not_everywhere(
    make_result: Callable[..., Result],
) -> None:
    found = known(loss_points([make_result(TRAINED, accuracies={("int8", "clean"): 0.8, ("int8", "transfer"): 0.2})]))
    assert [(one.where["generator"], estimate.mean) for one, estimate in found] == [("", pytest.approx(0.6))]


def test_the_baseline_is_as_private_as_what_it_is_compared_with(study_results: Study) -> None:
    results = study_results(epsilons=(None, 1.7, 7.0)) + study_results(epsilons=(1.7,), uses=("adversarial training",))
    assert {one.where["epsilon"] for one in at(loss_points(results), use="none")} == {1.7}


def test_a_share_that_others_have_is_missed(study_results: Study) -> None:
    results = study_results(epsilons=(3.4,), uses=("none", "train-time attack"), shares=(0.1, 0.2))
    points = share_points([one for one in results if (one.setting.attack, one.setting.share) != ("pgd", 0.2)])
    holes = {(one.where["training attack"], one.where["share"]) for one in points if one.estimate is None}
    assert holes == {("pgd", 0.2)}


def test_an_attack_that_was_planned_for_one_privacy_only_is_not_missed_for_the_other(study_results: Study) -> None:
    results = study_results(epsilons=(None,), uses=("train-time attack",), attacks=("pgd",))
    results += study_results(epsilons=(3.4,), uses=("train-time attack",))
    assert not [one for one in share_points(results) if one.estimate is None]


def test_a_line_is_broken_where_a_share_was_not_measured(study_results: Study) -> None:
    results = study_results(epsilons=(1.7,), uses=("adversarial training",), attacks=("pgd",))
    results += study_results(epsilons=(1.7,), uses=("adversarial training",), attacks=("fgsm",), shares=(0.1, 0.3))
    [(_, figure)] = draw_loss(loss_points(results), Heading("t"))
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines if len(list(line.get_ydata())) == 4]  # type: ignore[arg-type]
    assert sorted(sum(value != value for value in line) for line in lines) == [0, 2]


def test_clean_and_transfer_come_first_and_every_other_threat_has_a_figure(study_results: Study) -> None:
    results = study_results(epsilons=(None, 3.4), uses=("none", "train-time attack"), attacks=("pgd",), repeats=2)
    figures = dict(draw_shares(share_points(results), Heading("t")))
    assert list(figures) == ["", "white-box", "insider", "query", "all"]
    assert len(figures[""].axes) == 4
    assert len(figures["query"].axes) == 2
