"""What docs/ shows of BrainTorrent's studies."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from experiments.braintorrent import publish as module
from experiments.braintorrent.publish import BEGIN, DOCS, PAGE, publish
from experiments.study.study import Prepared


def without_work(prepared: Prepared, **options: Any) -> list[tuple[str, str]]:
    (prepared.out / "tables").mkdir(parents=True)
    if prepared.study.file.claims:
        (prepared.out / "claims.md").write_text("## Verdict\n\nIt is so.\n\n## What was run\n\nAll of it.\n")
        return []
    for stem in ("braintorrent-attacks", "braintorrent-attacks-learning-curves"):
        (prepared.out / f"{stem}.svg").write_text("<svg/>")
        (prepared.out / "tables" / f"{stem}.md").write_text("| a |")
    (prepared.out / "tables" / "costs.md").write_text("| a |")
    return []


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "run_study", without_work)
    (tmp_path / PAGE).write_text(f"# BrainTorrent\n\nBy hand.\n\n{BEGIN}\n\nOld results.\n")
    return tmp_path


def test_what_is_written_by_hand_stays_and_what_follows_is_replaced(docs: Path, tmp_path: Path) -> None:
    publish(tmp_path / "runs", docs, "tiny", ["attacks", "claims"])
    page = (docs / PAGE).read_text()
    assert page.startswith(f"# BrainTorrent\n\nBy hand.\n\n{BEGIN}\n\n## Verdict\n\nIt is so.\n\n## Figures\n\n###")
    assert page.endswith("## What was run\n\nAll of it.\n")
    assert "Old results" not in page
    assert page.count(BEGIN) == 1


def test_drawings_and_tables_are_copied_and_linked_but_for_those_of_every_round(docs: Path, tmp_path: Path) -> None:
    publish(tmp_path / "runs", docs, "tiny", ["attacks", "claims"])
    page = (docs / PAGE).read_text()
    links = [part.split(")")[0] for part in page.split("](")[1:]]
    assert "figures/braintorrent-attacks-learning-curves.svg" in links
    assert "figures/tables/braintorrent-attacks-costs.md" in links
    assert not [link for link in links if link.endswith("curves.md")]
    assert all((docs / link).exists() for link in links)


def test_writing_twice_changes_nothing(docs: Path, tmp_path: Path) -> None:
    publish(tmp_path / "runs", docs, "tiny", ["attacks", "claims"])
    before = (docs / PAGE).read_bytes()
    publish(tmp_path / "others", docs, "tiny", ["attacks", "claims"])
    assert (docs / PAGE).read_bytes() == before


def test_a_page_that_does_not_say_where_results_begin_is_left_alone(docs: Path, tmp_path: Path) -> None:
    (docs / PAGE).write_text("# BrainTorrent\n")
    with pytest.raises(UserError, match="put it where the results are to stand"):
        publish(tmp_path / "runs", docs, "tiny", ["attacks"])
    assert (docs / PAGE).read_text() == "# BrainTorrent\n"


def test_a_failed_cell_publishes_nothing(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_study", lambda prepared, **options: [("cell", "it broke")])
    before = (docs / PAGE).read_bytes()
    with pytest.raises(UserError, match="attacks: 1 cells failed, the first, cell: it broke"):
        publish(tmp_path / "runs", docs, "tiny", ["attacks"])
    assert (docs / PAGE).read_bytes() == before


def test_the_page_in_docs_says_where_its_results_begin() -> None:
    assert (DOCS / PAGE).read_text(encoding="utf-8").count(BEGIN) == 1
