"""``python -m experiments.secure_study.publish``: the study of poisoners and cheating aggregators, for docs/.

Resumes like any study; with everything in the store it only draws again. The MedMNIST file must lie where
``base/medmnist.toml`` says.
"""

import os
import sys
from functools import partial
from pathlib import Path

from common.errors import UserError
from common.folder import write_text
from experiments.study.copies import copied
from experiments.study.study import prepare_study, run_study

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"
PAGE = "secure-study.md"
STUDIES = ("ten", "twenty", "rules", "claims")
LEFT_OUT = ("costs",)
"""Seconds and bytes have a bench of their own, on an idle machine."""


def publish(runs: Path, docs: Path = DOCS, scale: str = "small", page: Path | None = None) -> None:
    """Run the studies, copy their figures and tables below ``docs/figures``, and write the page of results.

    Args:
        runs: the store.
        docs: the folder that the page and the figures are for.
        scale: which size of the studies.
        page: the page's file; None: ``secure-study.md`` in ``docs``.

    Raises:
        UserError: as ``run_study``; a cell failed.
    """
    figures: list[str] = []
    claims = ""
    for name in STUDIES:
        prepared = prepare_study(HERE / f"{name}.toml", runs, scale=scale)
        failures = run_study(prepared, cores=0, told=partial(print, name, file=sys.stderr))
        if failures:
            raise UserError(f"{name}: {len(failures)} cells failed, the first, {failures[0][0]}: {failures[0][1]}")
        figures += copied(prepared, docs / "figures", LEFT_OUT)
        if prepared.study.file.claims:
            claims = (prepared.out / "claims.md").read_text(encoding="utf-8")
    verdict, heading, rest = claims.partition("## What was run")
    parts = ["# Poisoners and cheating aggregators, protocol by protocol", verdict.strip(), "## Figures", *figures,
             (heading + rest).strip()]  # fmt: skip
    write_text(page or docs / PAGE, "\n\n".join(part for part in parts if part) + "\n")


def main() -> None:
    """Publish from the store that ``PSREVAL_RUNS`` names, or ``runs``."""
    publish(Path(os.environ.get("PSREVAL_RUNS", "runs")))


if __name__ == "__main__":
    main()
