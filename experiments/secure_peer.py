"""``psreval peer`` for ``protocol = "secure"``: one peer, as its own file says, from joining to the report."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.exchange import load_arrays
from common.folder import RunFolder, write_arrays
from experiments.peer_federation import facts_of
from experiments.peer_file import host_and_port
from experiments.peer_node import OWN_MODEL, initial
from experiments.peer_report import Place, evaluate_place, evaluation_place
from experiments.secure_account import (
    SecureAccount,
    decode_secure_account,
    encode_secure_account,
    secure_account_limit,
)
from experiments.secure_node import TRANSCRIPTS, SecureNode, open_secure_node
from experiments.secure_play import BEAT, Connected, find_place, play_round
from experiments.secure_report import write_secure_federation
from peers.listen import Answering
from peers.membership import greeting
from peers.neighbours import Unreachable
from peers.process import Contact, open_network
from peers.secure.network import EndedEarlyError
from peers.wire import RefusedError

_STAYS = 10
"""Times ``peer.exchange_timeout`` that a peer which is done stays for others that may need it."""


def run_secure_peer(
    config: Path, *, report: Callable[[str], None], over: threading.Event | None = None
) -> RunFolder | None:
    """Take part in a run until it has ended and nobody needs this peer any more; evaluate it, if the file says so.

    Args:
        config: the peer's own file.
        report: called with one sentence for each thing that a person may want to know.
        over: set by whoever wants it to end early.

    Returns:
        The run's folder if this peer has evaluated it, else None.

    Raises:
        UserError: as ``experiments.peer_node.run_peer``; a signing key that is missing; too many rounds in a row
            without a result.
    """
    with open_secure_node(config) as node:
        place = evaluation_place(node.file, node.agreed)
        if not _take_part(node, place, report, over or threading.Event()):
            report(f"{node.name}: ended early")
            return None
        report(f"{node.name}: the run is over")
        return None if place is None or not place.folder.model.exists() else evaluate_place(place)


def _take_part(node: SecureNode, place: Place | None, report: Callable[[str], None], over: threading.Event) -> bool:
    """Play all rounds that are left, and answer the others until nobody needs this peer; False: it was told to end."""
    host, port = host_and_port(node.file.peer.listen, least=0)
    contact = Contact(node.credentials, host, port, node.file.peer.addresses)
    facts, rounds = facts_of(node.learner), node.experiment.federation.rounds
    report(f"{node.name}: run {node.state.run[:16]}, {len(node.learner.place.holding)} records")
    answering = Answering(
        node.answer, account=lambda: encode_secure_account(facts, node.state), letters=node.mailbox.letters
    )
    ended = (node.home / OWN_MODEL).exists()
    with open_network(contact, node.parts, answering, report) as network:
        report(f"listening on {network.address}, with {node.state.round} of {rounds} rounds over")
        here = Connected(node, network, place, report, over)
        network.membership.join(network.dialler)
        with greeting(network.membership, network.dialler):
            try:
                find_place(here)
                while node.state.round < rounds and node.name not in node.state.excluded:
                    play_round(here)
                    find_place(here)
                if not ended:
                    _finish(here, facts)
            except EndedEarlyError:
                return False
        patience = _STAYS * node.file.peer.exchange_timeout
        network.membership.leave(network.dialler, patience, over.wait, left_out=node.state.excluded)
        return not over.is_set()


def _finish(here: Connected, facts: dict[str, Any]) -> None:
    """Write the model, and the run's folder if this peer is to evaluate it."""
    node, place = here.node, here.place
    if node.name in node.state.excluded:
        here.report(f"{node.name} takes no part any more: {node.state.excluded[node.name]['reason']}")
        return
    if place is not None and not place.folder.model.exists():
        accounts = _accounts(here)
        accounts[node.name] = decode_secure_account(
            encode_secure_account(facts, node.state), node.name, node.number, node.experiment
        )
        write_secure_federation(place, node.state, node.names, accounts, node.home / TRANSCRIPTS)
    model = initial(node.experiment, node.agreed.images)
    load_arrays(model, node.state.arrays)
    write_arrays(node.home / OWN_MODEL, model.state_dict(), mode=0o600)


def _accounts(here: Connected) -> dict[str, SecureAccount]:
    """Return what the others tell of themselves, as far as it can be had; who is in the last round still may end it."""
    node = here.node
    timeout, rounds = node.file.peer.exchange_timeout, node.experiment.federation.rounds
    until = time.monotonic() + timeout
    accounts: dict[str, SecureAccount] = {}
    while True:
        told = here.network.dialler.accounts(limit=secure_account_limit(node.experiment), timeout=timeout)
        problems = {}
        for number, name in node.names.items():
            try:
                said = told.get(name, Unreachable("it was not asked"))
                if isinstance(said, Unreachable):
                    raise RefusedError(said.reason)
                accounts[name] = decode_secure_account(said, name, number, node.experiment)
            except RefusedError as refused:
                problems[name] = str(refused)
        late = [name for name, one in accounts.items() if name not in node.state.excluded and rounds not in one.own()]
        if not late or time.monotonic() > until:
            for name, why in problems.items():
                if name != node.name:
                    here.report(f"{name} tells nothing of its rounds: {why}")
            return accounts
        time.sleep(BEAT)
