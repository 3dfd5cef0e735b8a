"""Each check earns its place: the attack on it fails while it is there, and succeeds when it is not."""

from dataclasses import replace

import pytest

from experiments.secure_ablation import table
from experiments.secure_ablation.outcomes import ended
from experiments.secure_ablation.rows import Row, rows

ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=[row.check for row in ROWS])
def test_an_attack_fails_with_the_check_and_succeeds_without_it(row: Row) -> None:
    assert "**" not in row.tried(check=True)
    assert "**" in row.tried(check=False)


def test_the_table_has_a_line_for_each_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "rows", lambda: ROWS[:2])
    lines = table.markdown().splitlines()
    assert len(lines) == 4
    assert all(line.count("|") == 5 for line in lines)


@pytest.mark.parametrize("row", [row for row in ROWS if row.attacker is not None], ids=lambda row: row.check)
def test_who_leaves_out_a_check_gets_the_right_sum_where_nobody_attacks(row: Row) -> None:
    assert replace(row, attacker=None, told=ended).tried(check=False) == "the sum is right"
