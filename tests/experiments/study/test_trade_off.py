from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

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
    assert "Not drawn, since the worst case was not measured (yet): 1." in told
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2"]


def test_settings_with_a_malicious_client_are_left_out(make_result: Callable[..., Result]) -> None:
    assert trade_off_points([make_result(replace(PLAIN, use="both", attack="pgd", share=0.2))]) == []
