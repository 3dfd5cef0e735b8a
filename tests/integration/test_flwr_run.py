"""``flwr run .`` as a Flower user types it: the same model as ours, and a folder that `psreval report` can draw."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import parse
from common.data import prepare
from experiments.run import train

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TINY = {
    "name": "tiny",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "federation": {"rounds": 2},
    "clients": [{"name": "good"}, {"name": "bad", "strategy": "data-poisoner"}],
    "evaluation": {"records": 12, "query_records": 6, "queries": 10, "steps": 2},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Flower home and SuperLink port of the test's own, in a neutral folder; what was started is ended."""
    port = free_port()
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(tmp_path / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
    }
    yield environment
    mark = f"FLWR_HOME={tmp_path / 'flower'}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds what Flower started through /proc")
def test_flwr_run_gives_our_model_and_a_run_that_can_be_reported(tmp_path: Path, flower: dict[str, str]) -> None:
    description, runs = tmp_path / "tiny.toml", tmp_path / "runs"
    experiment = parse(TINY, "tiny")
    description.write_text(experiment.to_toml())
    command = ["flwr", "run", str(ROOT), "--stream"]
    command += ["--federation-config", "num-supernodes=2 client-resources-num-cpus=1"]
    command += ["--run-config", f'experiment="{description}" runs="{runs}"']
    neutral = tmp_path / "neutral"
    neutral.mkdir()
    done = subprocess.run(command, cwd=neutral, env=flower, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    found = list(runs.glob("tiny/*/results.csv"))
    assert len(found) == 1, done.stdout + done.stderr  # flwr run exits with 0 also when a run failed
    ours = train(experiment, prepare(experiment.data), tmp_path / "ours", "inprocess")
    assert (found[0].parent / "model.safetensors").read_bytes() == ours.model.read_bytes()
    shown = subprocess.run(
        [BIN / "psreval", "report", str(found[0].parent)], cwd=neutral, capture_output=True, text=True, timeout=120
    )
    assert shown.returncode == 0, shown.stderr
    assert (found[0].parent / "report.html").stat().st_size > 10_000
