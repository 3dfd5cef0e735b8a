"""The command line: ``psreval run | study | runs | server | node | certificates | split | peer | peers | …``.

Nothing heavy is imported before a command needs it, so ``--help`` and ``list`` answer at once.
"""

import contextlib
import gc
import io
import os
import signal
import sys
import threading

import typer

from common.errors import UserError
from experiments.commands import hospitals, peers, running, studies
from experiments.commands.options import EXIT_DEFECT, EXIT_MISTAKE, EXIT_STOPPED
from experiments.standard_output import checked_output

app = typer.Typer(
    name="psreval",
    help=(
        "Is this federated model private, robust and small - all at once, and against whom?\n\n"
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

for name, command in (
    ("run", running.run),
    ("study", studies.study),
    ("runs", studies.list_runs),
    ("server", hospitals.server),
    ("node", hospitals.node),
    ("certificates", hospitals.certificates),
    ("split", hospitals.split),
    ("peer", peers.peer),
    ("verify-transcript", peers.verify_transcript),
    ("attack", running.attack),
    ("report", running.report),
    ("list", running.list_known),
):
    app.command(name)(command)
app.add_typer(peers.app, name="peers")


def main() -> None:
    """Run the command line; a user's mistake is one sentence, never a traceback."""
    _prepare_process()
    stopped = "psreval: stopped; finished rounds are kept, and the same command resumes"
    try:
        with checked_output():
            code = app(standalone_mode=False)  # typer turns Exit and Ctrl-C into a number here
    except UserError as error:
        _end(EXIT_MISTAKE, f"psreval: {error}")
    except (KeyboardInterrupt, typer.Abort):
        _end(EXIT_STOPPED, stopped)
    except (Exception, SystemExit) as error:
        if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
            _end(0)  # whoever read has read enough
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
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # whoever sends nonsense would write on this terminal
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    if sys.stdout is None:  # it was closed by whoever started this
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ε shows a question mark

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _end(code: int, sentence: str = "") -> None:
    if sentence:
        with contextlib.suppress(OSError):  # the exit code still tells
            print(sentence, file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # or the interpreter would try once more, and tell so
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if code == EXIT_STOPPED and others:
        os._exit(code)  # Flower's server thread would wait for replies that nobody sends any more
    for found in gc.get_objects():
        if issubclass(type(found), io.IOBase):
            with contextlib.suppress(Exception):  # what is closed, or cannot be written, is not ours to tell
                found.flush()
    gc.freeze()  # or the interpreter would look for cycles among all its objects before it ends
    sys.exit(code)


if __name__ == "__main__":
    main()
