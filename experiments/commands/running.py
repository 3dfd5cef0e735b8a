"""One experiment: run it, attack its model, report it, list what it can name."""

import time
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import EXIT_THRESHOLD, ChangesOption, QuietOption, RunsOption

DEMO = Path(__file__).resolve().parent.parent / "demo.toml"


def run(
    file: Annotated[
        Path | None, typer.Argument(help="Experiment description (TOML). Without it: the demo.", show_default=False)
    ] = None,
    changes: ChangesOption = None,
    runner: Annotated[
        str, typer.Option(help="inprocess, ray (many clients on many cores) or processes.")
    ] = "inprocess",
    runs: RunsOption = Path("runs"),
    quiet: QuietOption = False,
) -> None:
    """Run a federation, compress its model, attack it, and write the verdict and a report.

    A run that was stopped resumes at its last finished round; one that has ended is only reported again.

    Examples:

      psreval run

      psreval run experiments/pneumonia.toml --set data.image_size=64

      psreval run experiments/private.toml --set privacy.epsilon=3.4 --runner ray
    """
    from common.config import load, setting
    from experiments.console import print_verdict, progress

    experiment = load(file or DEMO, dict(setting(change) for change in changes or []))
    from experiments.run import run as run_experiment  # seconds; a mistake in the description is told before

    started = time.time()
    with progress(quiet):
        folder = run_experiment(experiment, runs, runner)
    if folder.results.stat().st_mtime < started:
        print("This run had ended before; nothing was run. Change the description for another (--set seed=2).")
    failed = print_verdict(folder)
    if failed:
        raise typer.Exit(EXIT_THRESHOLD)


def attack(
    model: Annotated[Path, typer.Argument(help="A run: its folder, or a file in it.")],
    name: Annotated[str, typer.Option("--attack", help="See `psreval list attacks`.")] = "pgd",
    target: Annotated[str, typer.Option(help="fp32 or int8.")] = "int8",
    gradients: Annotated[
        str | None, typer.Option(help="Whose gradients: fp32 or twin (of int8). Default: the target's own.")
    ] = None,
    eps: Annotated[str, typer.Option(help="Perturbation budget, e.g. 8/255.")] = "8/255",
    step_size: Annotated[str, typer.Option(help="Step size, e.g. 2/255.")] = "2/255",
    steps: Annotated[int, typer.Option(min=1, help="Steps of an iterative attack.")] = 10,
    queries: Annotated[int, typer.Option(min=1, help="Forward passes an image of a query attack.")] = 1000,
    records: Annotated[
        int | None, typer.Option(min=1, help="So many test images, a stratified draw; else all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    quiet: QuietOption = False,
) -> None:
    """Attack the model of any run with any attack, and print its accuracy before and after.

    Example:  psreval attack runs/demo --attack autoattack --records 100
    """
    from experiments.again import attack_run
    from experiments.console import print_attack, progress

    with progress(quiet):
        outcome = attack_run(
            model,
            name=name,
            target=target,
            gradients=gradients,
            eps=eps,
            step_size=step_size,
            steps=steps,
            queries=queries,
            records=records,
            seed=seed,
        )
    print_attack(outcome)


def report(path: Annotated[Path, typer.Argument(help="A run's folder, or runs/NAME.")]) -> None:
    """Draw a run's report and model card again, and print its verdict."""
    from experiments.console import print_verdict
    from experiments.model_card import write_model_card
    from experiments.report import write_report
    from experiments.store import check_version, find_run

    folder = find_run(path)
    check_version(folder)
    write_report(folder)
    write_model_card(folder)
    print_verdict(folder)


def list_known(
    what: Annotated[
        str | None,
        typer.Argument(
            help="clients, attacks, aggregation, merge (of peers), data, models or experiments. Without it: all names.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List what a description can name; each also takes 'file.py:object' of your own."""
    from experiments.console import print_known

    print_known(what)
