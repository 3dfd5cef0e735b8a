"""The command line: ``psreval run | attack | report | list``.

Nothing heavy is imported before a command needs it, so ``--help`` and ``list`` answer at once.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

EXIT_THRESHOLD, EXIT_MISTAKE, EXIT_DEFECT, EXIT_STOPPED = 1, 2, 3, 130
DEMO = Path(__file__).parent / "demo.toml"

app = typer.Typer(
    name="psreval",
    help=(
        "Is this federated image classifier private, robust and small - all at once, and against whom?\n\n"
        "Start with [bold]psreval run[/bold]: two hospitals, one of them malicious, on built-in synthetic X-rays, "
        "in about a minute.\n\nExit codes: 0 fine, 1 a threshold that the description states does not hold, "
        "2 a mistake to mend, 3 a defect of psreval, 130 stopped by Ctrl-C (the same command resumes)."
    ),
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RunsOption = Annotated[Path, typer.Option("--runs", help="Where run folders are kept.", envvar="PSREVAL_RUNS")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@app.command()
def run(
    file: Annotated[
        Path | None, typer.Argument(help="Experiment description (TOML). Without it: the demo.", show_default=False)
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the description: --set federation.rounds=5 (may be repeated)."),
    ] = None,
    runner: Annotated[str, typer.Option(help="inprocess, or ray (many clients on many cores).")] = "inprocess",
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
    from experiments.run import run as run_experiment

    experiment = load(file or DEMO, dict(setting(change) for change in changes or []))
    started = time.time()
    with progress(quiet):
        folder = run_experiment(experiment, runs, runner)
    if folder.results.stat().st_mtime < started:
        print("This run had ended before; nothing was run. Change the description for another (--set seed=2).")
    failed = print_verdict(folder)
    if failed:
        raise typer.Exit(EXIT_THRESHOLD)


@app.command()
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


@app.command()
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


@app.command("list")
def list_known(
    what: Annotated[str, typer.Argument(help="clients, attacks, aggregation, data, models or experiments.")],
) -> None:
    """List what a description can name; each also takes 'file.py:object' of your own."""
    from experiments.console import print_known

    print_known(what)


def main() -> None:
    """Run the command line; a user's mistake is one sentence, never a traceback."""
    _prepare_process()
    from common.errors import UserError

    stopped = "psreval: stopped; finished rounds are kept, and the same command resumes"
    try:
        code = app(standalone_mode=False)  # typer turns Exit and Ctrl-C into a number here
    except UserError as error:
        _end(EXIT_MISTAKE, f"psreval: {error}")
    except (KeyboardInterrupt, typer.Abort):
        _end(EXIT_STOPPED, stopped)
    except (Exception, SystemExit) as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the command line itself was mistaken
            _end(EXIT_MISTAKE, f"psreval: {error.format_message()} (psreval --help)")
        import traceback

        traceback.print_exc()
        _end(EXIT_DEFECT, "psreval: this is a defect of psreval, not your mistake; please report the lines above")
    _end(code or 0, stopped if code == EXIT_STOPPED else "")


def _prepare_process() -> None:
    # Before Flower and Ray are imported: no telemetry, no update check, no log lines among ours.
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    os.environ.setdefault("FLWR_LOG_LEVEL", "ERROR")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _end(code: int, sentence: str = "") -> None:
    if sentence:
        print(sentence, file=sys.stderr, flush=True)
    sys.stdout.flush()
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if code == EXIT_STOPPED and others:
        os._exit(code)  # Flower's server thread would wait for replies that nobody sends any more
    sys.exit(code)


if __name__ == "__main__":
    main()
