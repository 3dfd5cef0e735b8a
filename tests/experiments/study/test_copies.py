from pathlib import Path
from types import SimpleNamespace
from typing import cast

from experiments.study.copies import copied
from experiments.study.study import Prepared


def prepared(out: Path, *stems: str) -> Prepared:
    (out / "tables").mkdir(parents=True)
    for stem in stems:
        (out / f"{stem}.svg").write_text(f"<svg>{stem}</svg>")
        (out / "tables" / f"{stem}.md").write_text("| a |")
    (out / "tables" / "costs.md").write_text("| b |")
    file = SimpleNamespace(name="s", title="Title", description="It says.")
    return cast(Prepared, SimpleNamespace(study=SimpleNamespace(file=file), out=out))


def test_the_studys_own_figure_comes_first_and_tables_are_called_by_the_study(tmp_path: Path) -> None:
    told = copied(prepared(tmp_path / "out", "a-other", "s", "s-learning-curves"), tmp_path / "figures")
    assert told == [
        "### Title",
        "It says.",
        "![s](figures/s.svg)",
        "![a-other](figures/a-other.svg)",
        "![s-learning-curves](figures/s-learning-curves.svg)",
        "- [s-a-other](figures/tables/s-a-other.md)\n- [s-costs](figures/tables/s-costs.md)\n"
        "- [s](figures/tables/s.md)",
    ]
    assert (tmp_path / "figures" / "s.svg").read_text() == "<svg>s</svg>"
    assert not (tmp_path / "figures" / "tables" / "s-learning-curves.md").exists()


def test_a_study_that_draws_nothing_has_no_paragraphs(tmp_path: Path) -> None:
    assert copied(prepared(tmp_path / "out"), tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()
