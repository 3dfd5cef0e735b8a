"""What a bench finds: two sides timed in turn in one run, and what was to be reached."""

import math
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)

Of = Literal["other / ours", "ours / other", "ours"]
"""What a target bounds: how many times as fast, how many times the cost, or the measure itself."""


@dataclass(frozen=True)
class Taken:
    """What one repeat of a side took, in seconds; ``cpu`` counts all threads, and child processes that have ended."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Target:
    """What was to be reached.

    Attributes:
        of: what is bounded.
        bound: the number.
        at_least: reached from the bound up; else from the bound down.
    """

    of: Of
    bound: float
    at_least: bool

    def words(self, measure: str) -> str:
        """Return it in words: ``other / ours ≥ 5``, ``ours / other ≤ 1.45``, or ``≤ 4 wall s``, given the measure."""
        bound = f"{'≥' if self.at_least else '≤'} {self.bound:g}"
        return f"{bound} {measure}" if self.of == "ours" else f"{self.of} {bound}"


@dataclass(frozen=True)
class Finding:
    """One measured path, repeat by repeat.

    Attributes:
        path: what people wait for, such as ``full PGD-10, ResNet-9 width 64, 256 images``.
        against: what it is compared with; empty: nothing.
        measure: what is counted, with its unit: ``CPU s``, ``wall s``, ``MiB``.
        ours: one number a repeat.
        other: as many of the other side; empty where nothing is compared.
        target: what was to be reached; None: a fact.
        note: what a reader must know, such as ``equal models``.
        equal: whether both sides came to the same results, and ours left no traces; where not, nothing is reached.
    """

    path: str
    against: str
    measure: str
    ours: list[float]
    other: list[float]
    target: Target | None = None
    note: str = ""
    equal: bool = True

    def values(self) -> list[float]:
        """Return what the target speaks of, repeat by repeat; without a target other / ours, or ours alone."""
        of: Of = self.target.of if self.target else ("other / ours" if self.other else "ours")
        if of == "ours":
            return self.ours
        pairs = zip(self.ours, self.other, strict=True)
        return [_ratio(other, ours) if of == "other / ours" else _ratio(ours, other) for ours, other in pairs]

    def reached(self) -> bool | None:
        """Tell whether the median of ``values`` meets the target, with equal results; None without one."""
        if self.target is None:
            return None
        found = median(self.values())
        return self.equal and (found >= self.target.bound if self.target.at_least else found <= self.target.bound)


def interleaved(
    sides: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: bool = True
) -> dict[str, list[Taken]]:
    """Time all sides in turn, ``repeats`` times, after one call of each that does not count.

    Args:
        sides: name → the work.
        repeats: at least 1.
        warm_up: call each side once before; leave it off where the start belongs to what is measured.
    """
    if warm_up:
        for work in sides.values():
            work()
    times: dict[str, list[Taken]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            work()
            times[name].append(Taken(time.perf_counter() - wall, cpu_seconds() - cpu))
    return times


def compared(
    path: str,
    against: str,
    ours: list[Taken],
    other: list[Taken],
    target: Target | None = None,
    note: str = "",
    *,
    by: Literal["cpu", "wall"] = "cpu",
    equal: bool = True,
) -> list[Finding]:
    """Return two findings of the same sides: the one with the target, then CPU beside wall time as a fact."""
    rest: Literal["cpu", "wall"] = "wall" if by == "cpu" else "cpu"
    named = {"cpu": "CPU s", "wall": "wall s"}
    return [
        Finding(
            path,
            against,
            named[kind],
            [getattr(taken, kind) for taken in ours],
            [getattr(taken, kind) for taken in other],
            target if kind == by else None,
            note if kind == by else "",
            equal,
        )
        for kind in (by, rest)
    ]


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _WHO))


def _ratio(above: float, below: float) -> float:
    """Return a ratio; of nothing (as memory's growth may be) to nothing 1, of something to nothing without end."""
    return above / below if below else (math.inf if above else 1.0)


def times_as_fast(bound: float) -> Target:
    """Return the target that ours takes at most 1 / bound of the other's cost."""
    return Target("other / ours", bound, at_least=True)


def times_the_cost(bound: float) -> Target:
    """Return the target that ours takes at most bound times the other's cost."""
    return Target("ours / other", bound, at_least=False)


def at_most(bound: float) -> Target:
    """Return the target that the measure itself stays at or below the bound."""
    return Target("ours", bound, at_least=False)


def at_least(bound: float) -> Target:
    """Return the target that the measure itself reaches the bound."""
    return Target("ours", bound, at_least=True)
