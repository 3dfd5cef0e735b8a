"""``python -m experiments.bench.deployment``: seconds per round of real processes, Flower's own and ours.

Three ways to run the same federation of two clients, in turn: Flower's SuperLink and SuperNodes as they come, our
server and nodes, and in process, where a round is nothing but its work. The difference to the last is the overhead.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import tomli_w
from rich.console import Console
from rich.table import Table

from common.config import Experiment, parse
from common.folder import RunFolder, read_lines
from experiments.flower_command import BIN, flower_home, free_port, run_command
from server.provenance import machine

ROOT = Path(__file__).resolve().parent.parent.parent
REPEATS = 3
JOIN = 120.0
"""Seconds that Flower's processes may take to come up."""


def description(rounds: int = 5) -> Experiment:
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


def main() -> None:
    """Run all three ways in turn and print seconds per round, medians with the spread."""
    console = Console(width=120)
    experiment = description()
    ways = ("Flower's SuperLink and SuperNodes", "psreval, --runner processes", "psreval, in process")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    walls: dict[str, list[float]] = {way: [] for way in ways}
    models = set()
    for _ in range(REPEATS):
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                place, before = Path(folder), time.perf_counter()
                if way == ways[0]:
                    run = through_flower(experiment, place)
                else:
                    run = through_ours(experiment, place, "processes" if way == ways[1] else "inprocess")
                walls[way].append(time.perf_counter() - before)
                seconds[way] += [line["seconds"] for line in read_lines(run.rounds)]
                models.add(run.model.read_bytes())
    told = machine()
    rounds = experiment.federation.rounds
    console.print(
        f"{told['cpu']}, {told['cores']} cores; 2 clients, {rounds} rounds, {REPEATS} repeats, seconds of wall time"
    )
    table = Table("way", "a round, median", "spread", "the whole, median", "spread")
    for way in ways:
        table.add_row(way, *_shown(seconds[way]), *_shown(walls[way]))
    console.print(table)
    console.print("all models are equal, bit for bit" if len(models) == 1 else f"{len(models)} DIFFERENT models")


def _shown(values: list[float]) -> tuple[str, str]:
    return f"{median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    main()
