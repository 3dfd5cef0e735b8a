"""Each check earns its place: the attack on it fails while it is there, and succeeds when it is not."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from experiments.secure_ablation import table
from experiments.secure_ablation.outcomes import ended
from experiments.secure_ablation.rows import Row, rows

ROWS = rows()
DOCS = Path(__file__).resolve().parents[3] / "docs"


@cache
def tried(check: str, kept: bool, how: Callable[..., str] = Row.tried) -> str:
    """Return what comes of an attack, which is played once."""
    return how(next(row for row in ROWS if row.check == check), check=kept)


@pytest.mark.parametrize("row", ROWS, ids=[row.check for row in ROWS])
def test_an_attack_fails_with_the_check_and_succeeds_without_it(row: Row) -> None:
    assert "**" not in tried(row.check, True)
    assert "**" in tried(row.check, False)


def test_the_documents_show_what_comes_of_them_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Row, "tried", lambda row, *, check: tried(row.check, check))
    made = table.markdown()
    assert made == (DOCS / "figures" / "tables" / "secure-ablation.md").read_text(encoding="utf-8")
    assert made in (DOCS / "secure.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.attacker is not None], ids=[row.check for row in ROWS if row.attacker]
)
def test_who_leaves_out_a_check_gets_the_right_sum_where_nobody_attacks(row: Row) -> None:
    assert replace(row, attacker=None, told=ended).tried(check=False) == "the sum is right"
