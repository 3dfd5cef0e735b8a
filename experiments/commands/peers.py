"""Federations without a server: one peer, its certificates, its data."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import EXIT_THRESHOLD, ChangesOption, DescriptionArgument, QuietOption

app = typer.Typer(help="Certificates and folders for a federation without a server.", no_args_is_help=True)
"""``psreval peers …``."""


def peer(
    config: Annotated[Path, typer.Option(help="The peer's own description (TOML).")],
    quiet: QuietOption = False,
) -> None:
    """Take part in a federation without a server, until it has ended and nobody needs this peer any more.

    A peer that is started again goes on after its last finished local update, or round. One whose file has a section
    peer.evaluation evaluates what came of it and writes a report.

    Example:  psreval peer --config north/peer.toml
    """
    from functools import partial

    from experiments.console import print_verdict, progress
    from experiments.peer_file import load_agreement, load_peer
    from experiments.peer_node import run_peer
    from experiments.processes import end_with_parent
    from experiments.secure_peer import run_secure_peer

    end_with_parent()
    say = partial(print, "psreval peer:", file=sys.stderr, flush=True)
    protocol = load_agreement(load_peer(config).peer.agreement).experiment.protocol
    with progress(quiet, None):
        folder = (run_secure_peer if protocol == "secure" else run_peer)(config, report=say)
    if folder is not None and print_verdict(folder):
        raise typer.Exit(EXIT_THRESHOLD)


def verify_transcript(
    file: Annotated[Path, typer.Argument(help="A round's transcript, as transcripts/round-1.jsonl in a run's folder.")],
    keys: Annotated[
        Path | None,
        typer.Option(help="Folder of the public signing keys that you trust, as `psreval peers certificates` made it."),
    ] = None,
) -> None:
    """Recompute what came of a round of the secure protocol from what its peers said, and who cheated.

    Without --keys, signatures are checked with the keys in the file: compare those that are printed with your own.

    Example:  psreval verify-transcript runs/secure/0123456789abcdef/transcripts/round-1.jsonl --keys parties
    """
    from experiments.secure_transcript import told

    for sentence in told(file, keys):
        print(sentence)


@app.command()
def certificates(
    folder: Annotated[Path, typer.Argument(help="Where the folders of the authority and of each peer lie.")],
    peers: Annotated[
        list[str] | None, typer.Option("--peer", help="A peer's name, as in the description (may be repeated).")
    ] = None,
    days: Annotated[int, typer.Option(help="Days that a peer's certificate is valid.")] = 365,
) -> None:
    """Make an authority, and a key and a certificate for each peer; what is there stays, what expires is renewed.

    Example:  psreval peers certificates parties --peer north --peer south
    """
    from experiments.peer_certificates import make_peer_certificates

    for sentence in make_peer_certificates(folder, peers or [], days=days):
        print(sentence)


@app.command()
def prepare(
    file: DescriptionArgument,
    out: Annotated[Path, typer.Option(help="Where the peers' folders are written.")],
    addresses: Annotated[
        list[str] | None,
        typer.Option("--address", help="NAME=HOST:PORT, one for each peer. None at all: all on this machine."),
    ] = None,
    evaluate: Annotated[str | None, typer.Option(help="Who evaluates what comes of it; the first peer.")] = None,
    changes: ChangesOption = None,
) -> None:
    """Cut an experiment's data into a folder for each peer, with its own file and the agreement, ready for `peer`.

    Example:  psreval peers prepare experiments/braintorrent.toml --out parties
    """
    import shlex

    from common.config import load, setting
    from common.errors import UserError

    reached: dict[str, str] = {}
    for address in addresses or []:
        name, equals, place = address.partition("=")
        if not equals:
            raise UserError(f"--address {address}: write NAME=HOST:PORT, for example north=north.example.org:9000")
        if name in reached:
            raise UserError(f"--address {address}: {name} has one already, {reached[name]}; give each peer one address")
        reached[name] = place
    experiment = load(file, dict(setting(change) for change in changes or []))
    from experiments.peer_split import prepare_peers  # seconds; a mistake in the description is told before

    folders = prepare_peers(experiment, out, reached, evaluate)
    for folder in folders:
        print(folder)
    named = " ".join(f"--peer {shlex.quote(folder.name)}" for folder in folders)
    print(f"Next come the certificates: psreval peers certificates {shlex.quote(str(out))} {named}")
    if not experiment.privacy.secure_noise and any(map(experiment.is_private, experiment.roster())):
        print(
            "For trials only: the peers' files say privacy.secure_noise = false, as the description does, so whoever "
            "knows its seed knows the noise."
        )
