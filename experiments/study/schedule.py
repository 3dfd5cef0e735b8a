"""Scheduling of tasks on Ray: one process and one core each, several at once, whole tasks only.

Ray starts processes, keeps them and sends them over a cluster. What runs when is decided here, so that one failed task
is told and does not stop the rest, a lost worker costs one more attempt, and memory is never promised twice.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from common.code import ALL_PACKAGES, code_digest
from common.errors import UserError
from common.progress import note, track
from experiments.ray_session import ray_session
from experiments.study.machine import available_memory
from experiments.study.tasks import Outcome, Queue, Room, Task, order, time_left
from experiments.study.worker import Done, in_a_line, measured

__all__ = ["Outcome", "Task", "order", "run_here", "run_tasks", "time_left"]

ROOT = Path(__file__).resolve().parents[2]
"""Where this code was imported from; Ray's workers must import the same."""
ATTEMPTS = 2
"""How often a task is started whose workers are lost."""
MEMORY_SHARE = 0.8
"""Of what is available, where no bound is given; the rest is for Ray itself and for wrong estimates."""
BAR = "cells, by estimated seconds"
Work = Callable[[Any], None]
Told = Callable[[Outcome], None]
Report = Callable[[Task, Done, int], None]

_log = logging.getLogger("psreval.study")


def run_tasks(
    tasks: Sequence[Task],
    work: Work,
    *,
    cores: int | None = None,
    memory: int | None = None,
    address: str | None = None,
    told: Told = lambda outcome: None,
    log: Path | None = None,
) -> list[Outcome]:
    """Do ``work(task.arguments)`` for every task in processes of Ray, each after all that it needs.

    A task that fails is noted with its reason, what needs it is skipped, and the rest goes on. A task whose worker or
    machine is lost is tried again, once. However this function is left, its workers end with it.

    Args:
        tasks: what is to be done.
        work: a function of a module, or a partial of one. It runs in the folder of this process where Ray is started
            here, and anywhere on a cluster: paths in ``arguments`` should be absolute.
        cores: how many tasks run at once; None: one for each core of this machine, or of the cluster; 0: here, in this
            process, one after another.
        memory: bytes that all running tasks together may need; a task that needs more runs alone. None: 80 % of what
            is available here, or all that the cluster has.
        address: of a running Ray cluster ("auto" finds this machine's); None starts Ray here, for these tasks alone.
        told: hears of every outcome at once.
        log: a file to which the tracebacks of failures are added that are no user's mistakes; None: the logger
            ``psreval.study``, at level debug.

    Returns:
        The outcomes in the order of ``order(tasks)``.

    Raises:
        UserError: tasks without an order, bounds below 0, Ray is missing, does not start or has no GPU that is needed.
    """
    for name, value, least in (("cores", cores, 0), ("memory", memory, 1)):
        if value is not None and value < least:
            raise UserError(f"{name} = {value}: should be at least {least}; leave it out to use what is there")
    if cores == 0:
        return run_here(tasks, work, told=told, log=log)
    queue = Queue(list(tasks))
    if not tasks:
        return []
    with ray_session(cores, address) as ray:
        _check_gpus(tasks, ray)
        _run(queue, work, ray, _room(ray, cores, memory, address), address is not None, _reporter(queue, told, log))
    return queue.in_order()


def run_here(
    tasks: Sequence[Task], work: Work, *, told: Told = lambda outcome: None, log: Path | None = None
) -> list[Outcome]:
    """Do the same in this process, one task after another, without Ray; the same order, outcomes and UserErrors."""
    queue = Queue(list(tasks))
    report = _reporter(queue, told, log)
    while task := queue.start(Room(cores=1)):
        report(task, measured(work, task.arguments), 1)
    return queue.in_order()


