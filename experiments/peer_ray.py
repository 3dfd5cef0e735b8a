"""The Ray runner of peers: the trainings of a wave on all cores, the protocol in this process; the same bytes.

Only peers that update at the same time can train at the same time: the first wave, in which all do, and as many as
``peers.initiators`` afterwards.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from clients.holding import simulated_holding
from clients.image_facts import image_facts
from clients.learner import Learner, simulated_learner
from common.config import Experiment, parse_toml
from common.data import Dataset
from common.errors import UserError
from common.exchange import arrays_of
from common.folder import RunFolder
from common.local_update import Failed, Job, Learned
from experiments.peer_federation import learners_of, run_simulation
from experiments.ray_session import ray_session
from experiments.study.machine import available_cores
from experiments.study.worker import end_with_parent, in_a_line
from peers.order import planned
from server.federation import initial_model

ROOT = Path(__file__).resolve().parent.parent
"""Where this code was imported from; Ray's workers must import the same."""
AHEAD = 2
"""Jobs that are sent for each worker: one to do, one that waits for it."""
COPIES = 8
"""Models that a job and its result may hold together: weights before and after, as sent, two states of an optimiser."""


def federate_on_ray(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    """Run or resume a federation of peers, training on all cores.

    Raises:
        UserError: Ray cannot be used, lost its workers, or a mistake in the description or the machine; finished local
            updates are kept.
    """
    learners = learners_of(experiment, dataset, folder)
    threads = experiment.federation.threads
    workers = max(1, available_cores() // threads)
    weights = sum(array.nbytes for array in arrays_of(initial_model(experiment, dataset)).values())
    with ray_session(
        workers * threads, objects=workers * AHEAD * COPIES * weights, instead="use --runner inprocess"
    ) as ray:

        def learn_all(jobs: Sequence[Job]) -> Iterator[Learned | Failed]:
            return learn_on(ray, experiment, folder.clients, jobs, workers=workers)

        run_simulation(experiment, dataset, folder, learners, learn_all)


def learn_on(
    ray: Any, experiment: Experiment, state: Path, jobs: Sequence[Job], *, workers: int
) -> Iterator[Learned | Failed]:
    """Yield what comes of each job, in the jobs' order; the trainings run on Ray.

    A job whose worker is lost is done again, once: what comes of it depends on nothing else.

    Args:
        ray: a session of ``ray_session``.
        experiment: the description.
        state: the folder in which the peers keep their ledgers.
        jobs: of different peers.
        workers: how many train at once.

    Raises:
        UserError: a peer's mistake that is not its training's, a training that is a defect, or lost workers.
    """
    remote = ray.remote(max_retries=1, num_cpus=experiment.federation.threads)(_remote_learning())
    text, place = experiment.to_toml(), str(state.resolve())
    waiting, sent = deque(jobs), deque[Any]()
    try:
        while waiting or sent:
            while waiting and len(sent) < AHEAD * workers:
                # In a list, so that the worker looks for our code before it reads anything made of it.
                sent.append(remote.remote(str(ROOT), [ray.put((text, place, waiting.popleft()))]))
            try:
                result = ray.get(sent.popleft())
            except ray.exceptions.RayTaskError as error:
                raise UserError(f"--runner ray: a training failed ({in_a_line(error.cause)})") from error
            except ray.exceptions.RayError as error:
                raise UserError(
                    f"--runner ray: workers were lost ({in_a_line(error)}); perhaps the memory does not suffice for "
                    f"{workers} trainings at once, so use fewer cores or --runner inprocess"
                ) from error
            if isinstance(result, str):
                raise UserError(result)
            yield result
    finally:
        for reference in sent:
            ray.cancel(reference, force=True)


def learn_here(text: str, state: str, job: Job) -> Learned | Failed | str:
    """Do a job in a worker process of Ray; a text is the mistake that kept it from being done.

    Args:
        text: the description, as TOML.
        state: the folder of the peers' ledgers.
        job: of one of the peers.
    """
    end_with_parent()
    try:
        return _learner(text, state, job.number).learn(job)
    except UserError as error:
        return str(error)


@lru_cache(maxsize=256)
def _learner(text: str, state: str, number: int) -> Learner:
    """Return who trains for a peer, the same as in the process that asks; its records are shared with its siblings."""
    experiment = parse_toml(text)
    holding = simulated_holding(experiment, number)
    images, updates = image_facts(holding.dataset), planned(experiment)[number]
    return simulated_learner(experiment, number, holding, images, Path(state), updates)


def _remote_learning() -> Callable[[str, list[Any]], Any]:
    """Return the function that a worker runs. Ray sends its code, and not where to import it from.

    A worker has the folders of the caller first on its path, and would import a neighbour's ``common`` from there.
    """

    def learn(root: str, held: list[Any]) -> Any:
        import sys

        import ray

        if sys.path[0] != root:
            sys.path.insert(0, root)
        from experiments import peer_ray

        return peer_ray.learn_here(*ray.get(held[0]))

    return learn
