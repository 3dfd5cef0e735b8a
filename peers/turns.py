"""When a peer takes its turn: as soon as all that come before it have taken theirs, or when its own timer is up.

Nobody tells a peer that it is its turn. All know the order, which is drawn by seed, and ask each other how many turns
are over. Whoever cannot be reached or does not get on is waited for as long as ``peers.turn_timeout``, and then no more
until it is back.

Whoever answers and does not get on may itself be waiting for one that does not answer. So where time is up for some
that do not answer, only those are given up, and all who answer have their time anew: once for each peer given up so, as
long as nobody takes a turn. One that was silent is back with any answer the first time; after that, as one that
answered always, only with a new turn. Else a peer could cost every turn a whole timeout by answering a single ping.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from common.config import Experiment
from common.seeds import numpy_generator
from peers.inquiry import Inquiry
from peers.neighbours import Neighbours
from peers.order import planned, waves
from peers.peer import Peer

SHORTEST, LONGEST = 0.02, 0.5
"""Seconds between two questions; they become rarer as the wait goes on."""


@dataclass(frozen=True)
class _GivenUp:
    """A peer that is waited for no longer: how many turns it had taken, and whether it did not answer."""

    turns: int
    silent: bool


class Turns:
    """Waits for one peer.

    Args:
        peer: whose turns they are.
        neighbours: the way to the others.
        report: called with one sentence for each peer that is waited for no longer, or again.
        sleep: called with seconds; returns True if all waiting is to end.
        clock: seconds.
    """

    def __init__(
        self,
        peer: Peer,
        neighbours: Neighbours,
        report: Callable[[str], None],
        sleep: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peer = peer
        self._neighbours = neighbours
        self._report = report
        self._sleep = sleep
        self._clock = clock
        self._timeout = peer.experiment.peers.turn_timeout
        self._planned = _by_name(peer.experiment, planned(peer.experiment))
        self._taken = dict.fromkeys(peer.others, 0)
        self._given_up: dict[str, _GivenUp] = {}
        self._believed: set[str] = set()  # who has been back without a new turn

    def wait(self) -> bool:
        """Wait until this peer's next turn may begin; False: it was told to end.

        The first turn waits for nothing. Where turns have an order, this ends when all turns of earlier waves are over
        and all others have just answered, but for those that are waited for no longer; else when the peer's own timer
        is up, a time that is exponential with the mean ``peers.timer_seconds``.
        """
        experiment, turn = self._peer.experiment, self._peer.state.turns
        if turn == 0:
            return True
        wave = self._peer.next_wave()
        if wave is not None:
            return self._wait(taken_before(experiment, wave))
        generator = numpy_generator(experiment.seed, "timer", self._peer.number, turn)
        return not self._sleep(float(generator.exponential(experiment.peers.timer_seconds)))

    def wait_for_the_end(self) -> bool:
        """Wait until all others have taken all of their turns, too; False: it was told to end."""
        return self._wait(self._planned)

    def awaited(self) -> list[str]:
        """Return the peers that are waited for when they are away."""
        return [name for name in self._peer.others if name not in self._given_up]

    def _wait(self, wanted: Mapping[str, int]) -> bool:
        begun, since, renewed = self._clock(), dict[str, float](), set[str]()
        missing = self._missing(self._peer.others, wanted)
        while missing:
            now = self._clock()
            # A peer's time begins when it is first missed, and anew only when somebody has taken a turn or is given up:
            # two that are away in turns would else be waited for without end.
            since = dict.fromkeys(missing, now) | since
            late = {name: answers for name, answers in missing.items() if now - since[name] >= self._timeout}
            silent = {name for name, answers in late.items() if not answers}
            if silent - renewed:  # whoever answers may have waited for these
                late = {name: answers for name, answers in late.items() if not answers}
                renewed |= silent
                since |= {name: now for name, answers in missing.items() if answers}
            self._give_up(late)
            since = {name: first for name, first in since.items() if name not in late}
            if not late and self._sleep(min(max((now - begun) / 20, SHORTEST), LONGEST)):
                return False
            before = dict(self._taken)
            missing = self._missing([name for name in missing if name not in late], wanted)
            if not missing:  # others may have gone meanwhile, or have come back
                missing = self._missing(self._peer.others, wanted)
            if before != self._taken:
                since, renewed = {}, set()
        return True

    def _missing(self, names: Iterable[str], wanted: Mapping[str, int]) -> dict[str, bool]:
        """Ask peers how far they are; return those that are to be waited for, and whether they answer."""
        inquiry = Inquiry(self._peer.experiment, self._peer.run, {}, self._neighbours)
        statuses = inquiry.ping_all(names)
        missing = {}
        for name in names:
            status = statuses.get(name)
            if status is not None:
                self._taken[name] = max(self._taken[name], min(status.turns, self._planned[name]))
                if name in self._given_up and self._is_back(name):
                    del self._given_up[name]
                    self._report(f"{name} is back, with {self._taken[name]} turns; it is waited for again")
            gone = status is None and self._taken[name] < self._planned[name]  # who has taken all turns may go
            if name not in self._given_up and (gone or self._taken[name] < wanted[name]):
                missing[name] = status is not None
        return missing

    def _is_back(self, name: str) -> bool:
        """Tell whether one that was given up, and answers, is to be waited for again."""
        given_up = self._given_up[name]
        if self._taken[name] > given_up.turns:
            return True
        if not given_up.silent or name in self._believed:
            return False
        self._believed.add(name)
        return True

    def _give_up(self, missing: Mapping[str, bool]) -> None:
        for name, answers in missing.items():
            self._given_up[name] = _GivenUp(self._taken[name], silent=not answers)
            why = f"has taken no turn after its turn {self._taken[name]}" if answers else "has not answered"
            self._report(f"{name} {why} for {self._timeout:g} s; it is waited for no longer")


def taken_before(experiment: Experiment, wave: int) -> dict[str, int]:
    """Return how many turns of each peer come before a wave, by name."""
    counts = Counter(number for members in waves(experiment)[:wave] for number in members)
    return _by_name(experiment, [counts[number] for number in range(len(experiment.roster()))])


def _by_name(experiment: Experiment, numbers: Iterable[int]) -> dict[str, int]:
    names = [str(client.name) for client in experiment.roster()]
    return dict(zip(names, numbers, strict=True))
