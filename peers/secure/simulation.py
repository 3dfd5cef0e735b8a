"""A round in one process: every peer is a generator, and each exchange is a dictionary that is turned round."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from peers.secure.broadcast import Incoming, Outgoing

Result = TypeVar("Result")
Meddle = Callable[[int, int, Outgoing], Outgoing]
"""(Exchange, sender, what it would send) → what it sends: how a simulated peer cheats, or is away."""


@dataclass
class Traffic:
    """What one peer has moved in a round.

    Attributes:
        up: bytes that it sent.
        down: bytes that came.
    """

    up: int = 0
    down: int = 0


def simulate(
    parties: Mapping[int, Generator[Outgoing, Incoming, Result]],
    meddle: Meddle | None = None,
    traffic: Mapping[int, Traffic] | None = None,
) -> dict[int, Result]:
    """Let all peers play a round; return how it ended for each.

    Args:
        parties: peer → its part, of an aggregation or of a whole round.
        meddle: what some do instead of their part.
        traffic: peer → where what it moves is counted; None: nowhere.
    """
    outgoing = {peer: next(steps) for peer, steps in parties.items()}
    outcomes: dict[int, Result] = {}
    exchange = 0
    while outgoing:
        if meddle is not None:
            outgoing = {peer: meddle(exchange, peer, sent) for peer, sent in outgoing.items()}
        incoming: dict[int, dict[int, bytes]] = {peer: {} for peer in outgoing}
        for sender, sent in outgoing.items():
            for receiver, raw in sent.items():
                if receiver in incoming:
                    incoming[receiver][sender] = raw
                    if traffic is not None:
                        traffic[sender].up += len(raw)
                        traffic[receiver].down += len(raw)
        outgoing = {}
        for peer, came in incoming.items():
            try:
                outgoing[peer] = parties[peer].send(came)
            except StopIteration as ended:
                outcomes[peer] = ended.value
        exchange += 1
    return outcomes
