"""The image and docker-compose.yml with a real engine: what is promised of them, and what survives a kill."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.config import Experiment, load
from common.data import prepare
from experiments.run import train
from tests.waiting import until

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
BASE, IMAGE = "python:3.11-slim-bookworm", "psreval:test"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-c")
PEERS = ("peer-a", "peer-b", "peer-c", "peer-d")
SMALL: dict[str, Any] = {
    "data.train_records": 180,
    "data.public_records": 40,
    "data.test_records": 40,
    "model.width": 4,
    "federation.rounds": 2,
    "evaluation.records": 12,
    "evaluation.query_records": 6,
    "evaluation.queries": 10,
    "evaluation.steps": 2,
}
"""What makes the description that compose runs a matter of seconds; the hospitals' files stay as they are."""
LONGER = SMALL | {"training.local_epochs": 12, "federation.rounds": 8, "federation.round_timeout": 60}
"""Rounds of some seconds, so that a kill meets one."""


def docker(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a docker command."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)


def compose_command() -> list[str]:
    """Return today's command, or Compose 1's; none if neither is there."""
    if docker("compose", "version").returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


@pytest.fixture(scope="module")
def image() -> str:
    """The image of this checkout, built if anything has changed; it stays, so that the next time is fast."""
    if not shutil.which("docker") or docker("info").returncode != 0:
        pytest.skip("no Docker engine runs here")
    if not compose_command():
        pytest.skip("Docker is here, but no Compose")
    if docker("image", "inspect", BASE).returncode != 0:
        pytest.skip(f"the base image is not here: docker pull {BASE}")
    arguments = ["--network", "host", "--build-arg", "PIP_INDEX_URL", "--build-arg", "PIP_EXTRA_INDEX_URL"]
    built = docker("build", *arguments, "--tag", IMAGE, str(ROOT), timeout=1800)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return IMAGE


class Composed:
    """A compose project of the test's own in a folder of its own."""

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder
        self.name = f"psreval-test-{uuid.uuid4().hex[:8]}"
        self.environment = os.environ | {"PSREVAL_IMAGE": image}
        (folder / "experiments").mkdir(parents=True)
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        shutil.copy(ROOT / "docker-compose.yml", folder)
        shutil.copy(ROOT / ".env", folder)

    def describe(self, changes: dict[str, Any], name: str = "compose") -> Experiment:
        """Write and return the description that compose runs, changed."""
        experiment = load(ROOT / "experiments" / f"{name}.toml").change(changes)
        (self.folder / "experiments" / f"{name}.toml").write_text(experiment.to_toml())
        return experiment

    def compose(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a compose command in the folder."""
        return subprocess.run(
            [*compose_command(), "-p", self.name, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def container(self, service: str) -> str:
        """Return a service's container, which may have ended."""
        labels = {"com.docker.compose.project": self.name, "com.docker.compose.service": service}
        filters = [part for key, value in labels.items() for part in ("--filter", f"label={key}={value}")]
        (found,) = docker("ps", "--all", "--quiet", "--no-trunc", *filters).stdout.split()
        return found

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        found: dict[str, Any] = json.loads(docker("inspect", self.container(service)).stdout)[0]
        return found

    def exit_code(self, service: str) -> int:
        """Wait for a service to end and return its exit code."""
        return int(docker("wait", self.container(service), timeout=600).stdout)

    def rounds(self) -> list[dict[str, Any]]:
        """Return the finished rounds so far."""
        files = list(self.folder.glob("runs/compose/*/rounds.jsonl"))
        written = (file.read_text().rpartition("\n")[0] for file in files)  # a line may be half written
        return [json.loads(line) for lines in written for line in lines.splitlines()]

    def counted(self) -> list[set[str]]:
        """Return the hospitals whose updates counted, round by round."""
        return [
            {client["name"] for client in done["clients"] if client["status"] == "accepted"} for done in self.rounds()
        ]

    def logs(self, service: str = "server") -> str:
        """Return what a service has said."""
        said = docker("logs", self.container(service))
        return said.stdout + said.stderr

    def left(self) -> list[str]:
        """Return what the engine still has of this project."""
        own = ("--filter", f"label=com.docker.compose.project={self.name}")
        return [
            *docker("ps", "--all", "--quiet", *own).stdout.split(),
            *docker("volume", "ls", "--quiet", *own).stdout.split(),
            *docker("network", "ls", "--quiet", *own).stdout.split(),
        ]


@pytest.fixture
def composed(tmp_path: Path, image: str) -> Iterator[Composed]:
    """A compose project; afterwards the engine has nothing of it any more."""
    project = Composed(tmp_path / "checkout", image)
    yield project
    project.environment["COMPOSE_PROFILES"] = "server,peers"
    down = project.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
    assert project.left() == [], down.stderr


def test_up_ends_by_itself_with_a_report_and_the_model_of_one_process(composed: Composed, tmp_path: Path) -> None:
    experiment = composed.describe(SMALL)
    up = composed.compose("up")
    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    assert [composed.exit_code(service) for service in ("prepare", "server", *HOSPITALS)] == [0] * 5, up.stdout[-5000:]
    (report,) = composed.folder.glob("runs/compose/*/report.html")
    assert report.stat().st_size > 10_000
    ours = train(experiment, prepare(experiment.data), tmp_path / "ours", "inprocess")
    assert (report.parent / "model.safetensors").read_bytes() == ours.model.read_bytes()
    assert composed.counted() == [set(HOSPITALS)] * 2
    _check_hardened(composed)
    _check_separate(composed)
    results = (report.parent / "results.csv").stat()
    again = composed.compose("up", "--exit-code-from", "server", "server")
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert (report.parent / "results.csv").stat() == results  # a run that has ended is not run again
    assert composed.counted() == [set(HOSPITALS)] * 2


def _check_hardened(composed: Composed) -> None:
    for service in ("server", *HOSPITALS):
        found = composed.inspect(service)
        host = found["HostConfig"]
        assert found["Config"]["User"] == "1000:1000", service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert not host["Privileged"], service
        assert host["ReadonlyRootfs"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert 0 < host["Memory"] < 4 * 2**30, service
        assert host["PidsLimit"] > 0, service
        assert not host["PortBindings"], service
        assert "Healthcheck" in found["Config"], service
    assert json.loads(docker("network", "inspect", f"{composed.name}_federation").stdout)[0]["Internal"]
    assert composed.inspect("prepare")["HostConfig"]["NetworkMode"] == "none"


def _check_separate(composed: Composed) -> None:
    volumes = {
        service: {mount["Name"] for mount in composed.inspect(service)["Mounts"] if mount["Type"] == "volume"}
        for service in ("server", *HOSPITALS)
    }
    for service, own in volumes.items():
        others = set[str]().union(*(held for other, held in volumes.items() if other != service))
        assert own, service
        assert not own & others, service
        assert f"{composed.name}_authority" not in own, service


def test_the_image_holds_no_secret_no_result_and_no_installer(image: str) -> None:
    listed = docker("run", "--rm", "--user", "0", "--entrypoint", "find", image, "/app", "-maxdepth", "1").stdout
    assert {Path(line).name for line in listed.split()} == {
        *("app", "common", "attacks", "clients", "server", "peers", "experiments", "deploy"),
        *("pyproject.toml", "LICENSE"),
    }
    look = (
        'find /app /runs /state /party /tmp /home /root ! -type d ! -name "*.py*" ! -path "/root/.*"; ls /opt/venv/bin'
    )
    files = docker("run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", look).stdout.split()
    assert not [file for file in files if file.endswith((".key", ".pem", ".crt", ".npz", ".safetensors", ".pub"))]
    assert not {"pip", "uv"} & set(files)
    assert "flower-superlink" in files
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout
    assert "INDEX_URL" not in history  # the address of an index may hold a password
    assert json.loads(docker("image", "inspect", image).stdout)[0]["Config"]["User"] == "1000:1000"


def test_a_hospital_that_crashes_comes_back_and_one_that_is_gone_ends_nothing(composed: Composed) -> None:
    composed.describe(LONGER)
    up = composed.compose("up", "--detach")
    assert up.returncode == 0, up.stderr
    until(lambda: len(composed.rounds()) >= 1, "the first round", seconds=240)
    docker("exec", composed.container("hospital-a"), "python", "-c", _KILL_NODE)
    until(lambda: composed.inspect("hospital-a")["RestartCount"] == 1, "the restart", seconds=240)
    until(
        lambda: len(composed.counted()) >= 2 and "hospital-a" in composed.counted()[-1], "its next update", seconds=240
    )
    docker("kill", composed.container("hospital-c"))
    assert composed.exit_code("server") == 0, composed.logs()
    assert composed.counted()[-1] == {"hospital-a", "hospital-b"}
    assert [done["round"] for done in composed.rounds()] == list(range(1, 9))
    assert composed.exit_code("hospital-a") == 0
    assert "hospital-c" in composed.logs()  # a note says who was missing
    assert list(composed.folder.glob("runs/compose/*/report.html"))


_KILL_NODE = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if b"/usr/local/bin/psreval" in (process / "cmdline").read_bytes() and process.name != "1":
        os.kill(int(process.name), signal.SIGKILL)
"""


def test_a_killed_server_resumes_and_a_run_that_fails_says_so_by_its_exit_code(composed: Composed) -> None:
    composed.describe(LONGER | {"federation.rounds": 4, "thresholds.robust_accuracy": 1.0})
    up = composed.compose("up", "--detach")
    assert up.returncode == 0, up.stderr
    until(lambda: len(composed.rounds()) >= 1, "the first round", seconds=240)
    docker("kill", composed.container("server"))
    assert composed.exit_code("server") == 137
    before = composed.rounds()
    resumed = composed.compose("up", "--exit-code-from", "server", "server")
    assert resumed.returncode == 1, resumed.stdout[-3000:] + resumed.stderr[-3000:]
    assert composed.rounds()[: len(before)] == before
    assert [done["round"] for done in composed.rounds()] == [1, 2, 3, 4]
    assert composed.counted()[-1] == set(HOSPITALS)


def test_a_folder_of_somebody_else_is_one_sentence(composed: Composed) -> None:
    composed.describe(SMALL)
    runs = composed.folder / "runs"
    runs.mkdir(mode=0o755)
    composed.environment["PSREVAL_USER"] = "4321:4321"
    if os.getuid() == 0:
        os.chown(runs, 1234, 1234)  # else it is this test's user's, and not 4321's either
    up = composed.compose("up", "prepare")
    assert composed.exit_code("prepare") == 2
    assert "prepare: user 4321 may not write to ./runs" in up.stdout
    assert "PSREVAL_USER=$(id -u):$(id -g)" in up.stdout


def test_results_belong_to_the_user_who_asked(composed: Composed) -> None:
    composed.describe(SMALL | {"federation.rounds": 1})
    user, group = (os.getuid(), os.getgid()) if os.getuid() != 0 else (4321, 4322)
    composed.environment["PSREVAL_USER"] = f"{user}:{group}"
    up = composed.compose("up", "--exit-code-from", "server", "server")
    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    (report,) = composed.folder.glob("runs/compose/*/report.html")
    for path in (composed.folder / "runs", report.parent, report):
        assert (path.stat().st_uid, path.stat().st_gid) == (user, group), path


def test_peers_end_by_themselves_with_a_report_and_the_model_of_one_process(composed: Composed, tmp_path: Path) -> None:
    experiment = composed.describe(SMALL, "compose-peers")
    up = composed.compose("--profile", "peers", "up")
    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    assert [composed.exit_code(peer) for peer in PEERS] == [0] * 4, up.stdout[-5000:]
    (report,) = composed.folder.glob("runs/compose-peers/*/report.html")
    assert report.stat().st_size > 10_000
    ours = train(experiment, prepare(experiment.data), tmp_path / "ours", "inprocess")
    assert (report.parent / "model.safetensors").read_bytes() == ours.model.read_bytes()
    for peer in PEERS:
        host = composed.inspect(peer)["HostConfig"]
        assert (host["CapDrop"], host["ReadonlyRootfs"], host["PortBindings"] or {}) == (["ALL"], True, {}), peer


def test_a_killed_peer_comes_back_and_the_model_is_that_of_one_process(composed: Composed, tmp_path: Path) -> None:
    experiment = composed.describe(SMALL | {"training.local_epochs": 12, "federation.rounds": 4}, "compose-peers")
    up = composed.compose("--profile", "peers", "up", "--detach")
    assert up.returncode == 0, up.stdout[-3000:] + up.stderr[-3000:]
    until(lambda: "turn 1 of" in composed.logs("peer-c"), "peer-c's first turn")
    assert docker("kill", composed.container("peer-c")).returncode == 0
    assert docker("start", composed.container("peer-c")).returncode == 0
    assert [composed.exit_code(peer) for peer in PEERS] == [0] * 4, composed.logs("peer-c")[-3000:]
    assert "taken" in composed.logs("peer-c")
    (model,) = composed.folder.glob("runs/compose-peers/*/model.safetensors")
    ours = train(experiment, prepare(experiment.data), tmp_path / "ours", "inprocess")
    skipped = any("skipped" in composed.logs(peer) for peer in PEERS)  # it was away just while another one asked
    assert skipped or model.read_bytes() == ours.model.read_bytes()
