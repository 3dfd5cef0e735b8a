from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.study.marks import bar, baseline, level, upright
from experiments.study.results import Estimate
from experiments.study.style import Look

THREE = Estimate(0.5, 0.3, 0.7, (0.4, 0.5, 0.6))
ONE = Estimate(0.5, None, None, (0.5,))
LOOK = Look("#0072b2")


def panel() -> Axes:
    return Figure().add_axes((0, 0, 1, 1))


def points_of(axes: Axes) -> list[list[float]]:
    """Return what every line holds, x and y in turn."""
    return [[float(v) for v in values] for line in axes.lines for values in line.get_data()]  # type: ignore[arg-type]


def test_a_mean_stands_with_its_interval_and_every_repeat() -> None:
    axes = panel()
    upright(axes, 2, THREE, LOOK, aside=0.1)
    drawn = points_of(axes)
    assert [2.1, 2.1, 2.1] in drawn
    assert [0.4, 0.5, 0.6] in drawn
    assert [segment.tolist() for segment in axes.collections[0].get_segments()] == [[[2, 0.3], [2, 0.7]]]  # type: ignore[attr-defined]


def test_a_level_mark_is_the_same_on_its_side() -> None:
    axes = panel()
    level(axes, 2, THREE, LOOK, aside=0.1)
    assert [0.4, 0.5, 0.6] in points_of(axes)
    assert [segment.tolist() for segment in axes.collections[0].get_segments()] == [[[0.3, 2], [0.7, 2]]]  # type: ignore[attr-defined]


def test_a_single_repeat_has_no_interval() -> None:
    for draw in (lambda axes: upright(axes, 2, ONE, LOOK, aside=0.1), lambda axes: bar(axes, 2, ONE, LOOK, width=1)):
        axes = panel()
        draw(axes)
        assert len(axes.collections) == 0


def test_a_bar_is_as_high_as_its_mean_and_nothing_is_seen_as_nothing() -> None:
    axes = panel()
    bar(axes, 2, THREE, LOOK, width=0.5)
    assert axes.patches[0].get_height() == 0.5  # type: ignore[attr-defined]
    empty = panel()
    bar(empty, 2, Estimate(0.0, None, None, (0.0,)), LOOK, width=0.5)
    assert points_of(empty) == [[1.75, 2.25], [0, 0]]


def test_a_baseline_has_its_band() -> None:
    axes = panel()
    baseline(axes, THREE)
    assert points_of(axes) == [[0, 1], [0.5, 0.5]]
    assert (axes.patches[0].get_y(), axes.patches[0].get_height()) == (0.3, 0.7 - 0.3)  # type: ignore[attr-defined]
    alone = panel()
    baseline(alone, ONE)
    assert not alone.patches
