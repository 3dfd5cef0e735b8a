"""One real peer of the secure protocol, from its file: its keys, its state, and what it expects of the others."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clients.learner import Learner
from common.config import Experiment
from common.data import Split
from common.errors import UserError
from common.exchange import arrays_of
from experiments.peer_file import AgreementFile, PeerFile, load_agreement, load_peer
from experiments.peer_node import credentials_of, keep_copy, run_home, training
from peers.agreement import Agreement, agreement, digest_of
from peers.credentials import Credentials
from peers.peer import STATE
from peers.secure.keys import SigningKeys, load_signing_keys
from peers.secure.mailbox import Mailbox
from peers.secure.plan import check_size, layout_of
from peers.secure.standing import Standing, answer
from peers.secure.state import SecureState, load_secure_state
from peers.secure.vector import size_of

TRANSCRIPTS = "transcripts"
"""Folder of a peer's transcripts in its folder of the run."""
_GRACE = 6


@dataclass
class SecureNode:
    """One peer, ready to take part; ``open_secure_node`` makes one.

    Attributes:
        file: its own.
        agreed: what all have agreed on.
        experiment: the description as it carries it out.
        parts: of the agreement, as peers compare them.
        learner: who trains.
        credentials: its certificate, and the others'.
        keys: what it signs and verifies with.
        home: the run's folder in its state.
        state: after the last round that is over.
        mailbox: what it has for others.
        heard: number of another peer → the last round in which something of it has come.
        out: the round that it sits out now; 0: none.
        before: the state after the round before, as this process has known it.
        first: other peer → what it said first to this process of where it is.
        sure: whether this process has played a round that had a result: it knows since when it has spoken.
    """

    file: PeerFile
    agreed: AgreementFile
    experiment: Experiment
    parts: Agreement
    learner: Learner
    credentials: Credentials
    keys: SigningKeys
    home: Path
    state: SecureState
    mailbox: Mailbox
    heard: dict[int, int] = field(default_factory=dict)
    out: int = 0
    before: SecureState | None = None
    first: dict[str, Standing] = field(default_factory=dict)
    sure: bool = False

    @property
    def names(self) -> dict[int, str]:
        """All peers' names, by number."""
        return dict(enumerate(self.agreed.names()))

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.file.name

    @property
    def number(self) -> int:
        """The peer's number."""
        return self.learner.place.number

    @property
    def faults(self) -> int:
        """How many peers may cheat."""
        return layout_of(self.agreed.experiment).faults

    @property
    def grace(self) -> float:
        """Seconds that letters are waited for where others have moved on; more than one needs twice."""
        return self.file.peer.exchange_timeout / _GRACE

    @property
    def others(self) -> list[str]:
        """The names of the other peers that still take part."""
        return [name for name in self.names.values() if name != self.name and name not in self.state.excluded]

    @property
    def quorum(self) -> int:
        """How many of the others there are in a round that has a result, at least."""
        return min(len(self.names) - 1 - 2 * self.faults, len(self.others))

    def keep(self, state: SecureState) -> None:
        """Keep a new state. Raises UserError: it cannot be written."""
        state.save(self.home / STATE)
        if state.round != self.state.round:
            self.before = self.state
        self.state = state

    def keep_history(self) -> None:
        """Keep the state after the last round, if the peer's file says so."""
        if self.file.peer.history and self.state.round:
            keep_copy(self.home, self.state.round)

    def answer(self, asker: str, question: bytes) -> bytes:
        """Answer another peer. Raises RefusedError."""
        number = next((number for number, name in self.names.items() if name == asker), -1)
        return answer(self.state, question, out=self.out, heard=self.heard.get(number, 0), before=self.before)


@contextlib.contextmanager
def open_secure_node(config: Path) -> Iterator[SecureNode]:
    """Read a peer's file and all that it names, and hold its state for this process alone.

    Raises:
        UserError: a mistake in any of them, or another process works with this state.
    """
    file = load_peer(config)
    agreed = load_agreement(file.peer.agreement)
    names = agreed.names()
    file.check_fits(names)
    check_real(agreed.experiment)
    experiment = agreed.of(file)
    credentials = credentials_of(file)
    keys = load_signing_keys(file.peer.certificates, file.name, [name for name in names if name != file.name])
    with training(file, agreed, [experiment.federation.rounds] * len(names)) as (learner, model):
        known = {name: key.public_bytes_raw() for name, key in keys.public.items()}
        parts = secure_agreement(agreed, known, learner.place.holding.dataset.public)
        run, home = run_of(parts), run_home(file.state, experiment.name, digest_of(parts))
        start = SecureState(file.name, run.hex(), arrays_of(model))
        check_size(experiment, size_of(start.arrays))
        kept = load_secure_state(home / STATE, file.name, run.hex(), start.arrays)
        mailbox = Mailbox(run, {name: number for number, name in enumerate(names)})
        yield SecureNode(file, agreed, experiment, parts, learner, credentials, keys, home, kept or start, mailbox)


def check_real(experiment: Experiment) -> None:
    """Refuse what real peers cannot do: their time limits need more than 4 f of them. Raises UserError."""
    layout = layout_of(experiment)
    if layout.peers <= 4 * layout.faults:
        raise UserError(
            f"secure.faults = {layout.faults} among {layout.peers} real peers: with so many cheaters nobody could tell "
            f"who is late; take at most {(layout.peers - 1) // 4}, or --runner inprocess"
        )


def secure_agreement(agreed: AgreementFile, keys: Mapping[str, bytes], public: Split) -> Agreement:
    """Return what a peer expects of all others; besides what any protocol's peers expect, the run and all keys.

    Args:
        agreed: what all have agreed on.
        keys: the public signing key of each peer.
        public: this peer's public records, which must be everybody's where the rule looks at them.

    Raises:
        UserError: the rule looks at public records, and there are none.
    """
    known = hashlib.sha256(json.dumps({name: key.hex() for name, key in keys.items()}, sort_keys=True).encode())
    parts = agreement(agreed.experiment, agreed.images) | {"run": agreed.run, "keys": known.hexdigest()}
    if agreed.experiment.secure.rule == "fltrust":
        if not len(public):
            raise UserError(
                "secure.rule = 'fltrust' compares updates with that of the public records, and this peer's data have "
                "none: real peers can take another rule; in a trial, give each a `share` of the same data"
            )
        parts["public"] = hashlib.sha256(public.images.tobytes() + public.labels.tobytes()).hexdigest()
    return parts


def run_of(parts: Agreement) -> bytes:
    """Return the 32 bytes that name a run in all that its peers sign."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
