"""What a study writes besides its figures."""

import csv
import io
from pathlib import Path

from common.config import parse
from experiments.study.grid import Cell
from experiments.study.outputs import _forget_older, cells_table, results_table
from experiments.study.results import Result
from experiments.study.setting import setting_of
from server.measures import Measure

EXPERIMENT = parse({"seed": 5}, "test")
MEASURE = Measure("int8", "clean", "none", "", None, None, None, None, "accuracy", 0.5, 100, 0.4, 0.6)


def result(tmp_path: Path) -> Result:
    cell = Cell("fig", {"share": "0.1"}, 2, EXPERIMENT)
    return Result(cell, setting_of(EXPERIMENT), (MEASURE,), {}, {}, 3.2, tmp_path.resolve() / "paper" / "abc")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_cells_tell_where_they_lie_and_why_they_failed(tmp_path: Path) -> None:
    done, failed = rows(cells_table([result(tmp_path)], [("fig share=0.2 repeat 1", "no space, left")], tmp_path))
    assert (done["axis share"], done["repeat"], done["seed"], done["run"]) == ("0.1", "2", "5", "paper/abc")
    assert (done["epsilon reached"], done["use"], done["failure"]) == ("3.2", "none", "")
    assert (failed["study"], failed["failure"]) == ("fig share=0.2 repeat 1", "no space, left")


def test_results_hold_every_measure_with_its_cell(tmp_path: Path) -> None:
    (row,) = rows(results_table([result(tmp_path)]))
    assert (row["study"], row["cell repeat"], row["run"]) == ("fig", "2", "paper/abc")
    assert (row["target"], row["value"], row["eps"], row["high"]) == ("int8", "0.5", "", "0.6")


def test_what_is_not_drawn_any_more_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in ("old.svg", "new.svg", "mine.svg"):
        (tmp_path / name).write_text("<svg/>")
    _forget_older(tmp_path, [tmp_path / "old.svg", tmp_path / "new.svg"])
    _forget_older(tmp_path, [tmp_path / "new.svg"])
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == ["mine.svg", "new.svg"]
