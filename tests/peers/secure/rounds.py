"""Rounds of the secure protocol at small sizes, with whoever cheats in them."""

import hashlib
from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.deal import Entropy
from peers.secure.field import SMALL
from peers.secure.layout import Layout, packed
from peers.secure.party import Outcome, Player, play
from peers.secure.simulation import simulate
from peers.secure.terms import SIGNS, Terms

SIZE = 50
NINE = packed(9, faults=2, coalition=2, field=SMALL)
"""The least that withstands two cheaters, who also pool what they see."""


def keys_of(peers: int) -> dict[int, Ed25519PrivateKey]:
    """Return signing keys, the same each time."""
    return {
        peer: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"key %d" % peer).digest()) for peer in range(peers)
    }


def context_of(peers: int, number: int = 1) -> Context:
    """Return a round of a run."""
    keys = {peer: key.public_key() for peer, key in keys_of(peers).items()}
    return Context(hashlib.sha256(b"run").digest(), number, keys)


def entropy_of(peer: int, seed: int = 0) -> Entropy:
    """Return randomness that is the same each time."""
    return lambda purpose: hashlib.sha256(f"{seed} {peer} {purpose}".encode()).digest()


def votes(peers: int, size: int = SIZE, seed: int = 0) -> NDArray[np.int64]:
    """Return every peer's update of signs, [peers, size]."""
    return np.random.default_rng(seed).choice(np.array([-1, 1]), (peers, size))


def a_round(
    layout: Layout = NINE,
    cheats: Mapping[int, type[Player]] | None = None,
    updates: NDArray[np.int64] | None = None,
    seed: int = 0,
    terms: Terms = SIGNS,
) -> dict[int, Outcome]:
    """Return how a round ended for each peer.

    Args:
        layout: its sizes.
        cheats: who plays otherwise than honestly.
        updates: [peers, size]; None: votes.
        seed: of all randomness.
        terms: what is asked of updates.
    """
    peers = layout.peers
    told = votes(peers) if updates is None else updates
    columns, context, keys = Columns(layout, told.shape[1], terms), context_of(peers), keys_of(peers)
    parties = {
        peer: play(
            peer, keys[peer], context, columns, tuple(range(layout.members)), layout.field.elements(told[peer]),
            entropy_of(peer, seed), (cheats or {}).get(peer),
        )
        for peer in range(peers)
    }  # fmt: skip
    return simulate(parties)


def agreed(outcomes: Mapping[int, Outcome], cheats: Mapping[int, type[Player]] | None = None) -> Outcome:
    """Return how a round ended for the honest peers, who all must have come to the same."""
    honest = [outcome for peer, outcome in outcomes.items() if peer not in (cheats or {})]
    first = honest[0]
    for other in honest[1:]:
        assert other.aborted == first.aborted
        assert other.ruling.culprits == first.ruling.culprits
        assert other.ruling.dealers == first.ruling.dealers
        assert (other.sum is None) == (first.sum is None)
        if first.sum is not None and other.sum is not None:
            assert np.array_equal(other.sum, first.sum)
    return first
