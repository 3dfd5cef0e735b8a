"""Federations of real hospitals: server, nodes, keys, data."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import EXIT_THRESHOLD, ChangesOption, DescriptionArgument, QuietOption, RunsOption


def server(
    file: DescriptionArgument,
    changes: ChangesOption = None,
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

    experiment = load(file, dict(setting(change) for change in changes or []))
    from experiments.hospitals import serve_hospitals  # seconds; a mistake in the description is told before

    say = partial(print, "psreval server:", file=sys.stderr, flush=True)
    with progress(quiet, None if quiet else say):
        folder = serve_hospitals(experiment, runs, host=host, port=port, certificates=certificates, report=say)
    if print_verdict(folder):
        raise typer.Exit(EXIT_THRESHOLD)


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


def split(
    file: DescriptionArgument,
    out: Annotated[Path, typer.Option(help="Where the folders of the server and each hospital are written.")],
    changes: ChangesOption = None,
) -> None:
    """Cut an experiment's data into a folder for each hospital and one for the server, ready for `node` and `server`.

    Example:  psreval split experiments/compose.toml --out parties
    """
    from common.config import load, setting

    experiment = load(file, dict(setting(change) for change in changes or []))
    from experiments.split import split as split_experiment  # seconds, likewise

    for folder in split_experiment(experiment, out):
        print(folder)
    if not experiment.privacy.secure_noise and any(map(experiment.is_private, experiment.roster())):
        print(
            "For trials only: the hospital files say privacy.secure_noise = false, as the description does, so whoever "
            "knows its seed knows the noise."
        )
