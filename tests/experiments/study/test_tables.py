import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.study.points import Point
from experiments.study.results import Estimate, estimated
from experiments.study.tables import Table, number, tex, to_csv, to_latex, to_markdown

SHARE = Estimate(0.421, 0.398, 0.444, (0.4, 0.42, 0.443))


def points() -> tuple[Point, ...]:
    return tuple(
        Point(
            {"data": "X_rays & more", "epsilon": epsilon, "target": target, "metric": "accuracy"},
            SHARE if target == "fp32" or epsilon else None, (500,),
        )
        for epsilon in (None, 1.7)
        for target in ("fp32", "int8")
    )  # fmt: skip


def test_numbers_are_written_with_interval_and_repeats() -> None:
    assert number(SHARE, "accuracy") == "42.1 % (39.8–44.4; n = 3)"
    assert number(Estimate(0.421, None, None, (0.421,)), "accuracy") == "42.1 % (n = 1)"
    assert number(Estimate(0.01, -0.02, 0.04, (0.0, 0.02)), "accuracy loss") == "1.0 % (−2.0 to 4.0; n = 2)"
    assert number(Estimate(-0.05, None, None, (-0.05,)), "accuracy loss") == "−5.0 % (n = 1)"
    assert number(Estimate(2.5e6, None, None, (2.5e6,)), "bytes up") == "2.50 MB (n = 1)"
    assert number(Estimate(6.9, 6.8, 7.0, (6.9, 6.9)), "epsilon reached") == "6.9 (6.8 to 7; n = 2)"
    assert number(None, "accuracy") == "–"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_csv_reads_back_equal(values: list[float]) -> None:
    found = estimated(values)
    assert found is not None
    [row] = csv.DictReader(io.StringIO(to_csv(Table("t", (Point({"a": 'x,"y\n', "b": None}, found, (60, 200)),)))))
    assert (row["a"], row["b"], row["images"]) == ('x,"y\n', "", "60 200")
    assert float(row["mean"]) == found.mean
    assert [float(value) for value in row["values"].split()] == values
    assert (row["low"] == "") == (len(values) == 1)


def test_columns_with_one_value_are_said_once_and_others_lie_side_by_side() -> None:
    lines = to_markdown(Table("A title", points(), ("target",))).splitlines()
    assert lines[0] == "**A title**"
    assert "data: X\\_rays & more; metric: accuracy. Mean over n repeats" in lines[2]
    assert "Test images: 500." in lines[2]
    assert lines[4] == "| privacy | fp32 | int8 |"
    assert lines[6] == "| non-private | 42.1 % (39.8–44.4; n = 3) | – |"
    assert len(lines) == 8


def test_two_levels_across_are_spanned_in_latex() -> None:
    text = to_latex(Table("100 % of $x_1$", points(), ("epsilon", "target")))
    assert r"\multicolumn{2}{c}{non-private} & \multicolumn{2}{c}{$\varepsilon$ = 1.7} \\" in text
    assert r"\cmidrule(lr){1-2} \cmidrule(lr){3-4}" in text
    assert r"42.1 \% (39.8--44.4; n = 3)" in text
    assert r"100 \% of \$x\_1\$" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_every_row_of_latex_has_as_many_cells_as_its_table() -> None:
    text = to_latex(Table("t", points(), ("target",)))
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert columns is not None
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns[1])}


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_nothing_commands_latex(text: str) -> None:
    bare = re.sub(r"\\[a-z]+\{\}|\\[{}$&#%_]|\$\\?[a-z-]+\$", "", tex(text))
    assert not set(bare) & set("\\{}$&#%_^~")


@pytest.mark.parametrize("name", ["a|b", "<script>", "*bold*", "`code`", "_x_", "line\nline"])
def test_nothing_breaks_a_row_of_markdown(name: str) -> None:
    table = Table("t", tuple(Point({"a": one, "metric": "accuracy"}, SHARE) for one in (name, "plain")))
    row = to_markdown(table).splitlines()[6]
    assert len(re.split(r"(?<!\\)\|", row)) == 4
    assert not re.search(r"(?<!\\)[<>*`_]", row)


def test_an_empty_table_says_so() -> None:
    assert "Nothing was measured." in to_markdown(Table("t", ()))
    assert "Nothing was measured." in to_latex(Table("t", ()))
    assert to_csv(Table("t", ())) == "mean,low,high,n,images,values\n"
