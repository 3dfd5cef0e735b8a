"""``python -m experiments.bench.study``: how busy a study keeps the cores, and how fast it is beside ``flwr run``.

The same cells, federations that differ in their seed alone, are trained as a study trains them, and some of them again
one by one with Flower's own simulation command, in one run. Each cell's model must be equal both ways, bit for bit.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from common.config import Experiment, parse
from common.data import prepare
from experiments.flower_command import flower_home, run_command
from experiments.study.machine import available_cores
from experiments.study.schedule import ROOT, Outcome, Task, run_tasks
from experiments.study.work import Piece, do
from server.app import run_folder
from server.provenance import machine

PATIENCE = 1800.0
"""Seconds that one ``flwr run`` may take."""


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both sides once and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench.study", description=__doc__)
    parser.add_argument("--cells", type=int, default=20, help="cells of the study")
    parser.add_argument("--flower", type=int, default=3, help="so many of them one by one with flwr run, too")
    parser.add_argument("--records", type=int, default=1200, help="training images of a cell")
    parser.add_argument("--width", type=int, default=16, help="of its ResNet-9")
    parser.add_argument("--rounds", type=int, default=5, help="of its federation")
    parser.add_argument("--cores", type=int, default=available_cores(), help="that the study may use")
    chosen = parser.parse_args(arguments)
    experiments = descriptions(chosen.cells, records=chosen.records, width=chosen.width, rounds=chosen.rounds)
    some = experiments[: chosen.flower]
    prepare(experiments[0].data)  # the images are drawn once, on neither side
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        busy = through_study(experiments, place / "runs", chosen.cores)
        seconds = through_flower(some, place / "flwr")
        equal = models_equal(some, place / "runs", place / "flwr" / "runs")
    console, facts = Console(width=120), machine()
    console.print(
        f"{facts['cpu']}, {facts['cores']} cores; a cell: 2 clients, {chosen.rounds} rounds, ResNet-9 of width "
        f"{chosen.width}, {chosen.records} images"
    )
    table = Table(f"a study of {chosen.cells} equal cells", "seconds", "cores working on cells", "cores computing")
    for name, wall in (("with the start of Ray", busy.wall), ("from the first cell to the last", busy.working)):
        table.add_row(name, f"{wall:.1f}", f"{busy.occupied(wall):.1%}", f"{busy.computing(wall):.1%}")
    console.print(table)
    each = busy.wall / chosen.cells
    table = Table("a cell", "seconds, median", "spread", "times the study's")
    own = [outcome.seconds for outcome in busy.outcomes]
    table.add_row("itself, in a worker", f"{median(own):.1f}", f"{min(own):.1f} to {max(own):.1f}", "")
    table.add_row("its share of the study", f"{each:.1f}", "", "1.00")
    if seconds:
        spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
        table.add_row("one by one, flwr run", f"{median(seconds):.1f}", spread, f"{median(seconds) / each:.2f}")
    console.print(table)
    if some:
        console.print("all models are equal, bit for bit" if equal else "the models DIFFER, or one is missing")


if __name__ == "__main__":
    main()
