from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.drawing import styled
from experiments.study.points import Point
from experiments.study.results import Estimate
from experiments.study.sheet import (
    SMALL,
    TEXT,
    Heading,
    counted,
    fitted,
    measured_on,
    missing,
    percent_axis,
    sheet,
    width_of,
    wrapped,
)
from experiments.study.style import Look, marker_key

WORDS = st.lists(st.text("abcXYZ$_ε%", min_size=1, max_size=12), max_size=30)


def point(n: int, *, threat: str = "clean", images: int = 500) -> Point:
    return Point({"threat": threat}, Estimate(0.5, 0.4, 0.6, (0.5,) * n), (images,))


@given(WORDS)
@settings(max_examples=20, deadline=None)
def test_lines_fit_and_lose_no_word(text: list[str]) -> None:
    lines = wrapped(" ".join(text), 2.0, SMALL)
    assert all(width_of(line, SMALL) <= 2.0 for line in lines)
    assert " ".join(lines).replace("\u00a0", " ").split() == text


def test_no_line_ends_between_a_number_and_its_sign() -> None:
    lines = wrapped("x " * 30 + "n = 3 repeats at 95 % " * 5, 1.2, SMALL)
    assert not any(line.endswith(("n", "=", "95")) or line.startswith(("=", "%")) for line in lines)


def test_a_long_name_is_cut_to_its_room() -> None:
    cut = fitted("a" * 300, 1.0, TEXT)
    assert cut.endswith("…")
    assert 0.8 < width_of(cut, TEXT) <= 1.0
    assert fitted("short", 1.0, TEXT) == "short"


def test_a_line_is_as_wide_as_it_is_drawn() -> None:
    figure = Figure(figsize=(6, 1), dpi=200)
    text = "Whiskers: 95 % intervals (Student's t over repeats) of $x$_1"
    with styled():
        drawn = figure.text(0, 0, text, size=TEXT).get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert drawn.width / 200 <= width_of(text, TEXT) <= 1.1 * drawn.width / 200


@pytest.mark.parametrize("names", [["a"], ["fp32", "int8"], [f"a rather long entry {k}" for k in range(9)]])
def test_no_legend_entry_leaves_the_page(names: list[str]) -> None:
    with styled():
        figure, _ = sheet(Heading("t"), height=1, legend=[marker_key(name, Look("#000000")) for name in names])
        renderer = FigureCanvasAgg(figure).get_renderer()
        for text in figure.legends[0].get_texts():
            assert text.get_window_extent(renderer).x1 <= figure.bbox.x1


def test_panels_are_as_high_as_asked_and_do_not_meet() -> None:
    with styled():
        figure, grid = sheet(Heading("t", "s", ("note " * 60,)), height=1.5, rows=2, columns=3)
    boxes = [axes.get_position() for row in grid for axes in row]
    assert [round(box.height * figure.get_figheight(), 6) for box in boxes] == [1.5] * 6
    assert grid[0][0].get_position().y0 > grid[1][0].get_position().y1
    assert all(left.get_position().x1 < right.get_position().x0 for left, right in pairwise(grid[0]))
    assert figure.get_label() == "t. s"


def test_repeats_and_images_are_counted() -> None:
    points = [point(3), point(2, threat="query", images=60), point(3, threat="query", images=80), Point({}, None)]
    assert counted(points) == "n = 2–3 repeats; 500 clean test images and 60–80 attacked ones."
    assert counted([point(1)]) == "n = 1 repeat; 500 clean test images."
    assert counted([Point({}, None)]) == measured_on([]) == ""
    assert "no intervals" in measured_on([point(1)])
    assert "none for a single repeat" in measured_on([point(1), point(3)])


def test_what_is_missing_is_named_up_to_a_few() -> None:
    points = [Point({"share": k / 10, "use": "none"}, None) for k in range(1, 8)] + [point(3)]
    assert missing(points, ("use", "share"), most=2) == "Not measured: 10 %; 20 %; 5 more."
    assert missing(points[:1] * 3, ("share",)) == "Not measured: 10 %."
    assert missing([point(3)], ("share",)) == ""


def test_an_axis_reads_in_per_cent_and_never_beyond_a_hundred() -> None:
    with styled():
        _, [[axes]] = sheet(Heading("t"), height=1)
        axes.set_ylim(-0.5, 1.5)
        percent_axis(axes.yaxis)
        labels = [axes.yaxis.get_major_formatter()(value) for value in (-0.25, 0, 0.125, 1, 1.25)]  # type: ignore[operator]
    assert labels == ["−25 %", "0 %", "12.5 %", "100 %", ""]


@given(st.floats(-0.6, 0.9), st.floats(0.05, 1.0))
def test_ticks_of_shares_are_shares_and_those_of_differences_may_be_negative(low: float, width: float) -> None:
    with styled():
        _, [[axes]] = sheet(Heading("t"), height=1)
        axes.set_ylim(low, low + width)
        percent_axis(axes.yaxis)
        assert all(-1e-9 <= tick <= 1 + 1e-9 for tick in axes.get_yticks())
        percent_axis(axes.yaxis, differences=True)
        assert min(axes.get_yticks()) < 0 or low > -width / 2
