"""``python -m experiments.bench.page FOLDER``: what benches found, as the tables of docs/performance.md.

The results (``PART.json`` of ``python -m experiments.bench``, ``growth.json`` and its figures of ``python -m
experiments.bench.growth``) are kept in ``DOCS/figures/performance``, beside those of parts that were not measured anew;
the tables of all of them are written between two markers of ``DOCS/performance.md``. With that folder itself only the
tables are written anew.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from common.code import ROOT
from common.errors import UserError
from common.folder import write_bytes, write_text
from experiments.bench.findings import Finding, Target
from experiments.bench.growth_page import section
from experiments.bench.markdown import head, line, spread
from experiments.bench.parts import PARTS

COLUMNS = ("path", "compared with", "measure", "other", "ours", "found", "to reach", "reached")
TARGETS = ("path", "target", "found", "reached")
BEGIN, END = "<!-- begin: python -m experiments.bench.page -->", "<!-- end: python -m experiments.bench.page -->"
KEPT = Path("figures") / "performance"
"""Where the results lie that a page shows, seen from the page."""
GROWTH = "growth"


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all results as Markdown: what was to be reached, then each part, then how cost grows.

    Args:
        results: JSON by name, as ``read`` returns it; ``growth`` is that of ``bench.growth``.
    """
    parts = [told for name, told in results.items() if name != GROWTH]
    text = targets(parts)
    text += "".join(f"\n{table(told)}" for told in parts)
    if GROWTH in results:
        told = results[GROWTH]
        text += f"\n### {GROWTH}\n\n{circumstances(told)}\n\n{section(told['axes'], KEPT.as_posix())}"
    return text


def targets(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of what was to be reached, in the order of the parts."""
    text = head(TARGETS)
    for told in parts:
        for finding in map(finding_of, told["findings"]):
            if finding.target is None:
                continue
            path = f"{finding.path} ({finding.measure})"
            path += f", against {finding.against}" if finding.against else ""
            text += line((path, finding.target.words(finding.measure), _found(finding), _reached(finding.reached())))
    return text


def table(told: Mapping[str, Any]) -> str:
    """Return a part's findings as a table: medians, least and most in brackets; ``found`` is a ratio."""
    text = f"### {told['part']}\n\n{circumstances(told)}\n\n{head(COLUMNS)}"
    return text + "".join(row(finding_of(entry)) for entry in told["findings"])


def circumstances(told: Mapping[str, Any]) -> str:
    """Return what the numbers of one result depend on, in one sentence."""
    facts = told["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    commit, plus, _ = (told["commit"] or "unknown").partition("+")
    changed = " with changes" if plus else ""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB; {versions}; commit {commit[:7]}{changed}, "
        f"code {told['code'][:12]}; {told['started'][:10]}, {told['repeats']} repeats, load {told['load_before']} "
        f"before, {told['seconds']:.0f} s in all."
    )


def finding_of(entry: Mapping[str, Any]) -> Finding:
    """Return a finding as it was written down."""
    target = entry["target"]
    return Finding(**{**entry, "target": None if target is None else Target(**target)})


def row(finding: Finding) -> str:
    """Return a finding's line of a table."""
    return line(
        (
            finding.path,
            finding.against,
            finding.measure,
            spread(finding.other),
            spread(finding.ours),
            _found(finding) if finding.other else "",
            "" if finding.target is None else finding.target.words(finding.measure),
            "; ".join(part for part in (_reached(finding.reached()), finding.note) if part),
        )
    )


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return a folder's results by name: the parts in their order, others after them.

    Raises:
        UserError: there is none.
    """
    names = {path.stem for path in folder.glob("*.json")}
    if not names:
        raise UserError(f"{folder} has no results; `python -m experiments.bench --out {folder}` writes them")
    order = [name for name in PARTS if name in names] + sorted(names - set(PARTS))
    return {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in order}


def keep(folder: Path, kept: Path) -> None:
    """Copy a folder's results and figures into ``kept``, over those of the same names."""
    if folder.resolve() == kept.resolve():
        return
    for path in [*sorted(folder.glob("*.json")), *sorted(folder.glob(f"{GROWTH}-*.svg"))]:
        write_bytes(kept / path.name, path.read_bytes())


def between(text: str, tables: str) -> str:
    """Return a page with ``tables`` between its markers. Raises UserError: it has not both, in order and once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise UserError(f"the page needs these two lines once, where the tables belong:\n{BEGIN}\n{END}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Keep the results, and write the tables into the page."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.page", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the results, such as build/bench")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of documents")
    chosen = parser.parse_args(arguments)
    shown = chosen.docs / "performance.md"
    try:
        text = shown.read_text(encoding="utf-8")
        between(text, page(read(chosen.folder)))  # or what cannot be shown would be kept
        keep(chosen.folder, chosen.docs / KEPT)
        write_text(shown, between(text, page(read(chosen.docs / KEPT))))
    except UserError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    except (ValueError, KeyError, TypeError) as error:
        parser.error(f"{chosen.folder} holds a .json that no bench has written ({type(error).__name__}: {error})")


def _found(finding: Finding) -> str:
    """Return what a target is held against; with more digits where three would not tell why it was not reached."""
    text, target = spread(finding.values()), finding.target
    middle = median(finding.values())
    if target is None or finding.reached() or float(f"{middle:.3g}") != target.bound:
        return text
    return text.replace(f"{middle:.3g}", f"{middle:.5g}", 1)


def _reached(reached: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[reached]


if __name__ == "__main__":
    main()
