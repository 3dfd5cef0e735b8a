"""What `psreval study` shows: the cells and what the store has of them, the time left, how it ended."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.console import spoken
from experiments.study.plan import Federation, Planned
from experiments.study.study import Prepared
from experiments.study.tasks import Outcome, time_left

WIDTH = 180
"""Columns where there is no terminal."""


def cores_of(asked: int | None) -> int:
    """Return how many pieces of work run at once: as asked, at least one, else as many as this process may use."""
    if asked is not None:
        return max(1, asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def print_plan(prepared: Prepared, cores: int | None) -> None:
    """Print every cell, whether its federation and its evaluation are in the store, and the time left."""
    plan, console = prepared.plan, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    seconds = {task.key: task.seconds for task in prepared.tasks}
    table = Table(title=_head(prepared), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("cell", "federation", "evaluation"):
        table.add_column(column, overflow="fold")
    table.add_column("run", no_wrap=True)
    for one in plan.evaluations:
        federation = plan.federations[one.federation]
        told = (_federation_state(federation, one, seconds), _evaluation_state(one, seconds))
        first, *others = (escape(cell.title()) for cell in one.cells)
        table.add_row(first, *told, f"{one.folder.path.parent.name}/{one.folder.path.name}")
        for other in dict.fromkeys(others):
            table.add_row(other, "", "the same", "")
    console.print(table)
    print_summary(prepared, cores)


def print_summary(prepared: Prepared, cores: int | None) -> None:
    """Print how much there is and how much is left."""
    plan, console = prepared.plan, Console(highlight=False)
    finished = len(plan.evaluations) - len(plan.to_evaluate())
    cells = sum(len(one.cells) for one in plan.evaluations)
    console.print(
        f"{cells} cells, {len(plan.evaluations)} different ones, of which {finished} are in the store; "
        f"{len(plan.to_train())} of {len(plan.federations)} federations to train."
    )
    for sentence in plan.aside:
        console.print(f"[yellow]Set aside:[/yellow] {escape(sentence)}")
    if prepared.tasks:
        many = cores_of(cores)
        left = spoken(time_left(prepared.tasks, {}, many))
        console.print(f"About {left} left on {many} core{'s' if many > 1 else ''}, by a quick measurement here.")


def teller(prepared: Prepared, cores: int | None) -> Callable[[Outcome], None]:
    """Return a function that says what has ended and how long the rest will take, a line each on standard error."""
    titles = {task.key: task.title for task in prepared.tasks}
    ended: list[Outcome] = []

    def told(outcome: Outcome) -> None:
        ended.append(outcome)
        how = f"{outcome.seconds:.0f} s" if outcome.failure is None else "failed" if not outcome.skipped else "left out"
        left = spoken(time_left(prepared.tasks, ended, cores_of(cores)))
        line = f"{len(ended)}/{len(titles)} {titles[outcome.key]}: {how}; about {left} left"
        print(line, file=sys.stderr, flush=True)

    return told


def print_end(prepared: Prepared, failures: Sequence[tuple[str, str]]) -> None:
    """Print what failed, and where the figures and the page are."""
    console = Console(highlight=False)
    for cell, reason in failures:
        console.print(f"[red]failed[/red] {escape(cell)}: {escape(reason)}", soft_wrap=True)
    done = sum(len(one.cells) for one in prepared.plan.evaluations if one.folder.results.exists())
    asked = sum(len(one.cells) for one in prepared.plan.evaluations)
    console.print(f"{done} of {asked} cells have results.")
    for name in ("study.html", "claims.md"):
        if (prepared.out / name).exists():
            console.print(
                f"{'Page' if name == 'study.html' else 'Claims'}: {_shortest(prepared.out / name)}", soft_wrap=True
            )
    console.print(f"Figures and tables: {_shortest(prepared.out)}", soft_wrap=True)


def _head(prepared: Prepared) -> str:
    study = prepared.study
    scale = f", scale {study.scale}" if study.scale else ""
    said = f" ({study.size.description})" if study.size.description else ""
    return f"{study.file.title or study.file.name}{scale}{said}"


def _federation_state(federation: Federation, one: Planned, seconds: dict[str, float]) -> str:
    if one.finished or federation.trained:
        return "in the store"
    took = f"about {spoken(seconds.get(federation.key, 0))}"
    if federation.rounds:
        return f"resumes after round {federation.rounds} of {federation.experiment.federation.rounds}, {took}"
    return f"to train, {took}"


def _evaluation_state(one: Planned, seconds: dict[str, float]) -> str:
    return "in the store" if one.finished else f"to do, about {spoken(seconds.get(one.key, 0))}"


def _shortest(path: Path) -> str:
    here, place = Path.cwd(), path.resolve()
    return str(place.relative_to(here)) if place.is_relative_to(here) else str(place)
