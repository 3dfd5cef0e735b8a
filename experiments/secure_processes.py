"""The processes runner of the secure protocol: an operating-system process for each peer, over mutual TLS on loopback.

Each has keys of its own and random numbers of the operating system: what a rule leaves to chance differs in each run.
"""

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset
from common.errors import UserError
from common.exchange import arrays_of, load_arrays
from common.folder import RunFolder, read_lines, write_text
from common.progress import note, track
from common.threads import torch_threads
from experiments.peer_certificates import make_peer_certificates
from experiments.peer_federation import write_lines
from experiments.peer_file import AGREEMENT, load_agreement
from experiments.peer_node import HISTORY, run_home
from experiments.peer_processes import ATTEMPTS, LOG, Processes, write_files
from experiments.peer_split import run_name
from experiments.secure_node import TRANSCRIPTS, run_of, secure_agreement
from experiments.secure_report import whole_line, write_outcome
from experiments.secure_rounds import check_skipped, summary
from peers.agreement import digest_of
from peers.peer import STATE
from peers.secure.keys import SIGNING_PUBLIC, read_trusted_keys
from peers.secure.plan import layout_of
from peers.secure.state import SecureState, load_secure_state
from server.federation import initial_model
from server.lines import told_score
from server.marks import marks_of

KEYS = "keys"
"""Folder of a run: the peers' keys while it goes on, and their public ones, ``NAME.pub``, when it has ended."""
_BEAT = 0.05


@dataclass(frozen=True)
class _Homes:
    """Where the peers' processes keep what they keep.

    Attributes:
        names: of all peers, in order.
        run: what names the run, 64 hexadecimal digits.
        homes: peer → its folder of the run.
        template: tensors of the weights' names and shapes.
    """

    names: list[str]
    run: str
    homes: Mapping[str, Path]
    template: dict[str, Tensor]

    def after(self, number: int) -> dict[str, SecureState]:
        """Return the states of those that have ended a round, as they were then."""
        files = {name: home / HISTORY / f"{number}.safetensors" for name, home in self.homes.items()}
        found = {name: load_secure_state(file, name, self.run, self.template) for name, file in files.items()}
        return {name: state for name, state in found.items() if state is not None}

    def ended(self, number: int) -> set[str]:
        """Return who has ended a round, or a later one: who was away may go on with what others have by then."""
        return {
            name
            for name, home in self.homes.items()
            if any(int(file.stem) >= number for file in (home / HISTORY).glob("*.safetensors"))
        }

    def latest(self) -> dict[str, SecureState]:
        """Return the states of all that have one."""
        found = {
            name: load_secure_state(home / STATE, name, self.run, self.template) for name, home in self.homes.items()
        }
        return {name: state for name, state in found.items() if state is not None}


def federate_in_secure_processes(
    experiment: Experiment, dataset: Dataset, folder: RunFolder, facts: Sequence[Mapping[str, Any]]
) -> None:
    """Start a process for each peer of the description, on loopback, and leave none behind.

    Each peer keeps its state in ``peers/NAME``. A process that ends by itself is started again; it sits out the round
    that it was in. What is written is what more than f peers have come to.

    Args:
        experiment, dataset, folder: the description, its images, the run's folder.
        facts: what each peer is, in the roster's order.

    Raises:
        UserError: a process cannot start; too few peers have come to the same; finished rounds are kept.
    """
    names = [str(client.name) for client in experiment.roster()]
    keys = folder.path / KEYS
    make_peer_certificates(keys, names)
    run = run_name(experiment, [folder.peers / name / AGREEMENT for name in names])
    for attempt in range(ATTEMPTS):
        written = write_files(experiment, dataset, folder, keys, run)
        homes = _homes(experiment, dataset, folder, keys)
        with Processes(written) as processes:
            lines = _follow(experiment, dataset, folder, homes, processes)
        if not processes.address_taken or attempt == ATTEMPTS - 1:
            break
    rounds = experiment.federation.rounds
    latest = homes.latest()
    agreed = _agreed(homes.after(rounds), layout_of(experiment).faults)
    if agreed is None or len(lines) < rounds:
        check_skipped(experiment, lines)
        late = next((name for name in names if name not in latest or latest[name].round < rounds), names[0])
        raise UserError(
            f"protocol = 'secure': too few peers came to the end of the run; {folder.peers / late / LOG} says why; "
            "finished rounds are kept, and the same command goes on"
        )
    ledgers = {name: state.ledger for name, state in latest.items()}
    transcripts = _transcripts(homes, agreed, rounds)
    write_outcome(experiment, dataset, folder, lines, facts, ledgers, agreed[0].arrays, transcripts)
    keep_public_keys(folder)


