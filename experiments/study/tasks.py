"""Tasks that need each other: their order, the queue that decides what starts next, and the time that is left."""

import math
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from common.errors import UserError
from common.loading import suggest


@dataclass(frozen=True)
class Task:
    """One piece of work, done by one process.

    Attributes:
        key: unique among the tasks.
        title: for people.
        needs: keys of the tasks that must have ended well before.
        arguments: plain data for the function that does the work.
        seconds: an estimate, 0 or more.
        gpus: share of a GPU; 0: it sees none.
        memory: bytes that it may need.
        cores: how many it uses.
    """

    key: str
    title: str
    needs: tuple[str, ...]
    arguments: Any
    seconds: float
    gpus: float = 0.0
    memory: int = 0
    cores: int = 1


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        key: of the task.
        seconds: that it took, in the last attempt.
        cpu_seconds: of its process and the ended children of that, meanwhile.
        peak_memory: most bytes resident at once in its process, with all that was loaded before; 0: not known.
        failure: one sentence; None: it went well.
        skipped: it was not tried, since something that it needs failed.
        attempts: how often it was started; more than once where a worker was lost.
    """

    key: str
    seconds: float
    cpu_seconds: float
    peak_memory: int
    failure: str | None
    skipped: bool
    attempts: int = 1


@dataclass(frozen=True)
class Room:
    """What all running tasks may take together: cores, bytes, GPUs."""

    cores: float
    memory: float = math.inf
    gpus: float = math.inf


def order(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks in an order in which each comes after all that it needs.

    The head of the longest chain comes first, so that the last chain to end ends as soon as it can; of equal ones the
    task that more others wait for, then the one that was given first.

    Raises:
        UserError: two tasks with one key, a need that nobody meets, tasks that wait for each other.
    """
    by_key: dict[str, Task] = {}
    for task in tasks:
        if task.key in by_key:
            raise UserError(f"tasks: the key '{task.key}' is there twice; give each task a key of its own")
        if not 0 <= task.seconds < math.inf:
            raise ValueError(f"{task.key}: seconds = {task.seconds}, not a finite number of at least 0")
        by_key[task.key] = task
    for task in tasks:
        for need in task.needs:
            if need not in by_key:
                raise UserError(f"tasks: '{task.title}' needs '{need}', which is not there{suggest(need, by_key)}")
    waiting = _waiting(tasks)
    try:
        sorted_keys = list(TopologicalSorter({task.key: task.needs for task in tasks}).static_order())
    except CycleError as error:
        titles = "' needs '".join(by_key[key].title for key in reversed(error.args[1]))
        raise UserError(f"tasks: '{titles}'; take one of these needs away") from None
    seconds, steps = dict.fromkeys(by_key, 0.0), dict.fromkeys(by_key, 0)  # of the longest chain that begins here
    for key in reversed(sorted_keys):
        seconds[key] = by_key[key].seconds + max((seconds[other] for other in waiting[key]), default=0.0)
        steps[key] = 1 + max((steps[other] for other in waiting[key]), default=0)
    # A need heads a chain that is at least as long in seconds, and longer in steps: it always comes first.
    return sorted(tasks, key=lambda task: (-seconds[task.key], -steps[task.key], -len(waiting[task.key])))


def time_left(
    tasks: Sequence[Task], outcomes: Iterable[Outcome], cores: int, running: Mapping[str, float] | None = None
) -> float:
    """Return the seconds until all tasks have ended, by their estimates and by how wrong these were so far.

    Args:
        tasks: all of them.
        outcomes: of those that have ended.
        cores: how many run at once, 1 or more.
        running: key → seconds since its start, of those that run.

    Returns:
        What is left to do divided by the cores, but no less than the longest chain takes; 0 if all have ended.
    """
    estimates = {task.key: task.seconds for task in tasks}
    ended = {outcome.key: outcome for outcome in outcomes}
    good = [outcome for outcome in ended.values() if outcome.failure is None and estimates[outcome.key] > 0]
    expected = sum(estimates[outcome.key] for outcome in good)
    wrong = sum(outcome.seconds for outcome in good) / expected if expected else 1.0
    left: dict[str, float] = {}
    chains: dict[str, float] = {}
    for task in order(tasks):
        own = 0.0 if task.key in ended else max(0.0, wrong * task.seconds - (running or {}).get(task.key, 0.0))
        left[task.key] = own
        chains[task.key] = own + max((chains[need] for need in task.needs), default=0.0)
    return max(sum(left.values()) / cores, max(chains.values(), default=0.0))


@dataclass
class Queue:
    """Which tasks wait, run and have ended. It knows nothing of processes.

    Attributes:
        tasks: in their order.
        running: by key.
        outcomes: by key, of tasks that have ended or were skipped.
    """

    tasks: list[Task]
    running: dict[str, Task] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the tasks in order. Raises UserError as ``order``."""
        self.tasks = order(self.tasks)
        self._rank = {task.key: rank for rank, task in enumerate(self.tasks)}
        self._waiting = _waiting(self.tasks)
        self._missing = {task.key: len(set(task.needs)) for task in self.tasks}
        self._ready = [rank for rank, task in enumerate(self.tasks) if not task.needs]

    def start(self, room: Room) -> Task | None:
        """Return the first task in order that is ready and fits into the room beside those that run.

        Where nothing runs, anything fits: a task that is larger than the room runs alone.
        """
        for place, rank in enumerate(self._ready):
            task = self.tasks[rank]
            together = [*self.running.values(), task]
            if not self.running or (
                sum(one.cores for one in together) <= room.cores
                and sum(one.memory for one in together) <= room.memory
                and sum(one.gpus for one in together) <= room.gpus + 1e-6
            ):
                del self._ready[place]
                self.running[task.key] = task
                return task
        return None

    def again(self, key: str) -> None:
        """Let a running task wait once more."""
        del self.running[key]
        insort(self._ready, self._rank[key])

    def end(self, outcome: Outcome) -> list[Outcome]:
        """Take a running task's outcome; return it and those of all tasks that cannot be done any more."""
        task = self.running.pop(outcome.key)
        self.outcomes[outcome.key] = outcome
        if outcome.failure is None:
            for key in self._waiting[outcome.key]:
                self._missing[key] -= 1
                if self._missing[key] == 0 and key not in self.outcomes:
                    insort(self._ready, self._rank[key])
            return [outcome]
        skipped = self._skip(task, f"not tried, since '{task.title}' failed")
        return [outcome, *skipped]

    def over(self) -> bool:
        """Tell whether every task has an outcome."""
        return len(self.outcomes) == len(self.tasks)

    def in_order(self) -> list[Outcome]:
        """Return the outcomes that there are, in the order of the tasks."""
        return [self.outcomes[task.key] for task in self.tasks if task.key in self.outcomes]

    def _skip(self, failed: Task, sentence: str) -> list[Outcome]:
        ranks, found = set(), [failed.key]
        while found:
            for key in self._waiting[found.pop()]:
                if key not in self.outcomes:
                    self.outcomes[key] = Outcome(key, 0.0, 0.0, 0, sentence, skipped=True, attempts=0)
                    ranks.add(self._rank[key])
                    found.append(key)
        return [self.outcomes[self.tasks[rank].key] for rank in sorted(ranks)]


def _waiting(tasks: Iterable[Task]) -> dict[str, list[str]]:
    """Return for each key the keys of the tasks that need it."""
    waiting: dict[str, list[str]] = {task.key: [] for task in tasks}
    for task in tasks:
        for need in dict.fromkeys(task.needs):
            waiting[need].append(task.key)
    return waiting
