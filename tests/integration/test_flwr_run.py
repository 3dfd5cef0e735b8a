"""``flwr run .`` as a Flower user types it: the same model as ours, and a folder that `psreval report` can draw."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import parse
from common.data import prepare
from experiments.flower_command import BIN, flower_home, run_command
from experiments.run import train

ROOT = Path(__file__).parents[2]
TINY = {
    "name": "tiny",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "federation": {"rounds": 2},
    "clients": [{"name": "good"}, {"name": "bad", "strategy": "data-poisoner"}],
    "evaluation": {"records": 12, "query_records": 6, "queries": 10, "steps": 2},
}


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Flower home of the test's own; what was started is ended."""
    with flower_home(tmp_path / "flower") as environment:
        yield environment


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds what Flower started through /proc")
def test_flwr_run_gives_our_model_and_a_run_that_can_be_reported(tmp_path: Path, flower: dict[str, str]) -> None:
    description, runs = tmp_path / "tiny.toml", tmp_path / "runs"
    experiment = parse(TINY, "tiny")
    description.write_text(experiment.to_toml())
    command = run_command(ROOT, description, runs, clients=2)
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
