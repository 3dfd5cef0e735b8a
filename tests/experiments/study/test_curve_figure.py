from pathlib import Path

import pytest

from experiments.study.curve_figure import BYTES, UPDATES, curve_points, draw_curves
from experiments.study.points import at, known
from experiments.study.sheet import Heading
from tests.experiments.study.made_up_ways import result, whole


def test_a_curve_goes_over_what_was_computed_and_over_what_was_sent(tmp_path: Path) -> None:
    cells = [
        result(tmp_path, "FedAvg", 4, 0.8, repeat=repeat, updates=2, moved=100, curve=[0.2 + repeat / 10, 0.6])
        for repeat in (0, 1)
    ]
    points = known(curve_points(cells))
    told = [(one.where["axis"], one.where["at"], pytest.approx(estimate.mean)) for one, estimate in points]
    assert told == [(UPDATES, 1.0, 0.25), (BYTES, 400.0, 0.25), (UPDATES, 2.0, 0.6), (BYTES, 800.0, 0.6)]
    assert {estimate.n for _, estimate in points} == {2}


def test_of_one_method_the_longest_curve_counts_under_its_plain_name(tmp_path: Path) -> None:
    points = curve_points(whole(tmp_path))
    fedavg = at(points, method="FedAvg", peers=10, split="uniform", axis=UPDATES)
    assert [one.where["at"] for one in fedavg] == list(range(1, 13))
    assert not [one for one in points if "bytes" in str(one.where["method"])]


def test_fedavg_of_any_length_is_one_curve(tmp_path: Path) -> None:
    cells = [result(tmp_path, "BrainTorrent", 10, 0.8)]
    cells += [result(tmp_path, "FedAvg", 10, 0.8, updates=updates) for updates in (6, 12, 30)]
    points = at(curve_points(cells), axis=UPDATES)
    assert {one.where["method"] for one in points} == {"BrainTorrent", "FedAvg"}
    assert len(at(points, method="FedAvg")) == 30


def test_peers_that_merge_nothing_are_drawn_by_their_own_models(tmp_path: Path) -> None:
    points = known(curve_points([result(tmp_path, "alone", 4, 0.8, curve=[0.5, 0.7])]))
    assert [estimate.mean for _, estimate in points] == [pytest.approx(value) for value in (0.48, 0.48, 0.68, 0.68)]


def test_what_a_liar_spoilt_has_no_curve(tmp_path: Path) -> None:
    assert curve_points([result(tmp_path, "BrainTorrent", 4, 0.8, abuse="garbage")]) == []


def test_a_repeat_that_is_not_whole_shortens_the_curve(tmp_path: Path) -> None:
    cells = [
        result(tmp_path, "FedAvg", 4, 0.8, repeat=repeat, curve=[0.1, 0.2, 0.3][: 3 - repeat]) for repeat in (0, 1)
    ]
    assert [one.where["at"] for one in at(curve_points(cells), axis=UPDATES)] == [1.0, 2.0]


def test_panels_end_where_braintorrent_does(tmp_path: Path) -> None:
    figures = draw_curves(curve_points(whole(tmp_path)), Heading("t"))
    assert [suffix for suffix, _ in figures] == ["", "by-age"]
    axes = figures[0][1].axes
    assert len(axes) == 4
    assert [round(one.get_xlim()[1] / 1.02, 6) for one in axes[::2]] == [6, 6]
    ends = [one.where["at"] for one in at(curve_points(whole(tmp_path)), axis=BYTES, method="BrainTorrent")]
    assert round(axes[1].get_xlim()[1] / 1.02) in ends


def test_no_repeat_no_interval_and_it_is_said(tmp_path: Path) -> None:
    [(_, figure)] = draw_curves(curve_points([result(tmp_path, "FedAvg", 4, 0.8)]), Heading("t"))
    assert any("no intervals" in text.get_text() for text in figure.texts)
