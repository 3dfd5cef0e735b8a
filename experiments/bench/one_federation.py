"""One federation, measured: a process of its own for each side of ``bench.peers``, so that its CPU time is its own.

``python -m experiments.bench.one_federation FILE.toml RUNS RUNNER`` prints one line of JSON. The images are drawn
before the clock starts.
"""

import json
import logging
import math
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from common.config import Experiment, load
from common.data import prepare
from common.folder import RunFolder, read_lines
from experiments.bench.deployment import through_flower
from experiments.run import RUNNERS, train

FLOWER = "flower"
"""A runner of the bench alone: Flower's SuperLink and SuperNodes as they come, without TLS."""


@dataclass(frozen=True)
class Cost:
    """What a federation took.

    Attributes:
        seconds: of wall time, from its beginning to its end; real processes start meanwhile.
        cpu_seconds: of its process and all that it started and saw end; not a number with Ray, whose workers are no
            children of the process that asked for them.
        round_seconds: of wall time of each round but the first and the last; N local updates of N peers are a round.
        local_updates: trainings that counted.
        bytes: of all messages where there is no server; else of the models that went down and up.
        accuracy: of the aggregated model on the public images in the end, a fraction.
        model: SHA-256 of the aggregated model's file; empty where nobody compares it.
        peak_memory: most bytes that its largest process had at once.
    """

    seconds: float
    cpu_seconds: float
    round_seconds: list[float]
    local_updates: int
    bytes: int
    accuracy: float
    model: str = ""
    peak_memory: int = 0


def measured(experiment: Experiment, runs: Path, runner: str) -> Cost:
    """Run a federation and return what it took.

    Args:
        experiment: with or without a server.
        runs: an empty folder.
        runner: one of ``experiments.run.RUNNERS``, or ``FLOWER``.
    """
    dataset = prepare(experiment.data)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    started, worked = time.perf_counter(), cpu_seconds()
    folder = through_flower(experiment, runs) if runner == FLOWER else train(experiment, dataset, runs, runner)
    cpu = cpu_seconds() - worked if runner != "ray" else math.nan
    return cost_of(folder, time.perf_counter() - started, cpu)


def cost_of(folder: RunFolder, seconds: float, cpu: float) -> Cost:
    """Return what a run's folder tells of its cost, with the seconds that it took."""
    rounds = list(read_lines(folder.rounds))
    peers = "bytes_moved" in rounds[-1]
    moved = sum(client["bytes_up"] + client["bytes_down"] for line in rounds for client in line["clients"])
    accepted = sum(client["status"] == "accepted" for line in rounds for client in line["clients"])
    return Cost(
        seconds=seconds,
        cpu_seconds=cpu,
        round_seconds=[line["seconds"] for line in rounds[1:-1]],
        local_updates=rounds[-1]["local_updates"] if peers else accepted,
        bytes=rounds[-1]["bytes_moved"] if peers else moved,
        accuracy=rounds[-1]["accuracy"],
        model=sha256(folder.model.read_bytes()).hexdigest(),
        peak_memory=1024 * max(resource.getrusage(who).ru_maxrss for who in _WHO),
    )


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it started and that have ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _WHO))


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one federation and print what it took."""
    file, runs, runner = sys.argv[1:] if arguments is None else arguments
    if runner not in (*RUNNERS, FLOWER):
        sys.exit(f"{runner}: choose one of {', '.join((*RUNNERS, FLOWER))}")
    print(json.dumps(asdict(measured(load(file), Path(runs), runner))))


if __name__ == "__main__":
    main()
