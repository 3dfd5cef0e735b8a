"""Copies of what a study drew, for the documentation: figures, tables, and the paragraphs that show them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from experiments.study.study import Prepared

LEFT_OUT = ("learning-curves",)
"""Tables of every round of every cell are in the study's folder, and nowhere else."""


def copied(prepared: Prepared, figures: Path, left_out: Sequence[str] = LEFT_OUT) -> list[str]:
    """Copy a study's drawings and tables into ``figures``; return its paragraphs, none if it draws nothing.

    Tables whose names hold one of ``left_out`` stay where they are.
    """
    file = prepared.study.file
    drawings = sorted(prepared.out.glob("*.svg"), key=lambda path: (path.stem != file.name, path.stem))
    tables = sorted((prepared.out / "tables").glob("*.md"))
    if not drawings:
        return []
    (figures / "tables").mkdir(parents=True, exist_ok=True)
    parts = [f"### {file.title}", file.description]
    for drawing in drawings:
        shutil.copyfile(drawing, figures / drawing.name)
        parts.append(f"![{drawing.stem}](figures/{drawing.name})")
    links = []
    for table in tables:
        if any(words in table.stem for words in left_out):
            continue
        name = table.name if table.stem.startswith(file.name) else f"{file.name}-{table.name}"
        shutil.copyfile(table, figures / "tables" / name)
        links.append(f"- [{name.removesuffix('.md')}](figures/tables/{name})")
    return [*parts, "\n".join(links)]
