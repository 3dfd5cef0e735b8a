from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.study.points import at, known
from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.study.sheet import Heading
from experiments.study.trade_off import draw_trade_off, front, trade_off_points

PLAIN = Setting("CIFAR-10", "ResNet-9", None, "none", None, None, 8 / 255)
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(PAIRS)
def test_the_front_is_what_nothing_dominates(pairs: list[tuple[int, int]]) -> None:
    found = front([(float(x), float(y)) for x, y in pairs])
    for number, (x, y) in enumerate(pairs):
        dominated = any((a > x and b >= y) or (a >= x and b > y) for a, b in pairs)
        assert (number in found) != dominated
    assert [pairs[number][0] for number in found] == sorted((pairs[number][0] for number in found), reverse=True)


def test_the_front_is_named_below(make_result: Callable[..., Result]) -> None:
    private = replace(PLAIN, epsilon=1.7)
    rows = {("fp32", "clean"): 0.9, ("fp32", "all"): 0.1, ("int8", "clean"): 0.8, ("int8", "all"): 0.05}
    better = {("fp32", "clean"): 0.6, ("fp32", "all"): 0.2, ("int8", "clean"): 0.5}
    results = [make_result(PLAIN, accuracies=rows), make_result(private, accuracies=better)]
    [(_, figure)] = draw_trade_off(trade_off_points(results), Heading("t"))
    told = " ".join(text.get_text() for text in figure.texts).replace("\u00a0", " ")
    assert "On the front: 1 non-private, fp32; 2 ε = 1.7, fp32." in told
    assert "Not drawn, for want of a comparable worst case: 1." in told
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2"]


def test_no_tick_lies_where_no_accuracy_can_be_and_none_leaves_the_page(make_result: Callable[..., Result]) -> None:
    rows = {("fp32", "clean"): 1.0, ("fp32", "all"): 0.0, ("int8", "clean"): 0.98, ("int8", "all"): 0.09}
    [(_, figure)] = draw_trade_off(trade_off_points([make_result(accuracies=rows)]), Heading("t"))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    for ticks in (axes.get_xticks(), axes.get_yticks()):
        assert len(ticks) > 1
        assert all(0 <= round(tick, 9) <= 1 for tick in ticks)
    assert any("." in label.get_text() for label in axes.get_yticklabels())
    assert axes.yaxis.label.get_window_extent(canvas.get_renderer()).x0 >= 0


def test_worst_cases_are_compared_over_common_adversaries_and_it_says_so(make_result: Callable[..., Result]) -> None:
    weak = {("fp32", "clean"): 0.8, ("fp32", "transfer"): 0.5, ("fp32", "all"): 0.5}
    strong = {**weak, ("fp32", "white-box"): 0.1, ("fp32", "all"): 0.1}
    results = [make_result(accuracies=weak), make_result(replace(PLAIN, epsilon=1.7), accuracies=strong)]
    points = trade_off_points(results)
    assert [estimate.mean for _, estimate in known(at(points, threat="all"))] == [0.5, 0.5]
    [(_, figure)] = draw_trade_off(points, Heading("t"))
    told = " ".join(text.get_text() for text in figure.texts)
    assert "Worst case: the lowest under transfer, which all of these met" in told


def test_settings_with_a_malicious_client_are_left_out(make_result: Callable[..., Result]) -> None:
    assert trade_off_points([make_result(replace(PLAIN, use="both", attack="pgd", share=0.2))]) == []
