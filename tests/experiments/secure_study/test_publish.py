"""What docs/ shows of the studies of poisoners and cheating aggregators."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import UserError
from experiments.secure_study import publish as module
from experiments.secure_study.publish import PAGE, publish


def prepared(path: Path, runs: Path, **options: Any) -> SimpleNamespace:
    name = f"secure-{path.stem}"
    file = SimpleNamespace(
        name=name, title=f"Title of {path.stem}", description="It says.", claims=path.stem == "claims"
    )
    out = runs / name
    (out / "tables").mkdir(parents=True, exist_ok=True)
    if file.claims:
        (out / "claims.md").write_text("## Verdict\n\nIt is so.\n\n## What was run\n\nAll of it.\n")
    else:
        (out / f"{name}.svg").write_text("<svg/>")
        (out / "tables" / f"{name}.md").write_text("| a |")
        (out / "tables" / "costs.md").write_text("| b |")
    return SimpleNamespace(study=SimpleNamespace(file=file), out=out)


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "prepare_study", prepared)
    monkeypatch.setattr(module, "run_study", lambda study, **options: [])
    return tmp_path


def test_the_page_has_the_verdict_the_figures_and_what_was_run(docs: Path) -> None:
    publish(docs / "runs", docs)
    page = (docs / PAGE).read_text()
    order = ["## Verdict", "It is so.", "## Figures", "### Title of ten", "### Title of twenty", "## What was run"]
    assert [page.index(words) for words in order] == sorted(page.index(words) for words in order)
    links = [part.split(")")[0] for part in page.split("](")[1:]]
    assert "figures/secure-ten.svg" in links
    assert "figures/tables/secure-twenty.md" in links
    assert not [link for link in links if "costs" in link]
    assert all((docs / link).exists() for link in links)


def test_writing_twice_changes_nothing(docs: Path) -> None:
    publish(docs / "runs", docs)
    before = (docs / PAGE).read_bytes()
    publish(docs / "runs", docs)
    assert (docs / PAGE).read_bytes() == before


def test_a_failed_cell_publishes_nothing(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_study", lambda study, **options: [("cell", "it broke")])
    with pytest.raises(UserError, match="ten: 1 cells failed, the first, cell: it broke"):
        publish(docs / "runs", docs)
    assert not (docs / PAGE).exists()
