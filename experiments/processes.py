"""The processes runner: a server that listens on loopback, and one operating-system process for each client."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clients.hospital import Hospital, hospital_toml
from common.config import Experiment
from common.data import Dataset
from common.description import Client
from common.errors import UserError
from common.exchange import arrays_of
from common.folder import RunFolder, write_text
from experiments.run import Work
from server.checks import reply_limit
from server.federation import initial_model
from server.link import open_link

ROOT = Path(__file__).resolve().parent.parent
"""The checkout that this process runs; the nodes run the same."""
RESTARTS = 3
"""Times that a node which ended by itself is started again."""
GOODBYE = 10.0
"""Seconds that nodes are given to end by themselves after the run."""
PARENT = "PSREVAL_PARENT"
"""Environment variable: the process without which a node has no reason to live."""


def simulate(experiment: Experiment, dataset: Dataset, folder: RunFolder, work: Work) -> None:
    """Start a node for each client of the description, serve them on loopback, and leave no process behind.

    Raises:
        UserError: a node cannot start; or what ``work`` raises.
    """
    with (
        _nodes(experiment, folder) as start,
        open_link("127.0.0.1", 0, reply_limit(arrays_of(initial_model(experiment, dataset)))) as link,
    ):
        start(link.address)
        work(link.grid, link.identities)


@contextlib.contextmanager
def _nodes(experiment: Experiment, folder: RunFolder) -> Iterator[Callable[[str], None]]:
    """Yield a function that starts the nodes for a server's address; afterwards all of them have ended."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    over = threading.Event()
    watches: list[threading.Thread] = []

    def start(address: str) -> None:
        for number, client in enumerate(experiment.roster()):
            command = _command(experiment, client, number, folder, address)
            running[str(client.name)] = start_process(command, folder.clients / str(client.name))
            watch = threading.Thread(target=keep, args=(str(client.name), command), daemon=True)
            watch.start()
            watches.append(watch)

    def keep(name: str, command: list[str]) -> None:
        for _ in range(RESTARTS):
            if running[name].wait() == 0 or over.wait(timeout=0.5):
                return
            running[name] = start_process(command, folder.clients / name)

    try:
        yield start
    finally:
        deadline = time.monotonic() + (GOODBYE if sys.exc_info()[0] is None else 0.5)
        over.set()
        while any(process.poll() is None for process in running.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        while True:  # a watch may just be starting a node again
            for process in running.values():
                process.kill()
                process.wait()
            if not any(watch.is_alive() for watch in watches):
                break
            time.sleep(0.01)


def _command(experiment: Experiment, client: Client, number: int, folder: RunFolder, address: str) -> list[str]:
    home = folder.clients / str(client.name)
    home.mkdir(parents=True, exist_ok=True)
    hospital = Hospital.of(experiment, client, share=(number, len(experiment.roster())), state=home)
    write_text(home / "hospital.toml", hospital_toml(json.loads(hospital.model_dump_json(exclude_none=True))))
    return [
        *(sys.executable, "-m", "experiments.cli", "node", str(home / "hospital.toml")),
        *("--server", address, "--patience", "60"),
    ]


def start_process(command: list[str], home: Path, log_name: str = "node.log") -> subprocess.Popen[bytes]:
    """Start a command that ends with this process, in and with the folder ``home``; what it says goes to its log.

    Raises:
        UserError: it cannot be started.
    """
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "FLWR_HOME": str(home / "flower"),
        "OMP_NUM_THREADS": "1",
        PARENT: str(os.getpid()),
    }
    try:
        with (home / log_name).open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        raise UserError(f"--runner processes: a node cannot be started ({error.strerror})") from None


def end_with_parent() -> None:
    """End this process soon after the one that started it; a killed parent cannot say goodbye."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
