"""``python -m experiments.bench.growth_point``: one point of the growth bench, in a program of its own.

``measure FILE.toml`` runs that federation in process and prints its cost as JSON; its images are prepared before.
``prepare FILE.toml ...`` draws the images of each and prints those costs. The most memory is Linux's own count, which
also has the pages of mapped files that were read; elsewhere it is what the program had at any time.
"""

import gc
import json
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from common.allocator import hand_back
from common.config import load
from common.data import prepare
from experiments.bench.findings import cpu_seconds
from experiments.run import train


@dataclass(frozen=True)
class Cost:
    """What some work took: CPU and wall seconds, and the most bytes that it had beyond those of its beginning."""

    cpu: float
    wall: float
    memory: int


def cost(work: Callable[[], object]) -> Cost:
    """Do some work and return its cost."""
    gc.collect()
    hand_back()
    with suppress(OSError):  # not on every system: the most is then that of the program, so far
        Path("/proc/self/clear_refs").write_text("5")
    memory, cpu, wall = _memory("VmRSS"), cpu_seconds(), time.perf_counter()
    work()
    return Cost(cpu_seconds() - cpu, time.perf_counter() - wall, max(0, _memory("VmHWM") - memory))


def _memory(entry: str) -> int:
    """Return an entry of ``/proc/self/status`` in bytes; the program's peak where there is no such file."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{entry}:"):
                return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measured(file: Path) -> Cost:
    """Return the cost of a federation in process, its images being prepared."""
    experiment = load(file)
    dataset = prepare(experiment.data)
    with tempfile.TemporaryDirectory() as runs:
        return cost(lambda: train(experiment, dataset, Path(runs), "inprocess"))


def prepared(file: Path) -> Cost:
    """Return the cost of preparing a federation's images, or of finding them prepared."""
    experiment = load(file)
    return cost(lambda: prepare(experiment.data))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one cost, or a list of them."""
    what, *files = sys.argv[1:] if arguments is None else arguments
    logging.getLogger("flwr").setLevel(logging.ERROR)
    if what == "measure":
        print(json.dumps(asdict(measured(Path(files[0])))))
    else:
        print(json.dumps([asdict(prepared(Path(file))) for file in files]))


if __name__ == "__main__":
    main()
