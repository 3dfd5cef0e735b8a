"""The bench's own arithmetic, on numbers that are made up; what it measures is no test."""

from typing import Any

import pytest

from experiments.bench import secure as bench_secure
from experiments.bench.secure import Cell, cells_table, exponent, figure, growth, phases_table, spread


def told(peers: int, size: int, seconds: float) -> dict[str, Any]:
    return {
        "rule": "rsa", "peers": peers, "faults": 2, "size": size, "packing": 3, "seconds": seconds,
        "phases": {"keys": seconds / 4, "dealing": 3 * seconds / 4}, "plain": {"fedavg": 0.5, "rsa": 0.25},
        "up": 10 * size, "down": 5 * size, "memory": 1000 * size,
    }  # fmt: skip


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_a_power_law_has_its_exponent(power: float) -> None:
    assert exponent([(x, 7 * x**power) for x in (1.0, 3.0, 10.0)]) == pytest.approx(power)


def test_growth_is_fitted_to_the_upper_three() -> None:
    measures = [[told(10, 1, 100.0)], *([told(10, size, 2.0 * size)] for size in (10, 100, 1000))]
    assert growth(measures, "size") == pytest.approx({"CPU seconds of all": 1, "bytes of a peer": 1, "peak memory": 1})


def test_the_spread_is_told_where_there_is_one() -> None:
    assert spread([2.0]) == "2"
    assert spread([3.0, 1.0, 2.0]) == "2 (1 to 3)"


def test_phases_and_rounds_have_a_line_each() -> None:
    repeats = [told(10, 1000, seconds) for seconds in (4.0, 8.0, 6.0)]
    assert phases_table(repeats)[2:] == [
        "| keys | 1.5 (1 to 2) | 0.15 | 25% |",
        "| dealing | 4.5 (3 to 6) | 0.45 | 75% |",
    ]
    assert cells_table([repeats])[2:] == ["| `rsa` | 10 | 2 | 1,000 | 3 | 6 (4 to 8) | 0.6 | 0.01 | 0.001 | 12 | 24 |"]


def test_a_figure_has_both_axes() -> None:
    drawn = figure([[told(10, 5, 1.0)], [told(20, 5, 2.0)]], [[told(10, 5, 1.0)], [told(10, 50, 2.0)]])
    assert drawn.startswith("<svg")
    assert "peers n" in drawn
    assert "numbers of an update d" in drawn


def test_a_round_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"peers=4.*need at least 9 peers, not 4"):
        bench_secure.measured(Cell("rsa", 4, 2, 10))
