"""What benches found as Markdown, and that the published page shows what was kept."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from common.code import ROOT
from common.errors import UserError
from experiments.bench import page as bench_page
from experiments.bench.findings import Finding, at_most, times_as_fast, times_the_cost
from experiments.bench.page import BEGIN, END, KEPT, between, finding_of, keep, main, page, read, row, table, targets

FOUND = [
    Finding("full PGD-10", "torchattacks", "CPU s", [2.0, 1.0, 4.0], [6.0, 4.0, 8.0], times_as_fast(3.5), "equal"),
    Finding("a round", "", "wall s", [5.0], [], at_most(4.0)),
    Finding("start", "", "wall s", [0.25], []),
]


def told(part: str = "attacks") -> dict[str, Any]:
    return {
        "part": part,
        "machine": {"cpu": "a processor", "cores": 2, "memory_gib": 7.8},
        "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
        "commit": "0123456789abcdef+changes",
        "code": "fedcba9876543210",
        "started": "2026-11-22T10:00:00+00:00",
        "load_before": 0.25,
        "repeats": 3,
        "seconds": 61.4,
        "findings": [asdict(finding) for finding in FOUND],
    }


def test_findings_outlive_json() -> None:
    assert [finding_of(json.loads(json.dumps(asdict(finding)))) for finding in FOUND] == FOUND


def test_a_row_has_medians_with_the_outermost_and_says_what_was_reached() -> None:
    assert row(FOUND[0]) == (
        "| full PGD-10 | torchattacks | CPU s | 6 (4–8) | 2 (1–4) | 3 (2–4) | other / ours ≥ 3.5 | no; equal |\n"
    )
    assert row(FOUND[1]) == "| a round |  | wall s |  | 5 |  | ≤ 4 wall s | no |\n"
    assert row(FOUND[2]) == "| start |  | wall s |  | 0.25 |  |  |  |\n"


def test_a_ratio_that_rounding_would_hide_has_more_digits() -> None:
    just_not = Finding("a round", "training", "CPU s", [1.0312, 1.5, 1.0], [1.0, 1.0, 1.0], times_the_cost(1.03))
    assert "| 1.0312 (1–1.5) | ours / other ≤ 1.03 | no |" in row(just_not)
    assert "| 1.0312 (1–1.5) | no |" in targets([told() | {"findings": [asdict(just_not)]}])
    just = Finding("a round", "training", "CPU s", [1.0298, 1.5, 1.0], [1.0, 1.0, 1.0], times_the_cost(1.03))
    assert "| 1.03 (1–1.5) | ours / other ≤ 1.03 | yes |" in row(just)


def test_what_several_are_compared_with_has_no_spread() -> None:
    study = Finding("a cell", "one by one", "wall s", [3.0, 3.0, 3.0], [12.0, 15.0, 18.0])
    assert row(study) == "| a cell | one by one | wall s | 15 (12–18) | 3 | 5 (4–6) |  |  |\n"


def test_a_table_says_what_its_numbers_depend_on() -> None:
    text = table(told())
    for fact in ("a processor, 2 cores", "torch 2.13.0", "commit 0123456 with changes", "code fedcba987654",
                 "2026-11-22", "3 repeats", "load 0.25", "61 s"):  # fmt: skip
        assert fact in text, fact
    assert text.startswith("### attacks\n\n")


def test_the_first_table_has_every_target_and_no_fact() -> None:
    lines = targets([told(), told("private")]).splitlines()
    assert lines[2:] == 2 * [
        "| full PGD-10 (CPU s), against torchattacks | other / ours ≥ 3.5 | 3 (2–4) | no |",
        "| a round (wall s) | ≤ 4 wall s | 5 | no |",
    ]


def test_results_are_read_in_the_order_of_the_parts(tmp_path: Path) -> None:
    for name in ("study", "growth", "attacks", "start"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert list(read(tmp_path)) == ["start", "attacks", "study", "growth"]


def test_tables_go_between_the_markers_and_nowhere_else() -> None:
    text = f"# A page\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"
    written = between(text, "new\n")
    assert written == f"# A page\n\n{BEGIN}\n\nnew\n\n{END}\n\nThe end.\n"
    assert between(written, "new\n") == written


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_a_page_without_both_markers_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="needs these two lines"):
        between(text, "")


def test_results_are_kept_and_those_that_were_not_measured_anew_stay(tmp_path: Path) -> None:
    docs, new = tmp_path / "docs", tmp_path / "new"
    new.mkdir()
    (docs / KEPT).mkdir(parents=True)
    shown = docs / "performance.md"
    shown.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    (docs / KEPT / "private.json").write_text(json.dumps(told("private")))
    (new / "attacks.json").write_text(json.dumps(told()))
    (new / "growth-width.svg").write_text("<svg/>")
    main([str(new), "--docs", str(docs)])
    text = shown.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert text.index("### attacks") < text.index("### private")
    assert (docs / KEPT / "growth-width.svg").read_text() == "<svg/>"
    main([str(docs / KEPT), "--docs", str(docs)])
    assert shown.read_text() == text


def test_nothing_is_written_where_there_is_no_result_or_no_marker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "performance.md").write_text("a page\n")
    (tmp_path / "new").mkdir()
    for complaint in ("has no results", "needs these two lines"):
        with pytest.raises(SystemExit):
            main([str(tmp_path / "new"), "--docs", str(tmp_path)])
        assert complaint in capsys.readouterr().err
        (tmp_path / "new" / "attacks.json").write_text(json.dumps(told()))
    assert (tmp_path / "performance.md").read_text() == "a page\n"
    assert not (tmp_path / KEPT).exists()


def test_keeping_what_is_kept_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "attacks.json").write_text("{}")
    monkeypatch.setattr(bench_page, "write_bytes", lambda *_: pytest.fail("written"))
    keep(tmp_path, tmp_path / "." / "")


def test_the_published_page_shows_what_was_kept() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    if BEGIN not in text or not (ROOT / "docs" / KEPT).exists():
        pytest.skip("docs/performance.md has no tables of benches yet")
    assert between(text, page(read(ROOT / "docs" / KEPT))) == text
