"""``python -m experiments.bench deployment``: seconds per round of real processes, Flower's own and ours.

Three ways to run the same federation of two clients, in turn: Flower's SuperLink and SuperNodes as they come, our
server and nodes, and in process. Of each round the seconds are taken off that the local training takes by itself.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tomli_w

from common.code import ROOT
from common.config import Experiment, parse
from common.data import partition, prepare
from common.folder import RunFolder, read_lines
from common.training import train
from experiments.bench.findings import Finding, at_most, interleaved
from experiments.bench.subjects import one_thread
from experiments.flower_command import BIN, flower_home, free_port, run_command
from server.federation import initial_model

FLOWER = "flower"
WAYS = (FLOWER, "processes", "inprocess")
"""Flower's own programs, and psreval's runners."""
MOST_REPEATS = 2
TRAININGS = 5
"""Local trainings that are timed by themselves."""
JOIN = 120.0
"""Seconds that Flower's processes may take to come up."""


@dataclass(frozen=True)
class Run:
    """One run: wall seconds from its command to its end, those of each round, and the model's file."""

    wall: float
    seconds: tuple[float, ...]
    model: bytes


def description(rounds: int = 4) -> Experiment:
    """Return a federation whose training takes almost no time: two clients, 60 small images each."""
    return parse(
        {
            "name": "bench",
            "data": {"image_size": 28, "train_records": 120, "public_records": 24, "test_records": 24},
            "model": {"width": 4},
            "federation": {"rounds": rounds, "round_timeout": 120.0, "join_timeout": JOIN},
            "clients": [{"name": "one"}, {"name": "two"}],
        },
        "bench",
    )


def through_ours(experiment: Experiment, place: Path, runner: str) -> RunFolder:
    """Run with one of psreval's runners; return the run's folder."""
    file = place / "bench.toml"
    file.write_text(experiment.to_toml())
    command = [sys.executable, "-c", _FEDERATION, str(file), str(place / "runs"), runner]
    subprocess.run(command, cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    return _run(place / "runs")


_FEDERATION = """
import sys
from pathlib import Path
from common.config import load
from common.data import prepare
from experiments.run import train
experiment = load(sys.argv[1])
train(experiment, prepare(experiment.data), Path(sys.argv[2]), sys.argv[3])
"""


def through_flower(experiment: Experiment, place: Path) -> RunFolder:
    """Run with ``flower-superlink``, a ``flower-supernode`` a client and ``flwr run``; return the run's folder."""
    file, neutral, home = place / "bench.toml", place / "neutral", place / "flower"
    neutral.mkdir()
    home.mkdir()
    file.write_text(experiment.to_toml())
    port, clients = free_port(), len(experiment.roster())
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    with flower_home(home) as environment, _flowers(environment | {"OMP_NUM_THREADS": "1"}, neutral) as start:
        start("flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port))
        for number, client in enumerate(experiment.roster()):
            hospital = place / f"{client.name}.toml"
            data = experiment.data.model_dump(exclude_none=True)
            state = str(place / f"state-{number}")
            told = {"name": client.name, "share": [number, clients], "state": state, "data": data}
            hospital.write_text(tomli_w.dumps(told))
            node = ["--superlink", f"127.0.0.1:{port}", "--port", str(free_port())]
            start("flower-supernode", "--insecure", *node, "--node-config", f'hospital="{hospital}"')
        command = run_command(ROOT, file, place / "runs", evaluate="false")
        subprocess.run(command, env=environment, cwd=neutral, check=True, capture_output=True, timeout=900)
    return _run(place / "runs")


@contextmanager
def _flowers(environment: dict[str, str], neutral: Path) -> Iterator[Callable[..., None]]:
    """Yield a function that starts one of Flower's processes; end them afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        started.append(
            subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                env=environment,
                cwd=neutral,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        time.sleep(2)  # a SuperNode gives up where its SuperLink does not listen yet

    try:
        yield start
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _run(runs: Path) -> RunFolder:
    return RunFolder(next(runs.glob("*/*/model.safetensors")).parent)


def training_seconds(experiment: Experiment) -> float:
    """Return the wall seconds of one local training and nothing else; of all clients, who train at the same time."""
    dataset = prepare(experiment.data)
    share = partition(dataset.train.strata, len(experiment.roster()), experiment.data)[0]
    model, records = initial_model(experiment, dataset), dataset.train.records(share)
    times = interleaved(
        {"training": lambda: train(model, records, experiment.training, seed=1, device="cpu")}, TRAININGS
    )
    return median(taken.wall for taken in times["training"])


def find(repeats: int) -> list[Finding]:
    """Return the overhead of a round with real processes and with Flower's own, and how long a whole run takes.

    Args:
        repeats: of each way; at most 2, since one of all takes about 3 minutes.
    """
    one_thread()
    experiment = description()
    training = training_seconds(experiment)
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for _ in range(min(repeats, MOST_REPEATS)):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                place, before = Path(folder).resolve(), time.perf_counter()
                run = through_flower(experiment, place) if way == FLOWER else through_ours(experiment, place, way)
                wall = time.perf_counter() - before
                lines = tuple(line["seconds"] for line in read_lines(run.rounds))
                runs[way].append(Run(wall, lines, run.model.read_bytes()))
    return findings(runs, training, experiment.federation.rounds)


def findings(runs: Mapping[str, Sequence[Run]], training: float, rounds: int) -> list[Finding]:
    """Return what is found of the runs of each of ``WAYS``, one a repeat.

    Args:
        runs: of each way.
        training: seconds of a round that any way must take.
        rounds: of a run.
    """
    beyond = {way: [median(run.seconds) - training for run in found] for way, found in runs.items()}
    walls = {way: [run.wall for run in found] for way, found in runs.items()}
    models = {run.model for found in runs.values() for run in found}
    equal = "equal models" if len(models) == 1 else f"{len(models)} DIFFERENT models"
    longest = max(second for run in runs["processes"] for second in run.seconds)
    told = f"{equal}; the longest of ours took {longest:.2g} s, training {training:.2g} s of each"
    path, whole = "a round of --runner processes beyond its training", f"2 clients, {rounds} rounds, start to end"
    flower, ours = "Flower's SuperLink and SuperNodes", "in process"
    return [
        Finding(path, flower, "wall s", beyond["processes"], beyond[FLOWER], at_most(4.0), told, len(models) == 1),
        Finding(path, ours, "wall s", beyond["processes"], beyond["inprocess"]),
        Finding(f"--runner processes, {whole}", flower, "wall s", walls["processes"], walls[FLOWER]),
        Finding(f"--runner processes, {whole}", ours, "wall s", walls["processes"], walls["inprocess"]),
    ]
