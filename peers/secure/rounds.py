"""A round of a federation by the secure protocol, for one peer: from its update to the step of the global weights.

A generator like ``peers.secure.party.play``, which it is made of: it yields what goes to each other peer and is sent
what came from them. One aggregation is enough for most rules; a rule by votes takes several.
"""

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from numpy.typing import NDArray

from common.config import Experiment
from peers.secure.broadcast import Incoming, Outgoing
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.deal import Entropy
from peers.secure.hearing import Culprit
from peers.secure.party import Outcome, Player, play
from peers.secure.plan import layout_of, members_of, rules_of

RoundSteps: TypeAlias = "Generator[Outgoing, Incoming, RoundResult]"


@dataclass(frozen=True, eq=False)
class RoundResult:
    """How a round ended for a peer.

    Attributes:
        step: [d], what the global weights change by; None: the round was aborted.
        outcomes: of each aggregation, in order.
    """

    step: NDArray[np.float64] | None
    outcomes: tuple[Outcome, ...]

    @property
    def culprits(self) -> tuple[Culprit, ...]:
        """Who cheated, in any of the aggregations."""
        return tuple(culprit for outcome in self.outcomes for culprit in outcome.ruling.culprits)

    @property
    def aborted(self) -> str:
        """Why there is no step; empty: there is one."""
        if self.step is None and not self.outcomes[-1].aborted:
            return "this peer was caught before the last vote, and took no further part"
        return self.outcomes[-1].aborted


@dataclass(frozen=True)
class Seat:
    """A peer's place in a run.

    Attributes:
        experiment: the description.
        run: 32 bytes that all peers have agreed on.
        me: its number.
        key: its own, to sign with.
        peers: how many there are in all, whether they still take part or not.
        size: d, numbers of an update.
    """

    experiment: Experiment
    run: bytes
    me: int
    key: Ed25519PrivateKey
    peers: int
    size: int


def secure_round(
    seat: Seat, number: int, keys: Mapping[int, Ed25519PublicKey], update: NDArray[np.float64] | None, *,
    generator: np.random.Generator, entropy: Callable[[int], Entropy], player: type[Player] | None = None,
    reference: NDArray[np.float64] | None = None,
) -> RoundSteps:  # fmt: skip
    """Take part in a round of a federation, and return how it ended.

    Args:
        seat: the peer's.
        number: of the round, from 1.
        keys: of the peers that take part; who was caught before is not among them.
        update: [d], of this peer's weights; None: it has none, and deals that of a peer whose weights have not changed.
        generator: for rounding at random.
        entropy: number of an aggregation → where its randomness comes from.
        player: how it plays; None: honestly.
        reference: [d], the update of the public records, which all peers have; for ``fltrust`` alone.
    """
    layout, rules = layout_of(seat.experiment), rules_of(seat.experiment, reference)
    told, step = np.zeros(seat.size) if update is None else update, np.zeros(seat.size)
    outcomes: list[Outcome] = []
    there = dict(keys)
    for part, rule in enumerate(rules):
        if seat.me not in there:
            break  # it was caught in the part before
        which = (number - 1) * len(rules) + part + 1
        context = Context(seat.run, which, there)
        columns = Columns(layout, seat.size, rule.terms(layout, seat.size))
        outcome = yield from play(
            seat.me, seat.key, context, columns, members_of(context, layout, seat.peers),
            layout.field.elements(rule.encode(told - step, generator)), entropy(which), player,
        )  # fmt: skip
        outcomes.append(outcome)
        if outcome.sum is None:
            return RoundResult(None, tuple(outcomes))
        step = step + rule.decode(layout.field.signed(outcome.sum), math.fsum(outcome.ruling.weights.values()))
        there = {peer: key for peer, key in there.items() if peer not in {one.peer for one in outcome.ruling.culprits}}
    return RoundResult(step if len(outcomes) == len(rules) else None, tuple(outcomes))
