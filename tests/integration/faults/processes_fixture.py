"""Real psreval processes: a server and its nodes, each with a log, all of them ended with the test.

They are forked from one process that has imported everything, since imports cost a node four seconds and its work a
tenth of one. What runs in them is the command line, ``experiments.cli.main``; each is an operating-system process of
its own, with its own sockets and files, and can be stopped and killed like any other.
"""

import json
import multiprocessing
import multiprocessing.context
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clients.hospital import Hospital, hospital_toml
from common.config import Experiment, parse
from common.data import prepare
from experiments.run import train
from server.app import run_folder
from tests.integration.faults import gates, hooks
from tests.waiting import PATIENCE, until

HERE = Path(__file__).parent
Hook = tuple[Callable[..., None], tuple[Any, ...]]
"""A function that the new process calls first, and its arguments."""

_PRELOADED = (
    *("experiments.cli", "experiments.run", "experiments.processes", "experiments.console", "clients.node"),
    "experiments.peer_node",
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*_PRELOADED, "tests.integration.faults.processes_fixture"])


def tiny(names: Sequence[str], **changes: Any) -> Experiment:
    """A description whose federation takes a second; ``a__b = 1`` changes key ``a.b``."""
    tree = {
        "name": "faults",
        "data": {"image_size": 28, "train_records": 24 * len(names), "public_records": 24, "test_records": 24},
        "model": {"width": 4},
        "federation": {"rounds": 3, "round_timeout": 90, "join_timeout": 60},
        "clients": [{"name": name} for name in names],
    }
    return parse(tree, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


def _live(arguments: list[str], log: str, environment: dict[str, str], called: list[Hook]) -> None:
    """Run the command line in this new process."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    from experiments.cli import main
    from experiments.processes import PARENT, end_with_parent

    os.environ[PARENT] = str(os.getppid())  # whose own end follows the test's
    end_with_parent()
    del os.environ[PARENT]
    for function, given in called:
        function(*given)
    if arguments:
        sys.argv = ["psreval", *arguments]
        main()


@dataclass
class Program:
    """One process."""

    process: multiprocessing.context.ForkServerProcess
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def said(self) -> str:
        """Return all that it has written."""
        return self.log.read_text() if self.log.exists() else ""

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has said this so many times."""

        def heard() -> bool:
            assert self.process.is_alive() or self.said().count(words) >= times, f"it ended: {self.said()}"
            return self.said().count(words) >= times

        until(heard, lambda: f"'{words}' in {self.log.name}, which holds {self.said()}")

    def says_last(self, words: str, of: str) -> None:
        """Wait until the last that it has said of somebody begins with these words."""

        def heard() -> bool:
            assert self.process.is_alive(), f"it ended: {self.said()}"
            about = [line for line in self.said().splitlines() if f": {of} " in line]
            return bool(about) and f": {words}" in about[-1]

        until(heard, lambda: f"'{words}' as the last of {of} in {self.log.name}, which holds {self.said()}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"{self.log.name} has not ended: {self.said()}"
        return self.process.exitcode


@dataclass
class Site:
    """A server, its nodes, and the folder in which all of them keep what they keep."""

    folder: Path
    experiment: Experiment
    programs: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gates.mkdir(parents=True, exist_ok=True)
        (self.folder / "experiment.toml").write_text(self.experiment.to_toml())

    @property
    def gates(self) -> Path:
        """The folder of the gates."""
        return self.folder / "gates"

    def hold(self, *names: str) -> None:
        """Close gates."""
        for name in names:
            gates.hold(self.gates, name)

    def release(self, *names: str) -> None:
        """Open gates."""
        for name in names:
            gates.release(self.gates, name)

    def reached(self, *names: str) -> None:
        """Wait until somebody stands at each of the gates."""
        for name in names:
            until(partial(gates.is_reached, self.gates, name), f"gate {name}")

    def start(self, name: str, arguments: Sequence[str], called: Sequence[Hook] = (), **environment: str) -> Program:
        """Start a process; its log is ``NAME.log``, kept over restarts."""
        log = self.folder / f"{name}.log"
        told = {"PSREVAL_CACHE": os.environ["PSREVAL_CACHE"], "FLWR_HOME": str(self.folder / "flower"), **environment}
        given = (list(arguments), str(log), told, list(called))
        process = _context.Process(target=_live, args=given, name=name)
        process.start()
        self.programs.append(Program(process, log))
        return self.programs[-1]

    def server(self, *options: str, called: Sequence[Hook] = (), port: int = 0, name: str = "server") -> Program:
        """Start the server; it ends with the model."""
        given = ["server", str(self.folder / "experiment.toml"), "--runs", str(self.folder / "runs"), "-q"]
        return self.start(name, [*given, "--port", str(port), *options], [(hooks.without_evaluation, ()), *called])

    def address(self, server: Program) -> str:
        """Wait until a server listens; return its address."""
        server.says("listening on")
        return str(re.findall(r"listening on (\S+)", server.said())[-1])

    def hospital(self, name: str, folder: str = "", **changes: Any) -> Path:
        """Write a hospital's file, ``FOLDER/hospital.toml`` (NAME's own by default); return its path.

        It has a client's share of the description's data, and waits at gates; ``changes`` replace its entries.
        """
        names = [str(client.name) for client in self.experiment.roster()]
        number = names.index(name)
        file = self.folder / (folder or name) / "hospital.toml"
        file.parent.mkdir(exist_ok=True)
        hospital = Hospital.of(
            self.experiment, self.experiment.roster()[number], share=(number, len(names)), state=file.parent / "state"
        )
        gated = {"strategy": f"{HERE / 'strategies.py'}:Gated", "options": {"gates": str(self.gates)}}
        tree = json.loads(hospital.model_dump_json(exclude_none=True)) | gated | changes
        file.write_text(hospital_toml(tree))
        return file

    def node(
        self, name: str, address: str, *options: str, called: Sequence[Hook] = (), log: str = "", **changes: Any
    ) -> Program:
        """Start the node of a client of the description."""
        file = self.folder / name / "hospital.toml"
        if not file.exists():
            self.hospital(name, **changes)
        return self.start(log or name, ["node", str(file), "--server", address, *options], called)

    def run(self) -> Path:
        """The folder of the only run."""
        (found,) = (self.folder / "runs").glob("*/*/experiment.toml")
        return found.parent

    def rounds(self) -> list[dict[str, Any]]:
        """The finished rounds."""
        files = list((self.folder / "runs").glob("*/*/rounds.jsonl"))
        written = files[0].read_text().rpartition("\n")[0] if files else ""  # a line may be half written
        return [json.loads(line) for line in written.splitlines()]

    def finished(self, number: int) -> None:
        """Wait until so many rounds are finished."""
        until(lambda: len(self.rounds()) >= number, f"round {number} in {self.folder}")

    def line(self, number: int, name: str) -> dict[str, Any]:
        """What became of a client in a round."""
        lines: dict[str, dict[str, Any]] = {client["name"]: client for client in self.rounds()[number - 1]["clients"]}
        return lines[name]

    def model(self) -> bytes:
        """The final model's file."""
        return (self.run() / "model.safetensors").read_bytes()

    def close(self) -> None:
        """End what is still running."""
        for program in self.programs:
            if program.process.is_alive():
                program.process.kill()
        for program in self.programs:
            program.process.join(10)


@contextmanager
def site(folder: Path, experiment: Experiment) -> Iterator[Site]:
    """A site whose processes end with the block."""
    made = Site(folder, experiment)
    try:
        yield made
    finally:
        made.close()


def absent(here: Site) -> dict[str, list[int]]:
    """The rounds of which a client's update is not in the model."""
    missing: dict[str, list[int]] = {}
    for line in here.rounds():
        for client in line["clients"]:
            if client["status"] != "accepted":
                missing.setdefault(client["name"], []).append(line["round"])
    return missing


def model_without(folder: Path, experiment: Experiment, absent: Mapping[str, Sequence[int]]) -> bytes:
    """Return the model of the same federation in one process, in which these clients refuse these rounds."""
    changes: dict[str, Any] = {}
    for number, client in enumerate(experiment.roster()):
        rounds = list(absent.get(str(client.name), []))
        if rounds:
            changes[f"clients.{number}.strategy"] = f"{HERE / 'strategies.py'}:Absent"
            changes[f"clients.{number}.options"] = {"rounds": rounds}
    changed = experiment.change(changes)
    dataset = prepare(changed.data)
    train(changed, dataset, folder, "inprocess")
    return run_folder(folder, changed, dataset).model.read_bytes()
