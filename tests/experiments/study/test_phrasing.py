import pytest

from experiments.study import phrasing
from experiments.study.deciding import exact
from experiments.study.results import Estimate, estimated

THREE = Estimate(0.421, 0.398, 0.444, (0.4, 0.42, 0.443))


def test_estimates_carry_interval_and_repeats() -> None:
    assert phrasing.share(THREE) == "42.1 % (39.8–44.4; n = 3)"
    assert phrasing.points(Estimate(-0.003, -0.02, 0.014, (0, 0))) == "−0.3 points (−2.0 to +1.4; n = 2)"
    assert phrasing.distance(Estimate(0.012, 0.0, 0.03, (0, 0))) == "1.2 points (0.0–3.0; n = 2)"
    assert phrasing.times(Estimate(7.94, 7.5, 8.3, (1, 1, 1))) == "7.94× (7.5–8.3; n = 3)"
    assert phrasing.number(Estimate(127.5, 127.5, 127.5, (1, 1))) == "128 (128 to 128; n = 2)"


def test_a_share_stays_between_0_and_1() -> None:
    assert phrasing.share(Estimate(0.01, -0.05, 1.2, (0, 0, 0))) == "1.0 % (0.0–100.0; n = 3)"


def test_a_single_repeat_has_no_interval_and_an_exact_number_needs_none() -> None:
    assert phrasing.share(estimated([0.5])) == "50.0 % (n = 1)"
    assert phrasing.share(exact(0.744)) == "74.4 %"
    assert phrasing.share(None) == phrasing.points(None) == phrasing.times(None) == phrasing.number(None) == "–"


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.0"), (-0.0001, "0.0"), (0.0123, "+1.2"), (-0.5, "−50.0")])
def test_signs_are_of_what_is_shown(value: float, text: str) -> None:
    assert phrasing.signed(value) == text


def test_a_table_keeps_its_columns_whatever_the_cells_hold() -> None:
    text = phrasing.table(("a", "b"), [("x|y", "z")])
    assert text == "| a | b |\n| --- | --- |\n| x\\|y | z |"


def test_words_follow_their_number() -> None:
    assert [phrasing.counted(n, "cell") for n in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]
