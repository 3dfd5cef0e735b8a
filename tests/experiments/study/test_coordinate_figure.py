from collections.abc import Callable

from experiments.study.coordinate_figure import PAGE, coordinate_points, draw_coordinates
from experiments.study.points import known
from experiments.study.results import Result
from experiments.study.sheet import Heading


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
    assert [(one.where["rounds"], estimate.mean, estimate.n) for one, estimate in points] == [
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
