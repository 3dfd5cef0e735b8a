"""The findings as Markdown, for the terminal and for docs/performance.md."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from experiments.bench.findings import Finding, Target

COLUMNS = ("path", "compared with", "measure", "other", "ours", "found", "to reach", "reached")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"


def table(told: Mapping[str, Any]) -> str:
    """Return a part's findings as a table: medians, least and most in brackets."""
    facts = told["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    head = (
        f"### {told['part']}\n\n{facts['cpu']}, {facts['cores']} cores, {versions}; {told['repeats']} repeats, load "
        f"{told['load_before']} before\n\n"
    )
    return head + HEAD + "".join(row(finding_of(entry)) for entry in told["findings"])


def finding_of(entry: Mapping[str, Any]) -> Finding:
    """Return a finding as it was written down."""
    target = entry["target"]
    return Finding(**{**entry, "target": None if target is None else Target(**target)})


def row(finding: Finding) -> str:
    """Return a finding's line of a table."""
    reached = {True: "yes", False: "no", None: ""}[finding.reached()]
    cells = (
        finding.path,
        finding.against,
        finding.measure,
        spread(finding.other),
        spread(finding.ours),
        spread(finding.values()) if finding.other else "",
        "" if finding.target is None else finding.target.words(finding.measure),
        "; ".join(part for part in (reached, finding.note) if part),
    )
    return "| " + " | ".join(cells) + " |\n"


def spread(values: Sequence[float]) -> str:
    """Return the median, with least and most in brackets where there are several; three digits."""
    if not values:
        return ""
    middle = f"{median(values):.3g}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g}–{max(values):.3g})"
