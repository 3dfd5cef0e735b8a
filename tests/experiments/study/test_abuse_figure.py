from pathlib import Path

from experiments.study.abuse_figure import abuse_points, draw_abuses
from experiments.study.points import at, seen
from experiments.study.sheet import Heading
from tests.experiments.study.made_up_ways import ABUSES, result, whole


def test_methods_that_were_tried_are_shown_with_and_without_a_liar(tmp_path: Path) -> None:
    points = abuse_points(whole(tmp_path))
    assert seen(points, "method") == ["BrainTorrent", "BrainTorrent, median"]
    assert seen(points, "peers") == [4]
    told = seen(at(points, method="BrainTorrent", metric="Dice"), "abuse")
    assert told == ["nobody", *(f"{kind} ×10" if kind != "garbage" else kind for kind in ABUSES)]


def test_a_row_an_abuse_the_first_without_one(tmp_path: Path) -> None:
    [(suffix, figure)] = draw_abuses(abuse_points(whole(tmp_path)), Heading("t"))
    assert suffix == ""
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["nobody", "count-inflation ×10", "sign-flip ×10", "garbage"]


def test_the_aggregated_model_is_told_from_the_honest_peers_own(tmp_path: Path) -> None:
    [(_, figure)] = draw_abuses(
        abuse_points([result(tmp_path, "BrainTorrent", 4, 0.1, own=0.7, abuse="garbage")]), Heading("t")
    )
    marks = [[line.get_xdata()[0] for line in axes.lines if line.get_marker() == "s"] for axes in figure.axes]
    assert marks == [[0.1], [0.7]]


def test_each_number_of_peers_has_a_figure(tmp_path: Path) -> None:
    cells = [result(tmp_path, "BrainTorrent", peers, 0.5, abuse="garbage") for peers in (4, 8)]
    assert [suffix for suffix, _ in draw_abuses(abuse_points(cells), Heading("t"))] == ["", "uniform-8-peers"]


def test_without_a_liar_there_is_nothing(tmp_path: Path) -> None:
    assert abuse_points([result(tmp_path, "BrainTorrent", 4, 0.8)]) == []
