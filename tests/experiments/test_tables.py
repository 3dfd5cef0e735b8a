import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.folder import RunFolder
from common.intervals import wilson
from experiments.tables import COLUMNS, clean, over_repeats, read_measures, score, select, targets, threats, worst
from server.measures import Measure, measure, to_csv
from server.measures import Measure as Written

HEADER = ",".join(COLUMNS)
ROW = "int8,clean,none,,0.0,0.0,0,,accuracy,0.5,100,0.4,0.6"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@given(value=st.floats(0, 1), n=st.integers(0, 10**6), repeat=st.one_of(st.none(), st.integers(0, 99)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_what_the_evaluator_writes_reads_back_equal(tmp_path: Path, value: float, n: int, repeat: int | None) -> None:
    row = measure("int8", "query", "square", "accuracy", value, n, budget=(8 / 255, 2 / 255, 10), repeat=repeat)
    path = tmp_path / "results.csv"
    path.write_text(to_csv([row]))
    (found,) = read_measures(path)
    assert (found.value, found.n, found.eps, found.steps) == (value, n, 8 / 255, 10)
    assert found.repeat == repeat
    assert found.interval() == wilson(value, n)


def test_auroc_has_no_interval(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(to_csv([measure("int8", "clean", "none", "auroc", 0.9, 50)]))
    assert read_measures(path)[0].interval() is None


def test_a_proportion_without_interval_gets_wilsons(tmp_path: Path) -> None:
    path = write(tmp_path / "results.csv", HEADER, "int8,clean,none,,,,,,accuracy,0.5,100,,")
    assert read_measures(path)[0].interval() == wilson(0.5, 100)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([""], "column 'target' is missing"),
        ([HEADER], "no measures"),
        ([HEADER, ROW.replace("0.5,", "1.5,")], "line 2: value = '1.5' is not in"),
        ([HEADER, ROW.replace("0.5,", "nan,")], "line 2: value = 'nan' is not in"),
        ([HEADER, ROW.replace("0.5,", ",")], "line 2: value is empty"),
        ([HEADER, ROW.replace("0.5,", "half,")], "line 2: value = 'half' is not a number"),
        ([HEADER, ROW.replace("100", "1.5")], "line 2: n = '1.5' is not a whole number"),
        ([HEADER, ROW, "int8,clean,no"], "line 3: has not 13 cells"),
        ([HEADER, ROW + ",7"], "line 2: has not 13 cells"),
        ([HEADER, ROW, 'int8,"clean'], "unexpected end of data"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(tmp_path: Path, lines: list[str], problem: str) -> None:
    path = write(tmp_path / "results.csv", *lines)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}.*{re.escape(problem)}"):
        read_measures(path)


def test_a_missing_or_binary_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_measures(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_measures(path)


def test_select_asks_for_every_given_value(finished_run: RunFolder) -> None:
    measures = read_measures(finished_run.results)
    found = select(measures, target="int8", threat="white-box", attack="fgsm", metric="accuracy")
    assert {(m.target, m.threat, m.attack, m.metric) for m in found} == {("int8", "white-box", "fgsm", "accuracy")}
    assert [m.generator for m in found] == ["fp32", "twin"]
    assert select(measures) == measures


def test_the_worst_row_counts_where_there_is_one(finished_run: RunFolder) -> None:
    measures = read_measures(finished_run.results)
    found = worst(measures, "int8", "white-box")
    assert found is not None
    assert (found.attack, found.value) == ("worst", 0.3)
    assert worst(measures, "fp32", "insider") is None


def test_without_a_worst_row_the_most_harmful_attack_counts(finished_run: RunFolder) -> None:
    measures = [m for m in read_measures(finished_run.results) if m.attack != "worst"]
    accuracy = worst(measures, "int8", "insider")
    success = worst(measures, "int8", "insider", "attack_success")
    assert accuracy is not None
    assert success is not None
    assert accuracy.value == min(m.value for m in select(measures, target="int8", threat="insider", metric="accuracy"))
    assert success.value == max(
        m.value for m in select(measures, target="int8", threat="insider", metric="attack_success")
    )


def test_a_generator_is_judged_by_what_it_crafted() -> None:
    rows = [("a", 0.3), ("b", 0.6)]
    measures = _read([measure("int8", "transfer", "worst", "accuracy", v, 9, generator=name) for name, v in rows])
    joint, second = worst(measures, "int8", "transfer"), worst(measures, "int8", "transfer", generator="b")
    assert joint is not None
    assert second is not None
    assert (joint.value, second.value) == (0.3, 0.6)


def test_threats_and_targets_come_in_a_fixed_order_and_clean_is_no_threat(finished_run: RunFolder) -> None:
    measures = tuple(reversed(read_measures(finished_run.results)))
    assert threats(measures) == ("white-box", "insider", "transfer", "query", "all")
    assert targets(measures) == ("fp32", "int8")
    assert clean([m for m in measures if m.target == "int8"], "fp32") is None


def test_repeats_become_their_mean_and_range() -> None:
    summaries = over_repeats(
        _read(
            [measure("int8", "query", "square", "accuracy", value, 100, repeat=i) for i, value in enumerate((0.2, 0.4))]
        )
    )
    (one,) = summaries
    assert (one.repeats, one.lowest, one.highest) == (2, 0.2, 0.4)
    assert one.mean.value == pytest.approx(0.3)
    assert one.mean.interval() == wilson(one.mean.value, 100)


def test_a_mean_that_is_stored_is_not_taken_again() -> None:
    rows = [measure("int8", "query", "square", "accuracy", value, 100, repeat=i) for i, value in enumerate((0.2, 0.4))]
    (one,) = over_repeats(_read([*rows, measure("int8", "query", "square", "accuracy", 0.31, 100)]))
    assert (one.mean.value, one.repeats) == (0.31, 2)


def _read(rows: list[Written]) -> tuple[Measure, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.csv"
        path.write_text(to_csv(rows))
        return read_measures(path)


def test_a_run_of_masks_is_judged_by_dice() -> None:
    rows = [
        measure("int8", "clean", "none", "dice", 0.8, 9, interval=(0.7, 0.9)),
        measure("int8", "clean", "none", "dice:skull", 0.5, 9, interval=(0.4, 0.6)),
        measure("int8", "all", "worst", "dice", 0.3, 9, interval=(0.2, 0.4)),
    ]
    assert score(rows) == "dice"
    assert clean(rows, "int8") == rows[0]
    assert clean(rows, "int8", "dice:skull") == rows[1]
    assert worst(rows, "int8", "all") == rows[2]
    assert score([]) == "accuracy"
