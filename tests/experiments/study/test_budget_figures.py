from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from experiments.study.budget_figures import budget_points, draw_budgets, draw_privacies, privacy_points
from experiments.study.results import Result, by_setting, estimate
from experiments.study.sheet import Heading

Study = Callable[..., list[Result]]


def curves(figure: Figure, panel: int, length: int) -> list[list[float]]:
    lines = [list(map(float, line.get_ydata())) for line in figure.axes[panel].lines]  # type: ignore[arg-type]
    return [line for line in lines if len(line) == length]


def test_a_curve_starts_at_clean_accuracy_and_goes_through_every_budget(study_results: Study) -> None:
    budgets = (2 / 255, 8 / 255)
    results = study_results(epsilons=(None,), budgets=budgets, repeats=2)
    figures = dict(draw_budgets(budget_points(results), Heading("t")))
    assert list(figures) == ["", "white-box", "insider", "transfer", "query"]
    groups = {setting.budget: cells for setting, cells in by_setting(results).items()}
    wanted = [estimate(groups[budgets[0]], lambda one: one.accuracy("int8")),
              *(estimate(groups[budget], lambda one: one.accuracy("int8", "all")) for budget in budgets)]  # fmt: skip
    (curve,) = curves(figures[""], 1, 3)
    assert curve == pytest.approx([one.mean for one in wanted if one is not None])


def test_more_settings_than_can_be_told_apart_are_left_to_the_table(study_results: Study) -> None:
    results = study_results(epsilons=(None, 1.7), uses=("adversarial training",), repeats=1)
    (_, figure), *_ = draw_budgets(budget_points(results), Heading("t"))
    assert "16 more settings are in the table only." in [text.get_text() for text in figure.texts]


def test_lines_with_several_budgets_come_first_and_then_the_others_are_left_to_the_table(study_results: Study) -> None:
    results = study_results(epsilons=(1.7,), uses=("adversarial training",), repeats=1)
    swept = study_results(epsilons=(7.0,), budgets=(2 / 255, 8 / 255), repeats=1)
    (_, figure), *_ = draw_budgets(budget_points(results + swept), Heading("t"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ε = 7"]
    assert "12 more settings are in the table only." in [text.get_text() for text in figure.texts]


def test_no_privacy_stands_at_the_right_and_no_line_leads_there(study_results: Study) -> None:
    points = privacy_points(study_results(epsilons=(None, 1.7, 7.0), uses=("none", "adversarial training"), repeats=2))
    assert {one.where["use"] for one in points} == {"none"}
    [(_, figure)] = draw_privacies(points, Heading("t"))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1.7", "7", "none"]
    longest = max(len(list(line.get_xdata())) for line in figure.axes[0].lines)  # type: ignore[arg-type]
    assert longest == 2
    assert len(figure.axes) == 6
