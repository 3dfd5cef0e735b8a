"""Who begins a local update when: drawn by seed, so that every peer knows its own turns without being told."""

from functools import lru_cache

from common.config import Experiment
from common.seeds import numpy_generator

Wave = tuple[int, ...]
"""Numbers of distinct peers that update at the same time, each from what was there before."""


def waves(experiment: Experiment) -> tuple[Wave, ...]:
    """Return the waves of a run: first all peers at once, without merging; then those that begin an update.

    With N peers and R rounds (``federation.rounds``), R · N local updates in all. After the first wave each N updates
    are a round, cut into waves of ``peers.initiators`` (the last of a round may be smaller). ``random``: a wave's peers
    are drawn from all, as in the paper; ``shuffled``: each peer once a round. Empty with ``timers``: nobody knows.
    """
    if experiment.peers.order == "timers":
        return ()
    peers, settings = len(experiment.roster()), experiment.peers
    return _waves(experiment.seed, peers, experiment.federation.rounds, settings.initiators, settings.order)


def rounds_of(experiment: Experiment) -> tuple[tuple[int, ...], ...]:
    """Return the numbers of each round's waves: round r ends when r · N local updates have been made."""
    found: list[tuple[int, ...]] = []
    peers, made, now = len(experiment.roster()), 0, []
    for number, wave in enumerate(waves(experiment)):
        now.append(number)
        made += len(wave)
        if made == peers * (len(found) + 1):
            found.append(tuple(now))
            now = []
    return tuple(found)


def planned(experiment: Experiment) -> list[int]:
    """Return how many local updates each peer makes, in the roster's order: what a private peer's noise is made for."""
    peers = len(experiment.roster())
    if experiment.peers.order == "timers":
        return [experiment.federation.rounds] * peers
    everyone = [number for wave in waves(experiment) for number in wave]
    return [everyone.count(number) for number in range(peers)]


def turns_of(experiment: Experiment, number: int) -> tuple[int, ...]:
    """Return the waves in which a peer has a turn, in their order; the first is 0."""
    return tuple(place for place, wave in enumerate(waves(experiment)) if number in wave)


def step_of(experiment: Experiment, wave: int, number: int) -> int:
    """Return which local update of the whole run a peer's turn in a wave is, from 0.

    Raises:
        ValueError: the peer has no turn in that wave.
    """
    order = waves(experiment)
    return sum(len(one) for one in order[:wave]) + order[wave].index(number)


@lru_cache(maxsize=8)
def _waves(seed: int, peers: int, rounds: int, initiators: int, order: str) -> tuple[Wave, ...]:
    generator = numpy_generator(seed, "initiators")
    found: list[Wave] = [tuple(range(peers))]
    for _ in range(rounds - 1):
        everyone = generator.permutation(peers).tolist() if order == "shuffled" else []
        for begin in range(0, peers, initiators):
            size = min(initiators, peers - begin)
            drawn = everyone[begin : begin + size] or generator.choice(peers, size, replace=False).tolist()
            found.append(tuple(drawn))
    return tuple(found)
