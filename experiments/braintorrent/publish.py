"""``python -m experiments.braintorrent.publish``: BrainTorrent's studies, small scale, and what docs/ shows of them.

Resumes like any study; with everything in the store it only draws again.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.errors import UserError
from common.folder import write_text
from experiments.study.copies import copied
from experiments.study.study import prepare_study, run_study

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"
PAGE = "braintorrent.md"
STUDIES = ("dice", "accuracy", "attacks", "claims")
BEGIN = "<!-- From here on: python -m experiments.braintorrent.publish. Do not edit. -->"
"""What stands in the page before everything that this writes."""


def publish(runs: Path, docs: Path = DOCS, scale: str = "small", studies: Sequence[str] = STUDIES) -> None:
    """Run the studies, copy their figures and tables below ``docs/figures``, and write the results into the page.

    Args:
        runs: the store.
        docs: the folder with ``braintorrent.md``, whose end is replaced.
        scale: which size of the studies.
        studies: names of files beside this one.

    Raises:
        UserError: as ``run_study``; a cell failed; the page does not say where its results begin.
    """
    page = docs / PAGE
    written, mark, _ = page.read_text(encoding="utf-8").partition(BEGIN)
    if not mark:
        raise UserError(f"{page} has no line '{BEGIN}'; put it where the results are to stand")
    figures: list[str] = ["## Figures"]
    claims = ""
    for name in studies:
        prepared = prepare_study(HERE / f"{name}.toml", runs, scale=scale)
        failures = run_study(prepared, told=partial(print, name, file=sys.stderr))
        if failures:
            raise UserError(f"{name}: {len(failures)} cells failed, the first, {failures[0][0]}: {failures[0][1]}")
        figures += copied(prepared, docs / "figures")
        if prepared.study.file.claims:
            claims = (prepared.out / "claims.md").read_text(encoding="utf-8")
    verdict, heading, rest = claims.partition("## What was run")
    parts = [written + BEGIN, verdict.strip(), *figures, (heading + rest).strip()]
    write_text(page, "\n\n".join(part for part in parts if part) + "\n")


def main() -> None:
    """Publish from the store that ``PSREVAL_RUNS`` names, or ``runs``."""
    publish(Path(os.environ.get("PSREVAL_RUNS", "runs")))


if __name__ == "__main__":
    main()
