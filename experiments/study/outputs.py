"""What a study writes: its cells and results as tables of plain numbers, its figures, its page."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from common.folder import write_text
from experiments.study.description import Study
from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.tables import COLUMNS


def write_outputs(
    study: Study, results: Sequence[Result], failures: Sequence[tuple[str, str]], out: Path, runs: Path
) -> list[Path]:
    """Write everything that a study draws from its finished cells; return the files. Raises UserError: a full disk."""
    write_text(out / "cells.csv", cells_table(results, failures, runs))
    write_text(out / "results.csv", results_table(results))
    return [out / "cells.csv", out / "results.csv"]


def cells_table(results: Sequence[Result], failures: Sequence[tuple[str, str]], runs: Path) -> str:
    """Return one line a cell: where it lies, its run's folder, its seed, the ε reached; or why it failed."""
    axes = list(dict.fromkeys(axis for result in results for axis in result.cell.coordinates))
    settings = [field.name for field in fields(Setting)]
    head = ["study", *(f"axis {axis}" for axis in axes), "repeat", "seed", *settings, "epsilon reached", "run", "failure"]
    lines: list[Sequence[object]] = []
    for result in results:
        cell = result.cell
        lines.append(
            [
                cell.study,
                *(cell.coordinates.get(axis, "") for axis in axes),
                cell.repeat,
                cell.experiment.seed,
                *("" if value is None else value for value in astuple(result.setting)),
                "" if result.epsilon is None else result.epsilon,
                result.path.relative_to(runs.resolve()),
                "",
            ]
        )
    blank = [""] * (len(head) - 2)
    lines += [[title, *blank, reason] for title, reason in failures]
    return _csv(head, lines)


def results_table(results: Iterable[Result]) -> str:
    """Return every measure of every cell, long form: the study, repeat and run before the columns of ``results.csv``."""
    lines = []
    for result in results:
        where = (result.cell.study, result.cell.repeat, f"{result.path.parent.name}/{result.path.name}")
        for one in result.measures:
            row = [getattr(one, column) for column in COLUMNS]
            lines.append([*where, *("" if value is None else value for value in row)])
    return _csv(["study", "cell repeat", "run", *COLUMNS], lines)


def _csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()
