"""What a study writes: its cells and results as tables of plain numbers, its figures, its page."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path
from typing import Any

from common.folder import RunFolder, read_json, write_json, write_text
from experiments.study.braintorrent_page import braintorrent_page
from experiments.study.claims_page import claims_page
from experiments.study.description import PAPER, Study
from experiments.study.facts import measure_facts
from experiments.study.published import inlined, kind_of, publish, publish_costs
from experiments.study.results import Result
from experiments.study.secure_page import secure_page
from experiments.study.setting import Setting
from experiments.study.verdict_page import verdict_page
from experiments.tables import COLUMNS

DRAWN = "drawn.json"
"""Which files a study drew, so that a later drawing removes those, and only those, that it does not draw any more."""
FACT_RECORDS = 200
"""Test images that the released code's faults are measured on."""


def write_outputs(
    study: Study, results: Sequence[Result], failures: Sequence[tuple[str, str]], out: Path, runs: Path
) -> None:
    """Write everything that a study draws from its finished cells: nothing of it is read again, all can be redrawn.

    Raises:
        UserError: a figure that there is none of, a full disk, runs whose data or models are gone.
    """
    write_text(out / "cells.csv", cells_table(results, failures, runs))
    write_text(out / "results.csv", results_table(results))
    file, scale = study.file, _scale(study)
    notes = [f"{len(failures)} of {len(failures) + len(results)} cells have no results."] if failures else []
    figures: dict[str, str] = {}
    written: list[Path] = []
    for position, figure in enumerate(file.figures):
        title, stem = (file.title, file.name) if position == 0 else ("", f"{file.name}-{figure}")
        written += publish(results, figure, title, out, notes=notes, stem=stem)
        caption = title or kind_of(figure).title
        for name, drawn in inlined(results, figure, title, notes).items():
            suffix = name.removeprefix(figure).replace("-", " ").strip()
            figures[f"{caption}: {suffix}" if suffix else caption] = drawn
    publish_costs(results, out)
    _forget_older(out, written)
    page = verdict_page(
        file.title or file.name,
        results,
        figures,
        failures,
        scale,
        description=file.description,
        command=_command(study),
        folder=out.resolve(),
    )
    write_text(out / "study.html", page)
    if file.claims == "braintorrent":
        write_text(out / "claims.md", braintorrent_page(results, scale, partial(_command_of, study)))
    elif file.claims == "secure":
        write_text(out / "claims.md", secure_page(results, scale, partial(_command_of, study)))
    elif file.claims:
        facts = _facts(results, out)
        write_text(out / "claims.md", claims_page(results, facts, scale, partial(_command_of, study)))


def _forget_older(out: Path, written: Sequence[Path]) -> None:
    """Remove what this study drew here before and does not draw any more, then note what it has drawn now."""
    now = sorted(path.relative_to(out).as_posix() for path in written)
    before = read_json(out / DRAWN) if (out / DRAWN).exists() else []
    for name in set(before) - set(now):
        (out / name).unlink(missing_ok=True)
    write_json(out / DRAWN, now)


def _scale(study: Study) -> str:
    said = study.size.description
    return f"{study.scale}: {said}" if study.scale and said else study.scale


def _command(study: Study) -> str:
    return _command_of(study, study.path.stem)


def _command_of(study: Study, name: str) -> str:
    """Return what runs a study of this folder at this scale."""
    place = study.path.with_stem(name)
    root = PAPER.parent.parent
    shown = place.resolve().relative_to(root) if place.resolve().is_relative_to(root) else place
    scale = f" --scale {study.scale}" if study.scale not in ("", "small") else ""
    changes = "".join(f" --set '{key}={json.dumps(value, default=str)}'" for key, value in study.last.items())
    return f"psreval study {shown}{scale}{changes}"


def _facts(results: Sequence[Result], out: Path) -> dict[str, Any]:
    """Return the facts beside the cells; measured once for the same cells, since seconds differ from time to time."""
    place = out / "facts.json"
    of = sorted({f"{result.path.parent.name}/{result.path.name}" for result in results})
    if place.exists():
        kept: dict[str, Any] = read_json(place)
        if kept.get("of") == of:
            return kept
    runs = [(result.cell.experiment, RunFolder(result.path)) for result in results]
    facts = {**measure_facts(runs, records=FACT_RECORDS, seed=1), "of": of}
    write_json(place, facts)
    return facts


def cells_table(results: Sequence[Result], failures: Sequence[tuple[str, str]], runs: Path) -> str:
    """Return one line a cell: where it lies, its run's folder, its seed, the ε reached; or why it failed."""
    axes = list(dict.fromkeys(axis for result in results for axis in result.cell.coordinates))
    settings = [field.name for field in fields(Setting)]
    head = [
        "study",
        *(f"axis {axis}" for axis in axes),
        "repeat",
        "seed",
        *settings,
        "epsilon reached",
        "run",
        "failure",
    ]
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
    """Return every measure of every cell, long form: study, repeat and run before the columns of ``results.csv``."""
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
