from collections.abc import Callable
from dataclasses import replace

from matplotlib.figure import Figure

from experiments.study.heat_map import draw_heat_map, heat_points
from experiments.study.points import at, known
from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.study.sheet import Heading

PLAIN = Setting("CIFAR-10", "ResNet-9", None, "none", None, None, 8 / 255)
ROWS = {
    ("fp32", "clean"): 0.9, ("int8", "clean"): 0.8,
    ("fp32", "white-box", "fp32", "pgd"): 0.2, ("fp32", "white-box", "fp32", "fgsm"): 0.3,
    ("int8", "white-box", "fp32", "pgd"): 0.5, ("int8", "white-box", "twin", "pgd"): 0.4,
    ("int8", "white-box", "fp32", "fgsm"): 0.1,
    ("fp32", "all"): 0.15, ("int8", "all"): 0.05,
}  # fmt: skip


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_strongest_source_of_an_attack_counts(make_result: Callable[..., Result]) -> None:
    points = heat_points([make_result(PLAIN, accuracies=ROWS)])
    found = known(at(points, target="int8", threat="white-box", attack="pgd"))
    assert [estimate.mean for _, estimate in found] == [0.4]


def test_worst_cases_of_columns_and_rows_are_marked(make_result: Callable[..., Result]) -> None:
    [(_, figure)] = draw_heat_map(heat_points([make_result(PLAIN, accuracies=ROWS)]), Heading("t"))
    axes = figure.axes[0]
    lines = [label.get_text() for label in axes.get_yticklabels()]
    assert lines == ["No adversary", "White-box: PGD", "White-box: FGSM", "All together"]
    frames = {(round(one.get_x() + 0.46), round(one.get_y() + 0.455)) for one in axes.patches if one.get_zorder() == 4}  # type: ignore[attr-defined]
    assert frames == {(0, 1), (1, 2)}  # fp32: PGD; int8: FGSM; all together is no single attack
    marks = [line for line in axes.lines if line.get_marker() == "v"]
    triangles = {(round(float(one.get_xdata()[0]) - 0.36), round(float(one.get_ydata()[0]) + 0.28)) for one in marks}  # type: ignore[index, arg-type]
    assert triangles == {(1, 0), (0, 1), (1, 2), (1, 3)}
    assert {"90.0", "20.0", "10.0", "5.0"} <= set(texts(figure))


def test_a_federation_with_a_malicious_client_is_no_defence(make_result: Callable[..., Result]) -> None:
    attacked = replace(PLAIN, use="train-time attack", attack="pgd", share=0.2)
    assert heat_points([make_result(attacked, accuracies=ROWS)]) == []


def test_an_insider_of_fp32_is_said_to_be_white_box_and_not_missed(make_result: Callable[..., Result]) -> None:
    rows = {**ROWS, ("int8", "insider", "fp32", "pgd"): 0.5}
    [(_, figure)] = draw_heat_map(heat_points([make_result(PLAIN, accuracies=rows)]), Heading("t"))
    assert texts(figure).count("as white-box") == 1
    assert not any("Not measured: non-private" in text.get_text() for text in figure.texts)


def test_an_interval_stands_in_its_cell(make_result: Callable[..., Result]) -> None:
    results = [make_result(PLAIN, repeat=k, accuracies={("fp32", "clean"): v}) for k, v in enumerate((0.5, 0.52, 0.54))]
    [(_, figure)] = draw_heat_map(heat_points(results), Heading("t"))
    assert {"52.0", "47–57"} <= set(texts(figure))
