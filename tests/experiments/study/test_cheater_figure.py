from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from experiments.study.cheater_figure import cheater_points, draw_cheaters
from experiments.study.points import at, seen
from experiments.study.results import Result
from experiments.study.sheet import Heading
from server.measures import Measure
from tests.experiments.study.made_up_cheaters import METHODS, cell, cells, whole


def attacked(one: Result, target: str, value: float) -> Result:
    row = Measure(target, "white-box", "worst", "", 1 / 255, None, None, None, "accuracy", value, 50, None, None)
    return replace(one, measures=(*one.measures, row))


def marks_in(axes: Axes) -> list[Line2D]:
    """Return the large marks: neither single repeats nor whiskers' ends."""
    return [line for line in axes.lines if line.get_markersize() > 4 and line.get_marker() not in ("None", "")]


def test_the_lowest_and_the_highest_repeat_stand_beside_the_mean(tmp_path: Path) -> None:
    results = [cell(tmp_path, "FedAvg", score, repeat=repeat) for repeat, score in enumerate((0.5, 0.9, 0.7))]
    points = cheater_points(results)
    found = {metric: at(points, metric=metric)[0].estimate for metric in seen(points, "metric")}
    means = {metric: estimate.mean for metric, estimate in found.items() if estimate is not None}
    assert means == pytest.approx({"accuracy": 0.7, "lowest accuracy": 0.5, "highest accuracy": 0.9})


def test_a_row_an_attack_and_only_the_protocols_that_met_it(tmp_path: Path) -> None:
    [(suffix, figure)] = draw_cheaters(cheater_points(whole(tmp_path)), Heading("t"))
    assert suffix == ""
    [axes] = figure.axes
    rows = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert rows == [
        "nobody", "3 × label-flipper", "5 × label-flipper", "server: wrong-mean ×1", "2 × sign-flip ×10",
        "wrong-sum and equivocation",
        "wrong-sum + label-flipper and equivocation + label-flipper and label-flipper",
        "wrong-sum and equivocation and 3 × label-flipper",
    ]  # fmt: skip
    marks = marks_in(axes)
    assert len(marks) == 3 * len(METHODS) + 2 + 2 + 2 + 2 + 2


def test_each_mark_lies_in_its_row_at_its_score_and_its_whisker_ends_at_repeats(tmp_path: Path) -> None:
    results = [*cells(tmp_path, "FedAvg", 0.8), *cells(tmp_path, "FedAvg", 0.3, server="wrong-mean")]
    [(_, figure)] = draw_cheaters(cheater_points(results), Heading("t"))
    [axes] = figure.axes
    marks = marks_in(axes)
    places = {round(float(line.get_xdata()[0]), 6): float(line.get_ydata()[0]) for line in marks}
    assert places == pytest.approx(dict(zip((0.8, 0.3), axes.get_yticks(), strict=True)))
    ends = {round(float(x), 6) for bar in axes.collections for part in bar.get_segments() for x, _ in part}
    assert ends == {0.799, 0.801, 0.299, 0.301}


def test_what_is_left_under_attack_has_a_panel_if_it_was_measured(tmp_path: Path) -> None:
    one = attacked(attacked(cell(tmp_path, "secure, rsa", 0.8), "fp32", 0.4), "int8", 0.3)
    [(_, figure)] = draw_cheaters(cheater_points([one]), Heading("t"))
    assert len(figure.axes) == 2
    [mark] = marks_in(figure.axes[1])
    assert list(mark.get_xdata()) == [0.3]
    left = {target: at(cheater_points([one]), target=target, threat="white-box") for target in ("fp32", "int8")}
    assert [points[0].estimate.mean for points in left.values() if points[0].estimate] == [0.4, 0.3]


def test_every_row_is_high_enough_for_its_name(tmp_path: Path) -> None:
    results = [
        cell(tmp_path, "secure, rsa", 0.8),
        cell(tmp_path, "secure, rsa", 0.8, cheaters=("wrong-sum", "equivocation", "false-complaints"), poisoners=3),
    ]
    [(_, figure)] = draw_cheaters(cheater_points(results), Heading("t"))
    [axes] = figure.axes
    inches = axes.get_position().height * figure.get_figheight()
    lines = [label.get_text().count("\n") + 1 for label in axes.get_yticklabels()]
    assert max(lines) > 1
    assert inches >= sum(lines) * 8.5 / 72
