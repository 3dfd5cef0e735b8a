"""Serving real hospitals: ``psreval server``, whose nodes others start."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from common.config import Experiment
from common.data import SERVER_PARTS, Dataset, prepare
from common.exchange import arrays_of
from common.folder import RunFolder
from experiments.run import Work, run
from server.checks import reply_limit
from server.federation import initial_model
from server.link import Certificates, Link, open_link

LINGER = 20.0
"""Seconds that the nodes of a run which had ended before are given to come and hear so."""


def serve_hospitals(
    experiment: Experiment,
    runs: Path,
    *,
    host: str,
    port: int,
    certificates: Path | None,
    report: Callable[[str], None],
) -> RunFolder:
    """Run a federation with the nodes that join, evaluate its model, and return the run's folder.

    Nodes are told as soon as the last round is over; the server listens until the evaluation has ended, too, so that
    who asks whether it lives, or comes late, has an answer.

    Args:
        experiment: the description; what it says of clients beyond their names, each hospital decides for itself.
        runs: where run folders are kept.
        host, port: where to listen; port 0 takes a free one.
        certificates: the folder ``server`` of ``psreval certificates``; None: no TLS, anybody joins.
        report: called with one sentence for each thing that a person may want to know.

    Raises:
        UserError: a mistake in the description, the data or the certificates, an address that cannot be listened on,
            or a federation that came to no model; finished rounds are kept.
    """
    loaded = Certificates.load(certificates) if certificates else None
    with contextlib.ExitStack() as until_the_end:
        links: list[Link] = []

        def listen(dataset: Dataset) -> Link:
            limit = reply_limit(arrays_of(initial_model(experiment, dataset)))
            links.append(until_the_end.enter_context(open_link(host, port, limit, loaded)))
            how = "with TLS, for known keys" if loaded else "without TLS, for anybody"
            report(f"listening on {links[0].address} {how}")
            return links[0]

        def federate(experiment: Experiment, dataset: Dataset, folder: RunFolder, work: Work) -> None:
            link = listen(dataset)
            work(link.grid, link.identities)
            link.grid.farewell()

        folder = run(experiment, runs, "server", federate)
        if not links:
            report("this run had ended before, so nothing was trained; change the description for another")
            _wait(listen(prepare(experiment.data, needs=SERVER_PARTS)), len(experiment.roster()))
    return folder


def _wait(link: Link, nodes: int) -> None:
    deadline = time.monotonic() + LINGER
    while len(link.grid.get_node_ids()) < nodes and time.monotonic() < deadline:
        time.sleep(0.1)