def _run(queue: Queue, work: Work, ray: Any, room: Callable[[], Room], cluster: bool, report: Report) -> None:
    running: dict[Any, tuple[str, float]] = {}
    attempts: dict[str, int] = {}
    attempt = ray.remote(max_retries=0)(_remote_attempt())
    lost = (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.LocalRayletDiedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    )
    try:
        while not queue.over():
            bound = room()
            while task := queue.start(bound):
                if task.memory > bound.memory:
                    note(
                        f"{task.title} may need {_gib(task.memory)}, more than the {_gib(bound.memory)} that all tasks "
                        "together may take; it runs alone"
                    )
                attempts[task.key] = attempts.get(task.key, 0) + 1
                # In a list, so that the worker compares its code before it imports the work.
                held = [ray.put((work, task.arguments))]
                options: dict[str, Any] = {
                    "num_cpus": min(task.cores, bound.cores),
                    "num_gpus": task.gpus,
                    "name": task.title,
                }
                if cluster:  # so that Ray finds a machine that has it
                    options["memory"] = min(task.memory, _largest_memory(ray)) or None
                reference = attempt.options(**options).remote(str(ROOT), code_digest(ALL_PACKAGES), task.gpus > 0, held)
                running[reference] = task.key, time.monotonic()
            (reference,), _ = ray.wait(list(running), num_returns=1)
            key, started = running.pop(reference)
            task = queue.running[key]
            try:
                done = ray.get(reference)
            except lost as error:
                reason = _lost(error, ray)
                if attempts[key] < ATTEMPTS:
                    note(f"{task.title}: {reason}; it is tried again")
                    queue.again(key)
                    continue
                failure = f"{reason}, {attempts[key]} times"
                done = Done(time.monotonic() - started, 0.0, 0, failure, str(error))
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                failure = f"its worker could not begin ({in_a_line(cause)})"
                done = Done(time.monotonic() - started, 0.0, 0, failure, str(error))
            report(task, done, attempts[key])
    finally:
        for reference in running:
            with suppress(Exception):
                ray.cancel(reference, force=True)


def _remote_attempt() -> Callable[[str, str, bool, list[Any]], Any]:
    """Return the function that a worker runs. Ray sends its code, and not where to import it from.

    A worker has the folders of the caller first on its path, and would import a neighbour's ``common`` from there.
    """

    def attempt(root: str, digest: str, sees_gpu: bool, held: list[Any]) -> Any:
        import sys

        import ray

        if sys.path[0] != root:
            sys.path.insert(0, root)  # on another machine perhaps nothing; then the installed psreval is found
        from experiments.study import worker

        return worker.attempt(digest, sees_gpu, lambda: ray.get(held[0]))

    return attempt


def _reporter(queue: Queue, told: Told, log: Path | None) -> Report:
    """Return a function that takes what became of a running task, tells what follows from it, and moves the bar."""
    weights = {task.key: max(1, round(task.seconds)) for task in queue.tasks}
    total = sum(weights.values())
    bar = track(range(total), BAR, total)
    next(bar, None)  # shows the bar; what follows is one step behind, so that the last step ends it

    def report(task: Task, done: Done, attempts: int) -> None:
        if done.trace:
            _keep(task, done, log)
        outcome = Outcome(
            task.key, done.seconds, done.cpu_seconds, done.peak_memory, done.failure, skipped=False, attempts=attempts
        )
        for one in queue.end(outcome):
            for _ in islice(bar, weights[one.key]):
                pass
            told(one)

    return report


def _keep(task: Task, done: Done, log: Path | None) -> None:
    text = f"{task.title} ({task.key}): {done.failure}\n{done.trace}"
    if log is None:
        _log.debug("%s", text)
        return
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        note(f"{log} could not be written ({error.strerror}); the reason is kept, its traceback is lost")


def _lost(error: Exception, ray: Any) -> str:
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "its worker was ended since the machine ran out of memory (fewer cores leave more for each)"
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return "its worker crashed or was killed"
    return "its machine or Ray on it was lost"


def _room(ray: Any, cores: int | None, memory: int | None, address: str | None) -> Callable[[], Room]:
    """Return a function that tells what all running tasks may take now; a cluster grows and shrinks."""
    here = None if address else int(MEMORY_SHARE * available_memory())

    def room() -> Room:
        there = ray.cluster_resources()
        bound = memory or here or there.get("memory", 0.0)
        found = int(there.get("CPU", 0.0))
        return Room(min(found, cores) if cores else found, bound, there.get("GPU", 0.0))

    return room


def _largest_memory(ray: Any) -> int:
    return int(max((node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0))


def _check_gpus(tasks: Sequence[Task], ray: Any) -> None:
    """Refuse tasks for which Ray would wait for ever. Raises UserError."""
    most = max(task.gpus for task in tasks)
    found = max((node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
    if most > found:
        raise UserError(
            f"gpus = {most:g}: Ray finds {found:g} on its best machine; set device = 'cpu', or ask for less"
        )


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
