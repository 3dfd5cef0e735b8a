"""The command line: ``psreval run | study | runs | server | node | certificates | split | attack | report | list``.

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
        "in about a minute.\n\nExit codes: 0 fine, 1 a threshold that the description states does not hold or a "
        "cell of a study failed, 2 a mistake to mend, 3 a defect of psreval, 130 stopped by Ctrl-C (the same command "
        "resumes)."
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
def study(
    file: Annotated[Path, typer.Argument(help="Study description (TOML), such as experiments/paper/fig5.toml.")],
    scale: Annotated[
        str | None, typer.Option(help="One of the study's scales: small, paper, phantom. Default: small.")
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


@app.command("runs")
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


@app.command()
def server(
    file: Annotated[Path, typer.Argument(help="Experiment description (TOML).")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change the description (may be repeated).")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.")] = 8000,
    certificates: Annotated[
        Path | None, typer.Option(help="Folder 'server' of `psreval certificates`. Without it: no TLS, anybody joins.")
    ] = None,
    runs: RunsOption = Path("runs"),
    quiet: QuietOption = False,
) -> None:
    """Run a federation of real hospitals: wait for their nodes, then as `psreval run`.

    A server that is started again resumes at its last finished round; the nodes find it by themselves.

    Example:  psreval server experiments/pneumonia.toml --host 0.0.0.0 --certificates certificates/server
    """
    from functools import partial

    from common.config import load, setting
    from experiments.console import print_verdict, progress
    from experiments.hospitals import serve_hospitals

    experiment = load(file, dict(setting(change) for change in changes or []))
    say = partial(print, "psreval server:", file=sys.stderr, flush=True)
    with progress(quiet, None if quiet else say):
        folder = serve_hospitals(experiment, runs, host=host, port=port, certificates=certificates, report=say)
    if print_verdict(folder):
        raise typer.Exit(EXIT_THRESHOLD)


@app.command()
def node(
    hospital: Annotated[Path, typer.Argument(help="The hospital's own description (TOML).")],
    address: Annotated[str, typer.Option("--server", help="HOST:PORT of the server.")] = "127.0.0.1:8000",
    certificates: Annotated[
        Path | None, typer.Option(help="This node's folder of `psreval certificates`. Without it: no TLS.")
    ] = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for a server that does not answer.")] = 600.0,
    stay: Annotated[
        bool, typer.Option("--stay", help="Wait for the next run instead of ending with this one.")
    ] = False,
) -> None:
    """Take part as a hospital: train on its own data, as its own description says, until the run is over.

    Example:  psreval node hospital-a/hospital.toml --server fl.example.org:8000 --certificates hospital-a
    """
    from functools import partial

    from clients.node import run_node
    from experiments.processes import end_with_parent

    end_with_parent()
    say = partial(print, "psreval node:", file=sys.stderr, flush=True)
    run_node(hospital, address, certificates, patience=patience, stay=stay, report=say)


@app.command()
def certificates(
    folder: Annotated[Path, typer.Argument(help="Where the folders of the authority, the server and each node lie.")],
    servers: Annotated[
        list[str] | None, typer.Option("--server", help="DNS name or address of the server (may be repeated).")
    ] = None,
    nodes: Annotated[
        list[str] | None, typer.Option("--node", help="A hospital's name, as in the description (may be repeated).")
    ] = None,
    days: Annotated[int, typer.Option(help="Days that the server's certificate is valid.")] = 365,
) -> None:
    """Make an authority, the server's certificate and a key for each hospital; what is there stays.

    Example:  psreval certificates keys --server fl.example.org --node north --node south
    """
    from experiments.certificates import make_certificates

    for sentence in make_certificates(folder, servers or [], nodes or [], days=days):
        print(sentence)


@app.command()
def split(
    file: Annotated[Path, typer.Argument(help="Experiment description (TOML).")],
    out: Annotated[Path, typer.Option(help="Where the folders of the server and each hospital are written.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change the description (may be repeated).")
    ] = None,
) -> None:
    """Cut an experiment's data into a folder for each hospital and one for the server, ready for `node` and `server`.

    Example:  psreval split experiments/compose.toml --out parties
    """
    from common.config import load, setting
    from experiments.split import split as split_experiment

    experiment = load(file, dict(setting(change) for change in changes or []))
    for folder in split_experiment(experiment, out):
        print(folder)
    if not experiment.privacy.secure_noise and any(map(experiment.is_private, experiment.roster())):
        print(
            "For trials only: the hospital files say privacy.secure_noise = false, as the description does, so whoever "
            "knows its seed knows the noise."
        )


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
        if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has read enough
            _end(0)
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
