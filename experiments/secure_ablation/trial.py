"""A small round of the secure protocol in which all peers leave out a check, and one attacks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from peers.secure.broadcast import Outgoing
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.deal import Entropy
from peers.secure.field import LARGE, SMALL, Field
from peers.secure.layout import Layout, packed
from peers.secure.party import Outcome, Player, play
from peers.secure.simulation import simulate
from peers.secure.terms import SIGNS, Terms

PEERS, FAULTS, SIZE = 12, 2, 40
ATTACKER = 3
"""The number of the peer that attacks."""


def layout_in(of: Field) -> Layout:
    """Return the layout of all trials: twelve peers, two cheaters, two secrets on a polynomial."""
    return packed(PEERS, faults=FAULTS, coalition=FAULTS, field=of)


@dataclass(frozen=True, eq=False)
class Trial:
    """A round, and who plays how in it.

    Attributes:
        weakened: how all play: honestly but for a check that is left out; None: nothing is left out.
        attack: how the attacker plays besides; None: nobody attacks.
        terms: what is asked of updates.
        updates: [peers, size], whole numbers; None: votes by lot.
    """

    weakened: type[Player] | None = None
    attack: type[Player] | None = None
    terms: Terms = SIGNS
    updates: NDArray[np.int64] | None = None
    wire: list[tuple[int, int, Outgoing]] = field(default_factory=list)
    """What went over the wire, filled as the round goes: (exchange, sender, what it sent)."""

    def told(self) -> NDArray[np.int64]:
        """Return all updates, [peers, size]."""
        return votes() if self.updates is None else self.updates

    def play(self) -> dict[int, Outcome]:
        """Return how the round ended for each peer."""
        layout = layout_in(SMALL if self.terms.ball is None else LARGE)
        columns, keys = Columns(layout, SIZE, self.terms), _keys()
        public = {peer: key.public_key() for peer, key in keys.items()}
        context = Context(hashlib.sha256(b"ablation").digest(), 1, public)
        honest = self.weakened or Player
        players = dict.fromkeys(range(PEERS), honest)
        if self.attack is not None:
            players[ATTACKER] = type(self.attack.__name__, (self.attack, honest), {})
        parties = {
            peer: play(
                peer, keys[peer], context, columns, tuple(range(PEERS)), layout.field.elements(self.told()[peer]),
                _entropy(peer), players[peer],
            )
            for peer in range(PEERS)
        }  # fmt: skip
        return simulate(parties, self._listen)

    def _listen(self, exchange: int, sender: int, outgoing: Outgoing) -> Outgoing:
        self.wire.append((exchange, sender, dict(outgoing)))
        return outgoing


def votes() -> NDArray[np.int64]:
    """Return votes by lot, [peers, size]."""
    return np.random.default_rng(0).choice(np.array([-1, 1]), (PEERS, SIZE))


def honest_of(outcomes: Mapping[int, Outcome]) -> list[Outcome]:
    """Return how a round ended for those who do not attack."""
    return [outcome for peer, outcome in sorted(outcomes.items()) if peer != ATTACKER]


def _keys() -> dict[int, Ed25519PrivateKey]:
    return {peer: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"ablation %d" % peer).digest())
            for peer in range(PEERS)}  # fmt: skip


def _entropy(peer: int) -> Entropy:
    return lambda purpose: hashlib.sha256(f"ablation {peer} {purpose}".encode()).digest()
