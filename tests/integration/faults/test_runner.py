"""``psreval run --runner processes``: the same model, and nothing left behind however it ends."""

import os
import signal
from pathlib import Path

import pytest

from tests.integration.faults import hooks
from tests.integration.faults.conftest import Outcome
from tests.integration.faults.processes_fixture import HERE, Program, Site, model_without, site, tiny
from tests.waiting import until

NAMES = ("hospital-a", "hospital-b")
needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes through /proc")


def start(here: Site) -> Program:
    """Start the runner; its clients wait at gates."""
    gated = ["--set", f"clients.0.strategy={HERE / 'strategies.py'}:Gated", "--set", "clients.0.options.gates="]
    gated[-1] += str(here.gates)
    command = ["run", str(here.folder / "experiment.toml"), "--runner", "processes", "-q"]
    return here.start("run", [*command, "--runs", str(here.folder / "runs"), *gated], [(hooks.without_evaluation, ())])


def nodes_of(here: Site) -> list[int]:
    """The processes whose folder is one of this site's clients', the dead that nobody has buried among them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes() + os.readlink(process / "cwd").encode()
        except OSError:
            continue
        if str(here.folder / "runs").encode() in command and b"run\0" not in command:
            found.append(int(process.name))
    return found


def gone(pids: list[int], *, buried: bool) -> bool:
    """Tell whether none of these processes exists; ``buried``: not even as a zombie."""
    return not any(_exists(pid, buried) for pid in pids)


def _exists(pid: int, buried: bool) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return buried or state != "Z"


def end_in_round_2(here: Site, number: signal.Signals) -> int:
    """Start the runner, send it a signal when its first node waits in round 2, and see all its nodes go."""
    runner = start(here)
    here.reached("train-hospital-a-2")
    pids = nodes_of(here)
    assert len(pids) == len(NAMES)
    runner.send(number)
    code = runner.ended()
    # The children of a killed runner are the system's to bury.
    until(lambda: gone(pids, buried=number != signal.SIGKILL), f"the nodes end after {number.name}")
    assert len(here.rounds()) == 1
    (here.gates / "train-hospital-a-2.reached").unlink()
    return code


@pytest.mark.processes
@needs_proc
def test_a_runner_that_is_stopped_or_killed_leaves_nothing_and_resumes(tmp_path: Path, outcome: Outcome) -> None:
    experiment = tiny(NAMES)
    with site(tmp_path / "site", experiment) as here:
        here.hold("train-hospital-a-2")
        assert end_in_round_2(here, signal.SIGINT) == 130
        assert end_in_round_2(here, signal.SIGKILL) == -signal.SIGKILL
        here.release("train-hospital-a-2")
        runner = start(here)
        assert runner.ended() == 0, runner.said()
        until(lambda: not nodes_of(here), "the nodes end with the run")
        assert here.model() == model_without(tmp_path, experiment, {})
    outcome("Ctrl-C on `psreval run --runner processes`", "exit 130; no process left; the same command resumes")
    outcome(
        "SIGKILL of `psreval run --runner processes`",
        "its nodes end by themselves within seconds; the same command resumes, with the same model",
    )


@pytest.mark.processes
@needs_proc
@pytest.mark.slow
def test_a_runner_that_is_terminated_leaves_nothing(tmp_path: Path, outcome: Outcome) -> None:
    with site(tmp_path / "site", tiny(NAMES)) as here:
        here.hold("train-hospital-a-2")
        assert end_in_round_2(here, signal.SIGTERM) == 130
    outcome("SIGTERM of `psreval run --runner processes`", "exit 130; no process left")
