"""The processes runner of peers: one operating-system process for each, which speak to each other over mutual TLS."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from common.config import Experiment
from common.data import Dataset
from common.exchange import arrays_of
from common.folder import RunFolder, read_lines, write_text
from common.progress import note, track
from experiments.peer_certificates import make_peer_certificates
from experiments.peer_federation import facts_of, learners_of, score, write_lines, write_outcome
from experiments.peer_file import AGREEMENT, PEER, agreement_toml, load_agreement, peer_toml
from experiments.peer_node import HISTORY, run_home
from experiments.peer_rounds import round_line, summary, updates_in_order
from experiments.peer_split import agreed_tree, own_tree
from experiments.processes import RESTARTS, start_process
from peers.agreement import Images, agreement, digest_of
from peers.order import rounds_of, waves
from peers.peer import Peer
from peers.simulation import collect
from peers.state import load_state
from server.federation import initial_model

HOST = "127.0.0.1"
ATTEMPTS = 3
"""Times that ports are looked for, should another program take one before a peer does."""
LOG = "peer.log"
"""A peer's log, in its folder."""
_MISTAKE = 2  # the exit code of psreval for what a person must mend


def federate_in_processes(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    """Start a process for each peer of the description, on loopback, and leave none behind.

    Each peer keeps its state in ``peers/NAME``. A process that ends by itself is started again; a peer whose process
    cannot be kept alive is missing from then on, as any peer that has left.

    Raises:
        UserError: a process cannot start; no model can be had; finished local updates are kept.
    """
    facts = [facts_of(learner) for learner in learners_of(experiment, dataset, folder)]
    with tempfile.TemporaryDirectory(prefix="psreval-") as keys:
        make_peer_certificates(Path(keys), [str(client.name) for client in experiment.roster()])
        for attempt in range(ATTEMPTS):
            written = write_files(experiment, dataset, folder, Path(keys))
            peers = _peers(experiment, dataset, folder)
            with Processes(written) as processes:
                _follow(experiment, dataset, folder, peers, processes)
            if not processes.address_taken or attempt == ATTEMPTS - 1:
                break
    for peer in peers:
        peer.state = load_state(peer.file, peer.name, peer.run, peer.state.arrays) or peer.state
    if lost := [peer.name for peer in peers if not peer.done]:
        note(f"{', '.join(lost)}: not all turns were taken; {folder.peers / lost[0] / LOG} says why")
    had = [peer for peer in peers if peer.done]
    parcels = list(collect(experiment, peers[0].run, had).values()) if had else []
    write_outcome(experiment, dataset, folder, [peer.state for peer in peers], parcels, facts)


class Processes:
    """The peers' processes; all have ended when the block has.

    Args:
        files: peer → its file.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts = dict.fromkeys(files, RESTARTS)
        self.address_taken = False

    def __enter__(self) -> "Processes":
        try:
            for name, file in self._files.items():
                self._start(name, file)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def alive(self) -> bool:
        """Tell whether any is still at work; those that ended by themselves are started again."""
        for name, process in self._running.items():
            code = process.poll()
            if code is None or code == 0:
                continue
            if code == _MISTAKE and "cannot be listened on" in _last(self._files[name].parent / LOG):
                self.address_taken = True
                return False
            if code != _MISTAKE and self._restarts[name]:
                self._restarts[name] -= 1
                self._start(name, self._files[name])
        return any(process.poll() is None for process in self._running.values())

    def is_running(self, name: str) -> bool:
        """Tell whether a peer's process is at work, as ``alive`` last left it."""
        return self._running[name].poll() is None

    def _start(self, name: str, file: Path) -> None:
        command = [sys.executable, "-m", "experiments.cli", "peer", "--config", str(file)]
        self._running[name] = start_process(command, file.parent, LOG)

    def _end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def write_files(
    experiment: Experiment, dataset: Dataset, folder: RunFolder, keys: Path, run: str = ""
) -> dict[str, Path]:
    """Write each peer's file and the agreement, with what names the ``run``; return peer → its file."""
    names = [str(client.name) for client in experiment.roster()]
    addresses = dict(zip(names, free_addresses(len(names)), strict=True))
    agreed = agreement_toml(agreed_tree(experiment), Images.of(dataset), run)
    files = {}
    for number, client in enumerate(experiment.roster()):
        home = folder.peers / names[number]
        tree = own_tree(experiment, client, number, share=(number, len(names))) | {
            "state": str(home.resolve()),
            "peer": {
                "listen": addresses[names[number]],
                "certificates": str(keys / names[number]),
                "addresses": {name: address for name, address in addresses.items() if name != names[number]},
                "history": True,
            },
        }
        write_text(home / PEER, peer_toml(tree))
        write_text(home / AGREEMENT, agreed)
        files[names[number]] = home / PEER
    return files


def _peers(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> list[Peer]:
    """Return the peers as they are now, to read what their processes keep."""
    initial = arrays_of(initial_model(experiment, dataset))
    peers = []
    for number, client in enumerate(experiment.roster()):
        state = folder.peers / str(client.name)
        run = digest_of(agreement(experiment, load_agreement(state / AGREEMENT).images))
        home = run_home(state, experiment.name, run)
        peers.append(Peer(experiment, number, initial=initial, run=run, folder=home))
    return peers


def _follow(
    experiment: Experiment, dataset: Dataset, folder: RunFolder, peers: Sequence[Peer], processes: Processes
) -> None:
    """Write a line for each round as soon as all of its turns are over, until all processes have ended."""
    model = initial_model(experiment, dataset)
    rounds = experiment.federation.rounds
    written = list(read_lines(folder.rounds))
    last = time.monotonic()
    for number in track(range(1, rounds + 1), "rounds of local updates", rounds):
        turns = _turns_after(number, experiment)
        while not all(_kept(peer, turns[peer.number]).exists() for peer in peers) and processes.alive():
            time.sleep(0.05)
        if processes.address_taken:
            return
        if number <= len(written):
            continue
        written.append(_line(number, experiment, dataset, model, peers, turns, time.monotonic() - last))
        write_lines(folder.rounds, written)
        note(summary(written[-1], rounds))
        last = time.monotonic()
    while processes.alive():
        time.sleep(0.05)


def _line(
    number: int,
    experiment: Experiment,
    dataset: Dataset,
    model: nn.Module,
    peers: Sequence[Peer],
    turns: Sequence[int],
    seconds: float,
) -> dict[str, Any]:
    """Return a round's line, from the states that the peers had when it ended."""
    for peer in peers:
        kept = [_kept(peer, turn) for turn in range(turns[peer.number], 0, -1)]
        file = next((place for place in kept if place.exists()), None)
        state = None if file is None else load_state(file, peer.name, peer.run, peer.state.arrays)
        peer.state = state or peer.state
    updates = updates_in_order(line for peer in peers for line in peer.state.lines)
    return round_line(number, experiment, updates, score(experiment, dataset, model, peers), seconds)


def _kept(peer: Peer, turns: int) -> Path:
    return peer.file.parent / HISTORY / f"{turns}.safetensors"


def _turns_after(number: int, experiment: Experiment) -> list[int]:
    """Return how many turns each peer has taken when round ``number`` is over."""
    peers = len(experiment.roster())
    if experiment.peers.order == "timers":
        return [number] * peers
    places = [place for round_ in rounds_of(experiment)[:number] for place in round_]
    taken = [member for place in places for member in waves(experiment)[place]]
    return [taken.count(peer) for peer in range(peers)]


def free_addresses(count: int) -> list[str]:
    """Return as many free ports of loopback; all are held at once, or one could be found twice."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [f"{HOST}:{one.getsockname()[1]}" for one in held]


def _last(log: Path) -> str:
    return log.read_text(errors="replace")[-1000:] if log.exists() else ""
