from collections.abc import Callable
from dataclasses import replace

import pytest

from experiments.study.points import at, known
from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.study.sheet import Heading
from experiments.study.transfer_figures import draw_matrix, draw_transfer, matrix_points, transfer_points

OPEN = Setting("CIFAR-10", "ResNet-9", None, "none", None, None, 8 / 255)
PRIVATE = replace(OPEN, epsilon=7.0)
ROWS = {("int8", "clean"): 0.8, ("int8", "transfer", "private", "worst"): 0.1,
        ("int8", "transfer", "non-private", "worst"): 0.3}  # fmt: skip


def both(make_result: Callable[..., Result]) -> list[Result]:
    return [make_result(setting, accuracies=ROWS) for setting in (OPEN, PRIVATE)]


def test_each_target_is_attacked_by_the_generator_of_its_own_privacy(make_result: Callable[..., Result]) -> None:
    points = transfer_points(both(make_result))
    means = {one.where["epsilon"]: found.mean for one, found in known(at(points, threat="transfer"))}
    assert means == {None: 0.3, 7.0: 0.1}


def test_settings_with_adversarial_data_are_left_out(make_result: Callable[..., Result]) -> None:
    trained = make_result(replace(OPEN, use="adversarial training", attack="pgd", share=0.2))
    assert transfer_points([trained]) == matrix_points([trained]) == []


def test_bars_are_as_high_as_the_means(make_result: Callable[..., Result]) -> None:
    [(_, figure)] = draw_transfer(transfer_points(both(make_result)), Heading("t"))
    heights = sorted(bar.get_height() for bar in figure.axes[0].patches)  # type: ignore[attr-defined]
    assert heights == pytest.approx([0.1, 0.3, 0.8, 0.8])


def test_the_matrix_has_every_generator_on_every_target_and_success_among_right_images(
    make_result: Callable[..., Result],
) -> None:
    points = matrix_points(both(make_result))
    found = {
        (one.where["epsilon"], one.where["generator"], one.where["metric"]): estimate.mean
        for one, estimate in known(at(points, target="int8"))
    }
    for epsilon in (None, 7.0):
        assert found[epsilon, "", "accuracy"] == 0.8
        assert found[epsilon, "private", "accuracy"] == 0.1
        assert found[epsilon, "non-private", "attack success"] == pytest.approx(1 - 0.3 / 0.8)
    [(_, figure)] = draw_matrix(points, Heading("t"))
    counts = [len(axes.patches) for axes in figure.axes]
    assert counts == [0, 6, 0, 4]  # fp32 and int8: accuracy; then success


def test_the_side_that_is_not_there_is_named(make_result: Callable[..., Result]) -> None:
    for setting, other in ((OPEN, "private targets"), (PRIVATE, "non-private targets")):
        for points, draw in ((transfer_points, draw_transfer), (matrix_points, draw_matrix)):
            [(_, figure)] = draw(points([make_result(setting, accuracies=ROWS)]), Heading("t"))
            assert f"Not measured: {other}." in [text.get_text() for text in figure.texts]
