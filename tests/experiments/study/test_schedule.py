"""Tasks in real processes: what fails, what is lost, what memory allows, and that nobody is left behind."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.progress import show_with
from experiments.study.schedule import ATTEMPTS, ROOT, Outcome, order, run_here, run_tasks
from tests.experiments.study.chores import chore, task, together
from tests.waiting import until


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The sentences that a watcher of the study reads."""
    sentences: list[str] = []
    show_with(None, sentences.append)
    yield sentences
    show_with(None)


def troubles(folder: Path) -> list[Any]:
    return [
        task(folder, "mistaken", kind="mistake"),
        task(folder, "after", "mistaken", "good"),
        task(folder, "long after", "after"),
        task(folder, "defective", kind="defect"),
        task(folder, "good"),
        task(folder, "better", "good", seconds=3.0),
    ]


FAILURES = {
    "mistaken": "eps = -1: choose at least 0",
    "after": "not tried, since 'mistaken' failed",
    "long after": "not tried, since 'mistaken' failed",
    "defective": "ValueError: a tensor of the wrong shape",
    "good": None,
    "better": None,
}


def check_troubles(tasks: list[Any], outcomes: list[Outcome], heard: list[Outcome], log: Path) -> None:
    assert [outcome.key for outcome in outcomes] == [one.key for one in order(tasks)]
    assert {outcome.key: outcome.failure for outcome in outcomes} == FAILURES
    assert {outcome.key for outcome in outcomes if outcome.skipped} == {"after", "long after"}
    assert sorted(heard, key=lambda one: one.key) == sorted(outcomes, key=lambda one: one.key)
    assert "ValueError" in log.read_text()
    assert "chores.py" in log.read_text()
    assert "UserError" not in log.read_text()


def test_here_a_failed_task_is_told_and_stops_only_what_needs_it(tmp_path: Path) -> None:
    heard: list[Outcome] = []
    tasks = troubles(tmp_path)
    outcomes = run_here(tasks, chore, told=heard.append, log=tmp_path / "traces" / "log.txt")
    check_troubles(tasks, outcomes, heard, tmp_path / "traces" / "log.txt")
    done = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("begin")]
    expected = [f"begin {one.key}" for one in order(tasks) if one.key not in ("after", "long after")]
    assert done == expected


def test_no_cores_means_this_process(tmp_path: Path) -> None:
    seen: list[int] = []
    (outcome,) = run_tasks([task(tmp_path, "one")], lambda arguments: seen.append(os.getpid()), cores=0)
    assert seen == [os.getpid()]
    assert outcome.failure is None
    assert outcome.peak_memory > 10 * 2**20


def test_nothing_to_do_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: pytest.fail(f"asked for {name}"))
    assert run_tasks([], chore) == []


def test_the_bar_reaches_its_end_whatever_fails(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    show_with(lambda title, done, total: steps.append((done, total)) if title.startswith("cells") else None)
    try:
        run_here(troubles(tmp_path), chore)
    finally:
        show_with(None)
    assert steps == [(done, 8) for done in range(9)]


def test_a_mistake_of_the_caller_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task(tmp_path, "one")]
    with pytest.raises(UserError, match="cores = -1: should be at least 0"):
        run_tasks(tasks, chore, cores=-1)
    with pytest.raises(UserError, match="memory = 0"):
        run_tasks(tasks, chore, memory=0)
    with pytest.raises(UserError, match=r"cluster at 127\.0\.0\.1:9 cannot be used"):
        run_tasks(tasks, chore, address="127.0.0.1:9")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="Ray is not installed here; pip install"):
        run_tasks(tasks, chore)


