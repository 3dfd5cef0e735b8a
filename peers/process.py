"""One peer as a process: it listens, joins, takes its turns, stays until nobody needs it, and leaves."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peers.agreement import Agreement
from peers.credentials import Credentials
from peers.dial import Dialler, open_dialler
from peers.doorstep import open_doorstep
from peers.listen import Answering, listen
from peers.members import Members
from peers.membership import Membership, greeting
from peers.peer import Peer
from peers.refusals import Refusals
from peers.turns import Turns


@dataclass(frozen=True)
class Contact:
    """How a peer reaches the others, and they it.

    Attributes:
        credentials: its certificate, and theirs.
        host, port: where it listens; port 0 takes a free one.
        addresses: other peer → ``host:port``.
    """

    credentials: Credentials
    host: str
    port: int
    addresses: Mapping[str, str]


@dataclass(frozen=True)
class Network:
    """An open way to the others; ``open_network`` makes one.

    Attributes:
        address: ``host:port`` that is listened on.
        dialler: to ask the others.
        membership: to join and to leave.
    """

    address: str
    dialler: Dialler
    membership: Membership


@contextlib.contextmanager
def open_network(
    contact: Contact, agreement: Agreement, answering: Answering, report: Callable[[str], None]
) -> Iterator[Network]:
    """Listen and be able to ask until the block ends.

    Raises:
        UserError: the address cannot be listened on.
    """
    refusals = Refusals(report)
    membership = Membership(agreement, report)
    answering.greet = membership.greet
    with open_doorstep(contact.credentials, refusals) as doorstep:
        members = Members(doorstep.is_open)
        count = len(contact.addresses)
        with (
            listen(doorstep, contact.host, contact.port, answering, members, refusals, count) as address,
            open_dialler(doorstep, members, contact.addresses) as dialler,
        ):
            yield Network(address, dialler, membership)


def take_part(
    peer: Peer,
    contact: Contact,
    agreement: Agreement,
    *,
    report: Callable[[str], None],
    over: threading.Event | None = None,
    account: Callable[[], bytes] = bytes,
    after_turn: Callable[[], None] = lambda: None,
    at_the_end: Callable[[Dialler], None] | None = lambda dialler: None,
) -> bool:
    """Take all of a peer's turns that are left, and answer the others until nobody needs it any more.

    Args:
        peer: with a way to learn; its state is kept after each turn.
        contact: how it reaches the others.
        agreement: what it expects of them.
        report: called with one sentence for each thing that a person may want to know.
        over: set by whoever wants it to end early.
        account: what it tells of its turns when it is asked.
        after_turn: called when a turn is over and kept.
        at_the_end: called when all peers have taken all of their turns, or are waited for no longer, while those that
            are there still answer. None: an earlier process has done that; this one only answers who is there.

    Returns:
        Whether all is done; False: it was told to end.

    Raises:
        UserError: the address cannot be listened on, another process with this identity is there, the state cannot be
            written; or what ``at_the_end`` raises.
    """
    sleep = (over or threading.Event()).wait
    with open_network(contact, agreement, Answering(peer.answer, account=account, delay=peer.delay), report) as network:
        report(f"listening on {network.address}, with {peer.state.turns} of {peer.planned} turns taken")
        network.membership.join(network.dialler)
        with greeting(network.membership, network.dialler):
            turns = Turns(peer, network.dialler, report, sleep)
            while not peer.done:
                if not turns.wait():
                    return False
                report(told(peer.update(network.dialler, peer.next_wave()), peer))
                after_turn()
            awaited: list[str] = []
            if at_the_end is not None:
                if not turns.wait_for_the_end():
                    return False
                at_the_end(network.dialler)
                awaited = turns.awaited()
        network.membership.leave(network.dialler, peer.experiment.peers.turn_timeout, sleep, awaited)
        return True


def told(line: Mapping[str, Any], peer: Peer) -> str:
    """Say in a sentence what a turn came to."""
    merged = ", ".join(f"{name} {about['version']}" for name, about in line["merged"].items()) or "nobody"
    parts = [f"turn {line['turn']} of {peer.planned}: version {line['version']}, merged {merged}"]
    parts += [f"skipped {name} ({reason})" for name, reason in line["skipped"].items()]
    parts += [f"refused {name}: {reason}" for name, reason in line["refused"].items()]
    if line["failed"]:
        parts.append(f"the training failed: {line['failed']}")
    if line["note"]:
        parts.append(line["note"])
    return "; ".join(parts)
