"""Running a study: plan it, do what is not done, and draw what there is; the same command resumes it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.lock import shared
from experiments.study.description import Study, load_study
from experiments.study.estimate import Cost, cost_of, evaluation_seconds, memory_of, training_seconds
from experiments.study.grid import cells_of, count
from experiments.study.outputs import write_outputs
from experiments.study.plan import Datasets, Plan, plan
from experiments.study.published import kind_of
from experiments.study.results import Result, read_result
from experiments.study.schedule import run_tasks
from experiments.study.tasks import Outcome, Task
from experiments.study.work import SETS, Piece, do
from server.adversarial_sets import AdversarialSets

MANY = 2_000
"""Cells beyond which a study asks before it starts."""
LOCK = ".studies.lock"
"""The file below the store that every running study holds, together with others."""
STUDIES = "studies"
"""The folder below the store where studies write what they drew."""


@dataclass(frozen=True)
class Prepared:
    """A study that is ready to start.

    Attributes:
        study: what was asked.
        runs: the store.
        out: where figures, tables and pages are written.
        plan: what there is and what is missing.
        tasks: what is to be done, with estimates.
    """

    study: Study
    runs: Path
    out: Path
    plan: Plan
    tasks: tuple[Task, ...]

    def seconds(self) -> float:
        """Return the estimated seconds of all tasks, one after another."""
        return sum(task.seconds for task in self.tasks)


def prepare_study(
    path: Path,
    runs: Path,
    *,
    scale: str | None = None,
    changes: Mapping[str, Any] | None = None,
    out: Path | None = None,
    agreed: Callable[[int], bool] = lambda cells: False,
    look_only: bool = False,
) -> Prepared:
    """Read a study, look into the store, and estimate what is left.

    Args:
        path: the study's file.
        runs: the store.
        scale: one of the study's scales; None: ``small``.
        changes: dotted keys of every cell.
        out: where it draws; None: ``RUNS/studies/NAME-SCALE``, and a hash of the changes where there are any.
        agreed: asked with the number of cells of a very large study before it is built.
        look_only: leave what is damaged where it is; for a study that will not be started.

    Raises:
        UserError: a mistake in the study or its experiments, data that cannot be had, a large study not agreed to.
    """
    study = load_study(path, scale, changes)
    for figure in study.file.figures:
        kind_of(figure)  # an unknown one shall not be found out after hours
    cells = count(study)
    if cells > MANY and not look_only and not agreed(cells):
        raise UserError(f"{path} has {cells:,} cells; say --yes to start so many, or take values off its axes")
    datasets = Datasets()
    planned = plan(cells_of(study), runs, datasets, look_only=look_only)
    name = "-".join(part for part in (study.file.name, study.scale, _changed(study)) if part)
    return Prepared(study, runs, out or runs / STUDIES / name, planned, _tasks(planned, runs, datasets))


def run_study(
    prepared: Prepared,
    *,
    cores: int | None = None,
    memory: int | None = None,
    gpus: float | None = None,
    address: str | None = None,
    told: Callable[[Outcome], None] = lambda outcome: None,
) -> list[tuple[str, str]]:
    """Do all that is not done, then write everything that the study draws; return (cell, reason) of what failed.

    Args:
        prepared: from ``prepare_study``.
        cores: how many pieces at once; None: all cores; 0: one after another in this process, without Ray.
        memory: bytes that all pieces together may need; None: most of what the machine has.
        gpus: share of a GPU for each piece that may use one; None: a whole one where this machine has any.
        address: of a running Ray cluster; None starts one here.
        told: hears of every piece that ends.

    Raises:
        UserError: Ray is missing or cannot be reached, or the disk is full; finished pieces are kept.
    """
    runs = prepared.runs
    share = gpus if gpus is not None else float(torch.cuda.is_available())
    tasks = [replace(task, gpus=share * task.gpus) for task in prepared.tasks]
    log = prepared.out / "failures.log"
    with _shared(runs) as alone:
        outcomes = run_tasks(tasks, do, cores=cores, memory=memory, address=address, told=told, log=log)
        results = finished_results(prepared.plan)
        failures = _failures(prepared.plan, outcomes)
        if not failures and alone():  # another study may need them still
            AdversarialSets(runs / SETS).remove()
    write_outputs(prepared.study, results, failures, prepared.out, runs)
    return failures


@contextmanager
def _shared(runs: Path) -> Iterator[Callable[[], bool]]:
    with ExitStack() as stack:
        try:
            alone = stack.enter_context(shared(runs / LOCK))
        except OSError as error:
            raise UserError(f"{runs} cannot be written ({error.strerror}); choose another place with --runs") from None
        yield alone


def _changed(study: Study) -> str:
    """Return a short hash of what the command line changes, so that no study draws over another; empty for nothing."""
    if not study.last:
        return ""
    return hashlib.sha256(json.dumps(study.last, sort_keys=True, default=str).encode()).hexdigest()[:6]


def finished_results(planned: Plan) -> list[Result]:
    """Return the results of every cell that has them, in the order of the study."""
    return [
        read_result(cell, one.folder)
        for one in planned.evaluations
        for cell in one.cells
        if one.folder.results.exists()
    ]


def _tasks(planned: Plan, runs: Path, datasets: Datasets) -> tuple[Task, ...]:
    costs: dict[tuple[str, str, int], Cost] = {}

    def cost(experiment: Any) -> Cost:
        key = (
            experiment.data.model_dump_json(),
            experiment.model.model_dump_json(),
            experiment.training.batch_size,
        )
        if key not in costs:
            costs[key] = cost_of(experiment, datasets.of(experiment.data))
        return costs[key]

    called = {one.federation: one.cells[0].title() for one in reversed(planned.to_evaluate())}
    tasks = []
    for federation in planned.to_train():
        experiment, dataset = federation.experiment, datasets.of(federation.experiment.data)
        tasks.append(
            Task(
                key=federation.key,
                title=f"train {called.get(federation.key, federation.folder.path.name)}",
                needs=(),
                arguments=Piece("train", experiment.to_toml(), str(runs.resolve())),
                seconds=training_seconds(federation, dataset, cost(experiment)),
                memory=memory_of(experiment, dataset, cost(experiment)),
                gpus=float(experiment.device != "cpu"),
                cores=experiment.federation.threads,
            )
        )
    trained = {task.key for task in tasks}
    for one in planned.to_evaluate():
        experiment, dataset = one.experiment, datasets.of(one.experiment.data)
        needs = dict.fromkeys((one.federation, *one.generators.values()))
        tasks.append(
            Task(
                key=one.key,
                title=one.cells[0].title(),
                needs=tuple(key for key in needs if key in trained),
                arguments=Piece("evaluate", experiment.to_toml(), str(runs.resolve())),
                seconds=evaluation_seconds(one, dataset, cost(experiment)),
                memory=memory_of(experiment, dataset, cost(experiment)),
                gpus=float(experiment.device != "cpu"),
                cores=experiment.federation.threads,
            )
        )
    return tuple(tasks)


def _failures(planned: Plan, outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Return what each cell without results lacks, and why."""
    failed = {
        outcome.key: outcome.failure for outcome in outcomes if outcome.failure is not None and not outcome.skipped
    }
    told = []
    for one in planned.evaluations:
        if one.folder.results.exists():
            continue
        reason = failed.get(one.key)
        for key in (one.federation, *one.generators.values()):
            if reason is None and key in failed:
                whose = "its" if key == one.federation else "a generator's"
                reason = f"{whose} federation: {failed[key]}"
        told += [(cell.title(), reason or "was not reached; the same command goes on") for cell in one.cells]
    return told
