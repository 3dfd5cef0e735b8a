"""Grids of experiments, and the store that they share."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import EXIT_THRESHOLD, QuietOption, RunsOption


def study(
    file: Annotated[Path, typer.Argument(help="Study description (TOML), such as experiments/paper/fig5.toml.")],
    scale: Annotated[
        str | None, typer.Option(help="One of the scales that the study's file names. Default: small, or its first.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change every cell: --set federation.rounds=5 (may be repeated)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the cells, what the store has of them, and the time left.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a very large study.")] = False,
    cores: Annotated[
        int | None, typer.Option(min=0, help="Cells at once, one core each; 0: in this process, without Ray.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(min=0.5, help="GiB that all cells together may need. Default: 80 % of what is free.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="Share of a GPU for each cell. Default: a whole one where one is used.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="A running Ray cluster; its disks must share the store.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where figures, tables and the page go. Default: RUNS/studies/NAME-SCALE.")
    ] = None,
    runs: RunsOption = Path("runs"),
    quiet: QuietOption = False,
) -> None:
    """Run a grid of experiments, each thing once, and draw its figures, tables and verdict; the same command resumes.

    Examples:

      psreval study experiments/paper/fig5.toml --dry-run

      psreval study experiments/paper/fig2.toml --scale phantom

      psreval study experiments/paper/claims.toml --scale paper --gpus 0.25 --ray-address auto
    """
    from functools import partial

    from common.config import setting
    from experiments.console import progress
    from experiments.study.screen import print_end, print_plan, print_summary, teller
    from experiments.study.study import prepare_study, run_study

    def agreed(cells: int) -> bool:
        return yes or (sys.stdin.isatty() and typer.confirm(f"{file} has {cells:,} cells. Go on?"))

    with progress(quiet):
        prepared = prepare_study(
            file,
            runs,
            scale=scale,
            changes=dict(setting(change) for change in changes or []),
            out=out,
            agreed=agreed,
            look_only=dry_run,
        )
    if dry_run:
        print_plan(prepared, cores)
        return
    if not quiet:
        print_summary(prepared, cores)
    say = partial(print, "psreval study:", file=sys.stderr, flush=True)
    lines = not quiet and not sys.stderr.isatty()  # on a terminal the bar tells
    with progress(quiet, say, lines=False):
        failures = run_study(
            prepared,
            told=teller(prepared, cores) if lines else lambda outcome: None,
            cores=cores,
            memory=None if memory is None else int(memory * 2**30),
            gpus=gpus,
            address=ray_address,
        )
    print_end(prepared, failures)
    if failures:
        raise typer.Exit(EXIT_THRESHOLD)


def list_runs(
    name: Annotated[
        str, typer.Option(help="Only runs whose name or hash fits: --name paper, --name 'paper/1827*'.")
    ] = "*",
    status: Annotated[
        str | None,
        typer.Option(help="Only: finished, evaluated, trained, resumable, started, damaged, foreign, other version."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only where the description says so: --where privacy.enabled=true.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the runs that are listed, after a question.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """List, filter and remove what is in the store.

    Examples:

      psreval runs --where federation.rounds=8

      psreval runs --status damaged --remove
    """
    from common.errors import UserError
    from experiments.console import print_removal, print_runs
    from experiments.inventory import remove_runs, stored_runs

    found = stored_runs(runs, name=name, status=status, where=where or [])
    print_runs(found)
    if not remove or not found:
        return
    if not yes and not sys.stdin.isatty():
        raise UserError("--remove: nothing was removed, since nobody can be asked here; say --yes, too")
    if yes or typer.confirm(f"Remove {len(found)} runs for good?"):
        print_removal(remove_runs(found, really=True))
