"""What the command line shows: progress, the verdict, lists. Bars on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.errors import UserError
from common.loading import suggest
from common.progress import plain_lines, show_with
from experiments.known import KINDS, known, shortest

if TYPE_CHECKING:  # heavy
    from rich.progress import TaskID

    from common.folder import RunFolder
    from experiments.inventory import Removal, Stored

MARKS = {True: ("yes", "green"), False: ("no", "red"), None: ("not decided", "yellow")}


@contextmanager
def progress(quiet: bool, say: Callable[[str], None] | None = None, *, lines: bool = True) -> Iterator[None]:
    """Show the progress of long steps on standard error, and sentences about what happens by ``say``.

    Where there is no terminal, progress is ``lines``, or nothing.
    """
    if quiet:
        yield
        return
    if not sys.stderr.isatty():
        show_with(plain_lines if lines else None, say)
        try:
            yield
        finally:
            show_with(None)
        return
    import rich.progress as shown  # a fifth of the time of `psreval list`, which needs none of it

    bars = shown.Progress(
        shown.TextColumn("{task.description}"),
        shown.BarColumn(),
        shown.MofNCompleteColumn(),
        shown.TimeElapsedColumn(),
        shown.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}

    def show(title: str, done: int, total: int) -> None:
        if title not in tasks:
            tasks[title] = bars.add_task(title, total=total)
        elif done == 0:
            bars.reset(tasks[title], total=total)
        bars.update(tasks[title], completed=done, visible=True)

    show_with(show, say)
    try:
        with bars:
            yield
    finally:
        show_with(None)


def print_verdict(folder: "RunFolder") -> list[str]:
    """Print the verdict of a run and where its report lies; return the stated thresholds that do not hold."""
    from common.folder import read_json
    from server.verdict import stated_failure

    evaluation = read_json(folder.evaluation)
    told = read_json(folder.manifest)
    console = Console(highlight=False)
    table = Table(
        title=f"{folder.path.parent.name}: private, robust and small?", title_justify="left", show_header=False
    )
    table.add_column(style="bold")
    table.add_column()
    table.add_column(overflow="fold")
    for name, tile in evaluation["verdict"].items():
        mark, colour = MARKS[tile["holds"]]
        table.add_row(f"{name}?", f"[{colour}]{mark}[/{colour}]", escape(tile["sentence"]))
    console.print(table)
    if told["data"]["synthetic"]:
        console.print("The images are synthetic: these numbers say nothing about patients.")
    for warning in evaluation["warnings"]:
        head = "[yellow]not to be believed:[/yellow]" if warning["severity"] == "unreliable" else "Note:"
        console.print(head, escape(warning["sentence"]))
    seconds = told.get("seconds", {})
    if seconds:
        console.print("Time: " + ", ".join(f"{part} {value:.0f} s" for part, value in seconds.items()))
    console.print(f"Report: {shortest(folder.report)}", soft_wrap=True)
    return stated_failure(evaluation["verdict"])


def print_attack(outcome: dict[str, Any]) -> None:
    """Print what one attack did to one target."""
    console = Console(highlight=False)
    console.print(
        f"{outcome['attack']} on {outcome['target']} ({outcome['gradients']}), eps {outcome['eps'] * 255:.3g}/255, "
        f"{outcome['records']} test images, {outcome['seconds']:.1f} s"
    )
    for name in ("clean", "attacked"):
        value, low, high = outcome[name]
        console.print(f"  {name:<9} {outcome['score']} {value:6.1%}   95 % interval {low:.1%} to {high:.1%}")


def print_runs(found: Sequence["Stored"]) -> None:
    """Print the runs of a store, one a line."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "state", "ε", "int8 clean", "worst case", "seconds", "MiB", "age"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right", no_wrap=column == "run")
    for one in found:
        table.add_row(
            f"{one.name}/{one.hash}",
            escape(one.state() + (f": {one.reason}" if one.reason else "")),
            "–" if one.epsilon is None else f"{one.epsilon:.2f}",
            "–" if one.accuracy is None else f"{one.accuracy:.1%}",
            "–" if one.worst is None else f"{one.worst:.1%}",
            "–" if one.seconds is None else f"{one.seconds:.0f}",
            f"{one.bytes / 2**20:.1f}",
            spoken(one.age),
        )
    console.print(table)
    console.print(
        f"{len(found)} run{'' if len(found) == 1 else 's'}, {sum(one.bytes for one in found) / 2**20:.0f} MiB."
    )


def print_removal(removal: "Removal") -> None:
    """Print what was removed, and what stays since a process works on it."""
    console = Console(highlight=False)
    console.print(f"{len(removal.gone)} runs removed, {removal.bytes / 2**20:.0f} MiB free.")
    for one in removal.kept:
        console.print(f"{one.name}/{one.hash} stays: a process works on it now.")


def spoken(seconds: float) -> str:
    """Return a duration as people say it: ``40 s``, ``12 min``, ``3 h 20 min``, ``5 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds / 86400:.0f} days"


def print_known(what: str | None = None) -> None:
    """Print what a description can name: of one kind with a line on each, or the names of every kind."""
    if what is not None and what not in KINDS:
        raise UserError(f"list {what}: unknown{suggest(what, KINDS)}")
    found = known()
    rows = found[what] if what else {kind: ", ".join(found[kind]) for kind in KINDS}
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        table.add_row(name, escape(text))
    console = Console(highlight=False)
    console.print(table)
    if what is None:
        console.print("psreval list WHAT says what each of them is.")