def keep_public_keys(folder: RunFolder) -> None:
    """Of a finished run's keys keep the public ones to sign with, by which its transcripts are verified, and no secret.

    Whatever ends this in the middle, it can be done again, and loses none of them. Nothing changes where it was done.
    """
    keys = folder.path / KEYS
    for place in sorted(keys.glob(f"*/{SIGNING_PUBLIC}")):
        write_text(keys / f"{place.parent.name}.pub", place.read_text())
    for place in [one for one in keys.glob("*") if one.is_dir()]:
        shutil.rmtree(place)


def _homes(experiment: Experiment, dataset: Dataset, folder: RunFolder, keys: Path) -> _Homes:
    names = [str(client.name) for client in experiment.roster()]
    agreed = load_agreement(folder.peers / names[0] / AGREEMENT)
    parts = secure_agreement(agreed, read_trusted_keys(keys), dataset.public)
    homes = {name: run_home(folder.peers / name, experiment.name, digest_of(parts)) for name in names}
    return _Homes(names, run_of(parts).hex(), homes, arrays_of(initial_model(experiment, dataset)))


def _follow(
    experiment: Experiment, dataset: Dataset, folder: RunFolder, homes: _Homes, processes: Processes
) -> list[dict[str, Any]]:
    """Write a line for each round as soon as it has ended for all who take part, until all processes have ended."""
    model, rounds, lines = initial_model(experiment, dataset), experiment.federation.rounds, list[dict[str, Any]]()
    faults, excluded, last = layout_of(experiment).faults, set[str](), time.monotonic()
    before = list(read_lines(folder.rounds))
    for number in track(range(1, rounds + 1), "rounds", rounds):
        while _awaited(homes, number, processes, excluded) and not processes.address_taken:
            time.sleep(_BEAT)
        agreed = _agreed(homes.after(number), faults)
        if processes.address_taken or agreed is None:
            return lines
        excluded = set(agreed[0].excluded)
        if number <= len(before):
            lines.append(before[number - 1])
            continue
        lines.append(_line(experiment, dataset, model, number, homes, agreed, time.monotonic() - last))
        write_lines(folder.rounds, lines)
        note(summary(lines[-1], rounds))
        last = time.monotonic()
    while processes.alive():
        time.sleep(_BEAT)
    return lines


def _awaited(homes: _Homes, number: int, processes: Processes, excluded: set[str]) -> set[str]:
    """Return whose end of a round is still to be expected."""
    processes.alive()
    left = set(homes.names) - excluded - homes.ended(number)
    return {name for name in left if processes.is_running(name)}


def _agreed(states: Mapping[str, SecureState], faults: int) -> list[SecureState] | None:
    """Return the states of those, more than ``faults``, who have come to the same after a round; None: there are none.

    Those who saw it to its end come first.
    """
    counts = Counter(state.digest() for state in states.values())
    most, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    if count <= faults:
        return None
    return sorted(
        (state for state in states.values() if state.digest() == most), key=lambda state: not state.lines[-1]["clients"]
    )


def _line(
    experiment: Experiment,
    dataset: Dataset,
    model: nn.Module,
    number: int,
    homes: _Homes,
    agreed: Sequence[SecureState],
    seconds: float,
) -> dict[str, Any]:
    own = {
        name: {line["round"]: line["own"] for line in state.lines if line.get("own")}
        for name, state in homes.latest().items()
    }
    view = next((state.lines[-1] for state in agreed if state.lines[-1]["status"] == "aggregated"), agreed[0].lines[-1])
    load_arrays(model, agreed[0].arrays)
    with torch_threads(experiment.federation.threads):
        score = told_score(marks_of(model, dataset.public.images, dataset.public.labels))
    line = whole_line({**view, **score, "seconds": round(seconds, 3)}, homes.names, own)
    return line if view["clients"] else line | {"reason": "its peers were started again in the middle of it"}


def _transcripts(homes: _Homes, agreed: Sequence[SecureState], rounds: int) -> Path:
    """Return the transcripts of the peer that has seen the most rounds to their end."""
    seen = {state.name: sum(bool(line["clients"]) for line in state.lines) for state in agreed}
    return homes.homes[max(seen, key=seen.__getitem__)] / TRANSCRIPTS
