"""Whole rounds of a federation at small sizes, from a description to the step."""

import hashlib
from collections.abc import Collection, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from common.config import Experiment, parse
from peers.secure.party import Player
from peers.secure.rounds import RoundResult, Seat, secure_round
from peers.secure.simulation import Meddle, simulate
from tests.peers.secure.rounds import entropy_of, keys_of

RUN = hashlib.sha256(b"run").digest()


def described(peers: int, **secure: object) -> Experiment:
    """Return a description of so many peers."""
    return parse({"protocol": "secure", "clients": [{"count": peers}], "secure": secure}, "here")


def lots_of(peer: int) -> np.random.Generator:
    """Return what a peer rounds with."""
    return np.random.default_rng([7, peer])


def a_whole_round(
    experiment: Experiment,
    updates: NDArray[np.float64],
    cheats: Mapping[int, type[Player]] | None = None,
    *,
    number: int = 1,
    reference: NDArray[np.float64] | None = None,
    there: Collection[int] | None = None,
    without: Collection[int] = (),
    meddle: Meddle | None = None,
) -> dict[int, RoundResult]:
    """Return how a round ended for each peer.

    Args:
        experiment: its description.
        updates: [peers, d].
        cheats: who plays otherwise than honestly.
        number: of the round.
        reference: [d], the update of the public records.
        there: who takes part; None: all.
        without: who has no update.
        meddle: what some send instead (``peers.secure.simulation``).
    """
    peers, size = updates.shape
    keys = keys_of(peers)
    part = range(peers) if there is None else there
    public = {peer: keys[peer].public_key() for peer in part}
    parties = {
        peer: secure_round(
            Seat(experiment, RUN, peer, keys[peer], peers, size), number, public,
            None if peer in without else updates[peer],
            generator=lots_of(peer), entropy=partial(entropy_of, peer),
            player=(cheats or {}).get(peer), reference=reference,
        )
        for peer in part
    }  # fmt: skip
    return simulate(parties, meddle)


def agreed_result(results: Mapping[int, RoundResult], cheats: Mapping[int, type[Player]] | None = None) -> RoundResult:
    """Return how a round ended for the honest peers, who all must have come to the same."""
    first, *others = (result for peer, result in results.items() if peer not in (cheats or {}))
    for other in others:
        assert other.aborted == first.aborted
        assert other.culprits == first.culprits
        assert [one.ruling.dealers for one in other.outcomes] == [one.ruling.dealers for one in first.outcomes]
        if other.step is None or first.step is None:
            assert other.step is first.step
        else:
            assert np.array_equal(other.step, first.step)
    return first