@pytest.mark.processes
def test_on_ray_failures_are_told_and_a_lost_worker_costs_one_more_attempt(
    tmp_path: Path, said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[Outcome] = []
    tasks = [
        *troubles(tmp_path),
        task(tmp_path, "unlucky", kind="die once", seconds=9.0),
        task(tmp_path, "after unlucky", "unlucky"),
        task(tmp_path, "hopeless", kind="die"),
    ]
    before = signal.getsignal(signal.SIGTERM)
    outcomes = {one.key: one for one in run_tasks(tasks, chore, cores=2, told=heard.append, log=tmp_path / "trace")}
    assert signal.getsignal(signal.SIGTERM) is before
    assert outcomes["unlucky"].failure is None
    assert outcomes["after unlucky"].failure is None
    hopeless = outcomes["hopeless"]
    assert hopeless.failure == "its worker crashed or was killed, 2 times"
    assert [outcomes[key].attempts for key in ("unlucky", "hopeless", "good", "after")] == [2, ATTEMPTS, 1, 0]
    assert sorted(said) == [
        f"{name}: its worker crashed or was killed; it is tried again" for name in ("hopeless", "unlucky")
    ]
    extra = {"unlucky", "after unlucky", "hopeless"}
    check_troubles(
        troubles(tmp_path),
        [outcomes[one.key] for one in order(troubles(tmp_path))],
        [one for one in heard if one.key not in extra],
        tmp_path / "trace",
    )
    assert capfd.readouterr().out == ""  # standard output belongs to the study


@pytest.mark.processes
def test_tasks_that_run_together_never_need_more_than_the_memory(tmp_path: Path, said: list[str]) -> None:
    tasks = [task(tmp_path, f"small {number}", kind="meet", seconds=0.2, memory=40) for number in range(8)]
    tasks += [task(tmp_path, "large", kind="wait", seconds=0.3, memory=101)]
    outcomes = run_tasks(tasks, chore, cores=4, memory=100)
    assert all(outcome.failure is None for outcome in outcomes)
    groups = together(tmp_path)
    assert max(map(len, groups)) == 2  # four cores, but room for two
    assert all(group <= {"large"} for group in groups if "large" in group)
    assert len(said) == 1
    assert said[0].startswith("large may need")


def alive(pid: int) -> bool:
    """Whether a process still computes; one that has ended and nobody asks about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_study_and_know_its_code_from_a_neighbours(
    tmp_path: Path, number: signal.Signals
) -> None:
    neighbour = tmp_path / "neighbour" / "common"
    neighbour.mkdir(parents=True)
    (neighbour / "__init__.py").write_text("raise RuntimeError('a neighbour was imported')")
    (neighbour.parent / "start.py").write_text(
        f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.experiments.study.chores import hold_fast\nhold_fast(Path(sys.argv[1]))\n"
    )
    study = subprocess.Popen(
        [sys.executable, "start.py", str(tmp_path)], cwd=neighbour.parent, stderr=subprocess.PIPE, text=True
    )
    try:
        pids = [tmp_path / "one.pid", tmp_path / "two.pid"]

        def begun() -> bool:
            assert study.poll() is None, study.communicate()
            return all(path.exists() and path.read_text() for path in pids)

        until(begun, "two workers")
        workers = [int(path.read_text()) for path in pids]
        assert all(map(alive, workers))
        study.send_signal(number)
        code = study.wait(timeout=120)
        assert code == (-number if number == signal.SIGKILL else 130), study.communicate()
        until(lambda: not any(map(alive, workers)), "the workers have ended")
    finally:
        study.kill()


@pytest.mark.processes
def test_a_cluster_that_loses_a_machine_does_its_task_again_on_another(tmp_path: Path, said: list[str]) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    gate, host = tmp_path / "gate", tmp_path / "interrupted.host"
    tasks = [
        task(tmp_path, "interrupted", kind="wait for", file=str(gate), seconds=9.0),
        task(tmp_path, "next", "interrupted"),
    ]

    def lose() -> None:
        until(lambda: host.exists() and host.read_text() != "", "a task")
        gate.touch()
        os.kill(int(host.read_text()), signal.SIGKILL)

    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        thread = threading.Thread(target=lose, daemon=True)
        thread.start()
        outcomes = run_tasks(tasks, chore, address=cluster.address)
    finally:
        cluster.shutdown()
    assert [outcome.failure for outcome in outcomes] == [None, None]
    assert [outcome.attempts for outcome in outcomes] == [2, 1]
    assert len(said) == 1
