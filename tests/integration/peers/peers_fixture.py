"""Real peers: processes of ``psreval peer`` with certificates of their own, on loopback."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config import Experiment, parse
from common.data import prepare
from common.exchange import arrays_of
from common.folder import RunFolder
from experiments.peer_certificates import make_peer_certificates
from experiments.peer_file import AGREEMENT, PEER, agreement_toml, peer_toml
from experiments.peer_node import OWN_MODEL, initial
from experiments.peer_processes import free_addresses
from experiments.peer_split import agreed_tree, own_tree
from experiments.run import train
from peers.agreement import Images
from peers.order import planned
from peers.peer import STATE
from peers.state import State, load_state
from tests.integration.faults.processes_fixture import HERE, Hook, Program, Site
from tests.waiting import until


def tiny(names: Sequence[str], **changes: Any) -> Experiment:
    """A description whose local updates take a moment; ``a__b = 1`` changes key ``a.b``."""
    tree = {
        "name": "peers",
        "protocol": "braintorrent",
        "data": {"image_size": 28, "train_records": 24 * len(names), "public_records": 24, "test_records": 24},
        "model": {"width": 4},
        "federation": {"rounds": 3},
        "peers": {"ping_timeout": 5.0, "turn_timeout": 90.0},
        "clients": [{"name": name} for name in names],
    }
    return parse(tree, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


@dataclass
class PeerSite(Site):
    """Peers and the folders in which each keeps what it keeps; ``run_name`` names a run of the secure protocol."""

    addresses: dict[str, str] = field(default_factory=dict)
    run_name: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.names = [str(client.name) for client in self.experiment.roster()]
        self.keys = self.folder / "keys"
        make_peer_certificates(self.keys, self.names)
        self.addresses = dict(zip(self.names, free_addresses(len(self.names)), strict=True))
        self.images = Images.of(prepare(self.experiment.data))

    def config(self, name: str, *, folder: str = "", reached: Mapping[str, str] | None = None, **changes: Any) -> Path:
        """Write a peer's file, in its own folder unless told otherwise, and return its path.

        It has its share of the description's data and waits at gates.

        Args:
            name: whose.
            folder: where, below this site's.
            reached: where it believes others to be; None: where they are.
            changes: of its entries; ``peer__key`` of its section [peer].
        """
        number, home = self.names.index(name), self.folder / (folder or name)
        others = {other: address for other, address in self.addresses.items() if other != name}
        tree = own_tree(self.experiment, self.experiment.roster()[number], number, share=(number, len(self.names)))
        if tree["strategy"] == "honest":
            tree |= {"strategy": f"{HERE / 'strategies.py'}:Gated", "options": {"gates": str(self.gates)}}
        contacts = {
            "listen": self.addresses[name],
            "certificates": str(self.keys / name),
            "addresses": others | dict(reached or {}),
            "history": True,
        }
        contacts |= {key.removeprefix("peer__"): value for key, value in changes.items() if key.startswith("peer__")}
        tree |= {key: value for key, value in changes.items() if not key.startswith("peer__")}
        home.mkdir(exist_ok=True)
        (home / AGREEMENT).write_text(agreement_toml(agreed_tree(self.experiment), self.images, self.run_name))
        (home / PEER).write_text(peer_toml(tree | {"peer": contacts}))
        return home / PEER

    def peer(self, name: str, *, called: Sequence[Hook] = (), log: str = "", **changes: Any) -> Program:
        """Start a peer; again after it was killed, with the file that it has."""
        file = self.folder / name / PEER
        if not file.exists():
            self.config(name, **changes)
        return self.start(log or name, ["peer", "--config", str(file)], called)

    def all(self, **changes: Any) -> dict[str, Program]:
        """Start all peers."""
        return {name: self.peer(name, **changes) for name in self.names}

    def state(self, name: str) -> State | None:
        """What a peer has kept after its last turn."""
        template = arrays_of(initial(self.experiment, self.images))
        for file in (self.folder / name / "state").glob(f"*/{STATE}"):
            return load_state(file, name, file.parent.name.rpartition("-")[2], template)
        return None

    def turns(self, name: str) -> int:
        """How many turns a peer has taken."""
        state = self.state(name)
        return 0 if state is None else state.turns

    def took(self, name: str, turns: int) -> None:
        """Wait until a peer has taken so many turns."""
        until(lambda: self.turns(name) >= turns, f"turn {turns} of {name}: {self._said(name)}")

    def finished(self, programs: Mapping[str, Program]) -> None:  # type: ignore[override]
        """Wait until all of these have ended well."""
        for name, program in programs.items():
            assert program.ended() == 0, f"{name}: {program.said()}"

    def own_model(self, name: str) -> bytes:
        """A peer's own model in the end."""
        (file,) = (self.folder / name / "state").glob(f"*/{OWN_MODEL}")
        return file.read_bytes()

    def lines_of(self, name: str) -> list[dict[str, Any]]:
        """What became of each of a peer's turns, after checks that hold of every peer whatever happened."""
        state = self.state(name)
        assert state is not None
        lines = [dict(line) for line in state.lines]
        assert [line["turn"] for line in lines] == list(range(1, len(lines) + 1))
        versions = [line["version"] for line in lines if not line["failed"]]
        assert versions == sorted(set(versions))
        for other in self.names:  # nobody merges a version twice, or goes back to an older one
            merged = [line["merged"][other]["version"] for line in lines if other in line["merged"]]
            assert merged == sorted(set(merged))
        for line in lines:
            if line["own_coefficient"] is None:  # a rule without weights
                continue
            total = line["own_coefficient"] + sum(about["coefficient"] for about in line["merged"].values())
            assert abs(total - 1) < 1e-9
        return lines

    def skips(self) -> list[str]:
        """Whom peers skipped or refused, and why."""
        return [
            f"{name} {what} {other}: {reason}"
            for name in self.names
            for line in self.lines_of(name)
            for what in ("skipped", "refused")
            for other, reason in line[what].items()
        ]

    def _said(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text() if log.exists() else ""


@contextmanager
def peer_site(folder: Path, experiment: Experiment) -> Iterator[PeerSite]:
    """A site whose processes end with the block."""
    made = PeerSite(folder, experiment)
    try:
        yield made
    finally:
        made.close()


def in_one_process(folder: Path, experiment: Experiment) -> RunFolder:
    """The same federation as a simulation."""
    return train(experiment, prepare(experiment.data), folder, "inprocess")


def planned_of(experiment: Experiment) -> dict[str, int]:
    """How many turns each peer takes, by name."""
    return dict(zip([str(client.name) for client in experiment.roster()], planned(experiment), strict=True))


def plain(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines as text, without what two runs need not have in common."""
    return [json.dumps({key: value for key, value in line.items() if key != "seconds"}) for line in lines]
