"""``python -m experiments.bench study``: how busy a study keeps the cores, and how fast it is beside ``flwr run``.

The same cells, federations that differ in their seed alone, are trained as a study trains them, and some of them again
one by one with Flower's own simulation command, in one run. Each cell's model must be equal both ways, bit for bit.
"""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common.config import Experiment, parse
from common.data import prepare
from experiments.bench.findings import Finding, at_least, times_as_fast
from experiments.flower_command import flower_home, run_command
from experiments.study.machine import available_cores
from experiments.study.schedule import ROOT, Outcome, Task, run_tasks
from experiments.study.work import Piece, do
from server.app import run_folder

CELLS, ONE_BY_ONE = 20, 3
"""Cells of the study, and so many of them one by one with ``flwr run``, too."""
PATIENCE = 1800.0
"""Seconds that one ``flwr run`` may take."""
ONCE = "measured once"


@dataclass(frozen=True)
class Busy:
    """How a study used the cores.

    Attributes:
        cores: that it had.
        wall: seconds from its call to its end, the start of Ray and of its workers included.
        working: seconds from the begin of the first cell to the end of the last one.
        outcomes: of its cells.
    """

    cores: int
    wall: float
    working: float
    outcomes: tuple[Outcome, ...]

    def occupied(self, seconds: float) -> float:
        """Return the share of ``seconds`` on all cores in which a cell was being worked on, in [0, 1]."""
        return sum(outcome.seconds for outcome in self.outcomes) / (seconds * self.cores)

    def computing(self, seconds: float) -> float:
        """Return the share of ``seconds`` on all cores that cells spent computing; other programs lower it."""
        return sum(outcome.cpu_seconds for outcome in self.outcomes) / (seconds * self.cores)


def descriptions(cells: int, *, records: int, width: int, rounds: int) -> list[Experiment]:
    """Return equal federations of two clients on phantom images, but for their seeds."""
    tree = {
        "name": "bench",
        "data": {"image_size": 28, "train_records": records, "public_records": 24, "test_records": 24},
        "model": {"width": width},
        "federation": {"rounds": rounds},
        "clients": [{"name": "one"}, {"name": "two"}],
    }
    return [parse(tree | {"seed": seed}, "bench") for seed in range(1, cells + 1)]


def through_study(experiments: Sequence[Experiment], runs: Path, cores: int) -> Busy:
    """Train all of them as a study does.

    Raises:
        RuntimeError: a cell failed.
    """
    tasks = [
        Task(f"train {number}", f"cell {number}", (), Piece("train", experiment.to_toml(), str(runs)), seconds=1.0)
        for number, experiment in enumerate(experiments)
    ]
    begun: list[float] = []
    ended: list[float] = []

    def told(outcome: Outcome) -> None:
        ended.append(time.perf_counter())
        begun.append(ended[-1] - outcome.seconds)

    before = time.perf_counter()
    outcomes = run_tasks(tasks, do, cores=cores, told=told)
    wall = time.perf_counter() - before
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    if failures:
        raise RuntimeError(f"{len(failures)} cells failed, the first one with: {failures[0]}")
    return Busy(cores, wall, max(ended) - min(begun), tuple(outcomes))


def through_flower(experiments: Sequence[Experiment], place: Path) -> list[float]:
    """Train them one by one with ``flwr run``, each client one core; return the seconds of each command."""
    neutral, runs = place / "neutral", place / "runs"
    neutral.mkdir(parents=True)
    seconds = []
    with flower_home(place / "flower") as environment:
        for number, experiment in enumerate(experiments):
            file = place / f"{number}.toml"
            file.write_text(experiment.to_toml())
            command = run_command(ROOT, file, runs, clients=len(experiment.roster()), evaluate="false")
            before = time.perf_counter()
            subprocess.run(command, env=environment, cwd=neutral, check=True, capture_output=True, timeout=PATIENCE)
            seconds.append(time.perf_counter() - before)
    return seconds


def models_equal(experiments: Sequence[Experiment], study: Path, flower: Path) -> bool:
    """Tell whether both stores have the same model for each federation, bit for bit; False where one is missing."""
    for experiment in experiments:
        dataset = prepare(experiment.data)
        models = [
            run_folder(study, experiment, dataset).model,
            run_folder(flower, experiment, dataset, "flower").model,
        ]
        if not all(model.exists() for model in models) or models[0].read_bytes() != models[1].read_bytes():
            return False
    return True


def find(repeats: int) -> list[Finding]:
    """Return how busy a study of 20 equal federations keeps the cores, and how fast it is beside ``flwr run``.

    Args:
        repeats: disregarded: the study has 20 cells, some of which run through ``flwr run``, too, and that takes
            minutes.
    """
    experiments = descriptions(CELLS, records=1200, width=16, rounds=5)
    some = experiments[:ONE_BY_ONE]
    prepare(experiments[0].data)  # the images are drawn once, on neither side
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        busy = through_study(experiments, place / "runs", available_cores())
        seconds = through_flower(some, place / "flwr")
        equal = models_equal(some, place / "runs", place / "flwr" / "runs")
    return findings(busy, seconds, equal=equal)


def findings(busy: Busy, seconds: list[float], *, equal: bool) -> list[Finding]:
    """Return what is found of a study and of some of its cells one by one.

    Args:
        busy: the study.
        seconds: of each cell that ran through ``flwr run``.
        equal: whether both came to the same models.
    """
    cells, share = len(busy.outcomes), f"share of {busy.cores} cores"
    path = f"a study of {cells} equal federations"
    inner, whole = f"{path}, from the first cell to the last", f"{path}, with the start of Ray"
    models = "equal models" if equal else "DIFFERENT models, or one is missing"
    idle = busy.wall - busy.working
    each = f"a cell takes {median(one.seconds for one in busy.outcomes):.3g} s in its worker"
    return [
        Finding(inner, "", f"{share} computing", [busy.computing(busy.working)], [], at_least(0.9), ONCE),
        Finding(inner, "", f"{share} with a cell", [busy.occupied(busy.working)], [], None, ONCE),
        Finding(whole, "", f"{share} computing", [busy.computing(busy.wall)], [], None, ONCE),
        Finding(whole, "", "wall s", [busy.wall], [], None, f"of them {idle:.3g} s no cell ran; {ONCE}"),
        Finding(
            f"{path}, a cell",
            "one by one with flwr run",
            "wall s",
            [busy.wall / cells] * len(seconds),
            seconds,
            times_as_fast(5.0),
            f"{models}; {each}; the study {ONCE}, {len(seconds)} of its cells with flwr run",
            equal,
        ),
    ]
