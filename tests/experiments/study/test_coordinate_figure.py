from collections.abc import Callable

import pytest

from experiments.study.coordinate_figure import PAGE, coordinate_points, draw_coordinates
from experiments.study.points import known
from experiments.study.results import Result
from experiments.study.sheet import Heading
from experiments.study.tables import Table, to_csv, to_latex, to_markdown


def rows(make_result: Callable[..., Result], count: int) -> list[Result]:
    return [
        make_result(
            repeat=repeat, coordinates={"rounds": str(k), "target": "x"}, accuracies={("int8", "clean"): k / count}
        )
        for k in range(count)
        for repeat in range(2)
    ]


def test_repeats_of_one_place_are_one_point(make_result: Callable[..., Result]) -> None:
    points = known(coordinate_points(rows(make_result, 3)))
    assert [(one.where["axis rounds"], estimate.mean, estimate.n) for one, estimate in points] == [
        ("0", 0, 2), ("1", 1 / 3, 2), ("2", 2 / 3, 2),
    ]  # fmt: skip
    assert {one.where["axis target"] for one, _ in points} == {"x"}


def test_a_large_grid_goes_on_in_the_next_sheet(make_result: Callable[..., Result]) -> None:
    figures = draw_coordinates(coordinate_points(rows(make_result, PAGE + 1)), Heading("t"))
    assert [suffix for suffix, _ in figures] == ["", "2"]
    labels = [[label.get_text() for label in figure.axes[0].get_yticklabels()] for _, figure in figures]
    assert labels == [[f"{k}, x" for k in range(PAGE)], [f"{PAGE}, x"]]


def test_grids_with_different_axes_name_them_in_every_row(make_result: Callable[..., Result]) -> None:
    results = [make_result(coordinates={"a": "1"}), make_result(coordinates={"b": "2"}), make_result(coordinates={})]
    [(_, figure)] = draw_coordinates(coordinate_points(results), Heading("t"))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a: 1", "b: 2", "the only cell"]


def test_cells_of_equal_labels_are_told_apart_by_their_descriptions(make_result: Callable[..., Result]) -> None:
    results = [
        make_result(repeat=repeat, accuracies={("int8", "clean"): width / 16}, changes={"model.width": width})
        for width in (8, 16)
        for repeat in (0, 1)
    ]
    points = known(coordinate_points(results))
    assert [(one.where["differs in"], estimate.values) for one, estimate in points] == [
        ("model.width = 8", (0.5, 0.5)), ("model.width = 16", (1.0, 1.0)),
    ]  # fmt: skip


def test_studies_with_equal_axes_have_rows_of_their_own(make_result: Callable[..., Result]) -> None:
    results = [make_result(coordinates={"a": "1"}, study=study) for study in ("one", "other")]
    assert [one.where["study"] for one, _ in known(coordinate_points(results))] == ["one", "other"]


@pytest.mark.parametrize("name", ["epsilon", "share", "budget", "mean", "low", "values", "study", "differs in"])
def test_an_axis_may_be_called_like_any_column(make_result: Callable[..., Result], name: str) -> None:
    results = [make_result(coordinates={name: label}, accuracies={("int8", "clean"): 0.5}) for label in ("1", "x")]
    points = coordinate_points(results)
    [(_, figure)] = draw_coordinates(points, Heading("t"))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1", "x"]
    table = Table("t", tuple(points), ("threat",))
    head = to_csv(table).splitlines()[0].split(",")
    assert len(set(head)) == len(head)
    assert f"axis {name}" in to_markdown(table)
    assert to_latex(table)
