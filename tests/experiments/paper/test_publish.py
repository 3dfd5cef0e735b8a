"""What docs/ shows of the studies."""

from pathlib import Path
from typing import Any

import pytest

from experiments.paper import publish as module
from experiments.paper.publish import DOCS, STUDIES, publish
from experiments.study.description import PAPER
from experiments.study.study import Prepared


def test_all_of_the_papers_studies_are_published() -> None:
    assert sorted(STUDIES) == sorted(path.stem for path in PAPER.glob("*.toml"))


def test_what_docs_shows_is_there() -> None:
    page = (DOCS / "figures" / "README.md").read_text()
    for name in STUDIES:
        assert f"## {name}: " in page
    linked = [part.split(")")[0] for part in page.split("](")[1:]]
    assert linked
    assert all((DOCS / "figures" / link).exists() for link in linked)


def test_drawings_and_tables_are_copied_and_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_work(prepared: Prepared, **options: Any) -> list[tuple[str, str]]:
        (prepared.out / "tables").mkdir(parents=True)
        (prepared.out / "fig2.svg").write_text("<svg/>")
        (prepared.out / "tables" / "costs.md").write_text("| a |")
        return []

    monkeypatch.setattr(module, "run_study", without_work)
    publish(tmp_path / "runs", tmp_path / "docs", "phantom", ["fig2"])
    assert (tmp_path / "docs" / "figures" / "fig2.svg").read_text() == "<svg/>"
    assert (tmp_path / "docs" / "figures" / "tables" / "fig2-costs.md").exists()
    page = (tmp_path / "docs" / "figures" / "README.md").read_text()
    assert "![fig2](fig2.svg)" in page
    assert "(tables/fig2-costs.md)" in page
