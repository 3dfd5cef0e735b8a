"""``python -m experiments.secure_cost``: one round of the secure protocol with all roles in one process, and its costs.

A program of its own, so that its peak of memory is nobody else's. It prints one line of JSON.
"""

import argparse
import hashlib
import json
import math
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from common.config import Experiment, parse
from common.rules.columns import Vector
from peers.secure.broadcast import Board, Incoming, Outgoing
from peers.secure.deal import Deal
from peers.secure.party import Player, Talk
from peers.secure.plan import layout_of, rules_of
from peers.secure.rounds import RoundResult, Seat, secure_round
from peers.secure.simulation import Traffic, simulate


class Clock:
    """CPU seconds by phase: what is computed for a phase's message, and what is made of its answers."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._since, self._phase = 0.0, "keys"

    def resume(self, phase: str) -> None:
        """Go on in a phase."""
        self._since, self._phase = time.process_time(), phase

    def enter(self, phase: str) -> None:
        """Count what was computed since the last phase to the next one, which needs it."""
        self._phase = phase
        self.stop()

    def stop(self) -> str:
        """Count what was computed, and return the phase."""
        now = time.process_time()
        self.seconds[self._phase] += now - self._since
        self._since = now
        return self._phase


def timed(clock: Clock) -> type[Player]:
    """Return an honest player that tells a clock which phase it is in."""

    class Timed(Player):
        """A player with a clock."""

        def hand_out(self, deal: Deal, secret: X25519PrivateKey) -> Talk:
            """Deal."""
            clock.enter("dealing")
            yield from super().hand_out(deal, secret)
            clock.stop()

        def say(self, phase: str, body: bytes, take: Callable[[Board], None]) -> Talk:
            """Say something to all."""
            clock.enter(phase)
            yield from super().say(phase, body, take)
            clock.stop()

    return Timed


def counted(
    steps: Generator[Outgoing, Incoming, RoundResult], clock: Clock
) -> Generator[Outgoing, Incoming, RoundResult]:
    """Do all steps; the clock stands still while others are at work."""
    incoming: Incoming | None = None
    phase = "keys"
    while True:
        clock.resume(phase)
        try:
            outgoing = next(steps) if incoming is None else steps.send(incoming)
        except StopIteration as ended:
            clock.stop()
            result: RoundResult = ended.value
            return result
        phase = clock.stop()
        incoming = yield outgoing


def described(rule: str, peers: int, faults: int) -> Experiment:
    """Return a description with a rule, at so many peers, of whom so many may cheat and pool what they see."""
    secure = {"rule": rule, "faults": faults, "coalition": max(1, faults), "votes": 8}
    return parse({"protocol": "secure", "clients": [{"count": peers}], "secure": secure}, "the bench")


def cost(rule: str, peers: int, faults: int, size: int) -> dict[str, Any]:
    """Return what a round costs, after checking that its result is that of the plain rule.

    Raises:
        RuntimeError: it is another one.
    """
    generator = np.random.default_rng(0)
    updates = [generator.normal(scale=0.5 / np.sqrt(size), size=size) for _ in range(peers)]
    reference = np.mean(updates, axis=0)
    plain = _plain(updates)
    experiment, clock = described(rule, peers, faults), Clock()
    keys = {peer: Ed25519PrivateKey.from_private_bytes(_hash(f"key {peer}")) for peer in range(peers)}
    public = {peer: key.public_key() for peer, key in keys.items()}
    traffic = {peer: Traffic() for peer in range(peers)}
    started = time.process_time()
    parties = {
        peer: counted(
            secure_round(
                Seat(experiment, bytes(32), peer, keys[peer], peers, size), 1, public, updates[peer],
                generator=np.random.default_rng(peer), entropy=partial(_entropy, peer), player=timed(clock),
                reference=reference if rule == "fltrust" else None,
            ),
            clock,
        )
        for peer in range(peers)
    }  # fmt: skip
    results = simulate(parties, traffic=traffic)
    spent = time.process_time() - started
    _check(experiment, updates, reference, results)
    return {
        "rule": rule, "peers": peers, "faults": faults, "size": size,
        "packing": layout_of(experiment).packing, "seconds": spent, "phases": dict(clock.seconds), "plain": plain,
        "up": max(one.up for one in traffic.values()), "down": max(one.down for one in traffic.values()),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip


def _plain(updates: Sequence[Vector]) -> dict[str, float]:
    """Return the CPU seconds of plain aggregation of float32 updates: the mean, and the mean of signs."""
    told = [update.astype(np.float32) for update in updates]
    seconds = {}
    for name in ("fedavg", "rsa"):
        started = time.process_time()
        total = np.zeros(told[0].size)
        for one in told:
            total += np.sign(one) if name == "rsa" else one
        total /= len(told)
        seconds[name] = time.process_time() - started
    return seconds


def _check(
    experiment: Experiment, updates: Sequence[Vector],
    reference: Vector, results: Mapping[int, RoundResult],
) -> None:  # fmt: skip
    """Raise RuntimeError unless all came to one step, and it is that of the plain rule where it is one aggregation."""
    first = results[0]
    steps = {None if result.step is None else result.step.tobytes() for result in results.values()}
    if first.step is None or first.culprits or len(steps) != 1:
        raise RuntimeError(f"the round failed: {first.aborted} {first.culprits}")
    rules = rules_of(experiment, reference)
    if len(rules) == 1:
        weights = first.outcomes[0].ruling.weights
        encoded = (rules[0].encode(update, np.random.default_rng(peer)) for peer, update in enumerate(updates))
        total = np.zeros(first.step.size, np.int64)
        for peer, one in enumerate(encoded):
            total += one if peer in weights else 0
        if not np.array_equal(first.step, rules[0].decode(total, math.fsum(weights.values()))):
            raise RuntimeError("the step is not that of the plain rule")


def _entropy(peer: int, which: int) -> Callable[[str], bytes]:
    return lambda purpose: _hash(f"{peer} {which} {purpose}")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def main() -> None:
    """Run one round as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rule", default="rsa")
    for name in ("--peers", "--faults", "--size"):
        parser.add_argument(name, type=int, required=True)
    told = parser.parse_args()
    print(json.dumps(cost(told.rule, told.peers, told.faults, told.size)))


if __name__ == "__main__":
    main()
