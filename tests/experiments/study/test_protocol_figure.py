from pathlib import Path

import pytest

from experiments.study.points import at, known
from experiments.study.protocol_figure import MADE, MOVED, draw_protocols, protocol_points
from experiments.study.sheet import Heading
from experiments.study.tables import Table, to_csv, to_markdown
from tests.experiments.study.made_up_ways import result, whole


def test_a_cell_has_its_score_its_peers_scores_and_what_it_moved_and_made(tmp_path: Path) -> None:
    points = known(protocol_points([result(tmp_path, "BrainTorrent", 4, 0.8, own=0.7, moved=100)]))
    assert {str(one.where["metric"]): estimate.mean for one, estimate in points} == {
        "Dice": 0.8, "Dice of own models": 0.7, MOVED: 2300.0, MADE: 24.0,
    }  # fmt: skip


def test_bytes_that_cannot_vary_have_no_interval(tmp_path: Path) -> None:
    cells = [result(tmp_path, "FedAvg", 4, 0.8, repeat=repeat) for repeat in (0, 1, 2)]
    [(_, moved)] = known(at(protocol_points(cells), metric=MOVED))
    assert (moved.low, moved.n) == (None, 3)


def test_every_split_has_a_panel_and_pooled_training_is_a_level_in_each(tmp_path: Path) -> None:
    [(suffix, figure)] = draw_protocols(protocol_points(whole(tmp_path)), Heading("t"))
    assert suffix == ""
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "10"]
        assert any(len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2 for line in axes.lines)


def test_what_a_liar_spoilt_is_in_the_table_and_not_in_the_drawing(tmp_path: Path) -> None:
    cells = [result(tmp_path, "BrainTorrent", 4, 0.8), result(tmp_path, "BrainTorrent", 4, 0.1, abuse="garbage")]
    points = protocol_points(cells)
    [(_, figure)] = draw_protocols(points, Heading("t"))
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "s"]
    assert [list(line.get_ydata()) for line in marks] == [[0.8]]
    assert "garbage" in to_csv(Table("t", tuple(points), ("metric",)))


def test_the_table_prints_shares_bytes_and_counts(tmp_path: Path) -> None:
    text = to_markdown(Table("t", tuple(protocol_points(whole(tmp_path))), ("metric",)))
    assert "| uniform | 4 | nobody | FedAvg, as many bytes | 4 |" in text
    assert "1.92 MB (n = 3)" in text
    assert "Dice of own models" in text


def test_intervals_wider_than_the_panel_are_cut_and_said_to_be(tmp_path: Path) -> None:
    for spread, beyond in ((0.3, True), (0.001, False)):
        cells = [
            result(tmp_path / str(spread), "BrainTorrent", 4, 0.5 + spread * (repeat - 0.5), repeat=repeat)
            for repeat in (0, 1)
        ]
        [(_, figure)] = draw_protocols(protocol_points(cells), Heading("t"))
        (whisker,) = [found for found in figure.axes[0].collections if hasattr(found, "get_segments")]
        assert whisker.get_clip_on()
        low, high = figure.axes[0].get_ylim()
        assert all(
            low <= float(y) <= high for line in figure.axes[0].lines for y in line.get_ydata() if beyond is False
        )
        assert any("cut at its edge" in text.get_text() for text in figure.texts) is beyond


@pytest.mark.parametrize(
    ("lengths", "note"),
    [
        ([6], ""),
        (
            [6, 12],
            "FedAvg, as many bytes: trained until it has moved what BrainTorrent moves, within 15 % on average over "
            "repeats. All others made as many local updates.",
        ),
        ([6, 30], "FedAvg, 30 updates: as many neither in bytes nor in local updates. All others made as many local "
                  "updates."),
    ],
)  # fmt: skip
def test_the_note_tells_how_long_methods_trained_also_where_bytes_differ(
    tmp_path: Path, lengths: list[int], note: str
) -> None:
    cells = [result(tmp_path, "BrainTorrent", 10, 0.8)]
    cells += [result(tmp_path, "FedAvg", 10, 0.8, updates=updates) for updates in lengths]
    [(_, figure)] = draw_protocols(protocol_points(cells), Heading("t"))
    told = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert note in told
    assert ("All others" in told) is bool(note)


def test_no_note_calls_lengths_equal_that_differ(tmp_path: Path) -> None:
    cells = [result(tmp_path, "BrainTorrent", 10, 0.8), result(tmp_path, "FedAvg", 10, 0.8, updates=12)]
    cells.append(result(tmp_path, "alone", 10, 0.8, updates=9))
    [(_, figure)] = draw_protocols(protocol_points(cells), Heading("t"))
    assert not any("All others" in text.get_text() for text in figure.texts)
