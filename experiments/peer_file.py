"""A peer's own file, and the agreement that all peers of a run have in common.

The file is a hospital's file with a section ``[peer]``: which data, which strategy, how privately, and how the others
are reached. It decides all that the peer does. The agreement decides what none may decide alone: the model, how it is
trained, the protocol, the seed, the names, and what images look like.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import Field, field_validator

from clients.hospital import Hospital, resolved_hospital
from clients.place import own_experiment
from common.config import Experiment
from common.description import Client, Data, Misbehaviour
from common.errors import UserError
from common.folder import write_text
from common.section import Section, validated
from common.toml_file import read_toml
from common.tree import resolve
from peers.agreement import Images

AGREEMENT, PEER = "agreement.toml", "peer.toml"
"""Names of the two files in a peer's folder."""
PROTOCOLS = ("braintorrent", "secure")
"""Which peers speak over a network."""


class Contacts(Section):
    """The section ``[peer]``: how this peer and the others reach each other, and what it makes of the end."""

    agreement: Path = Path(AGREEMENT)
    """The agreement's file; all peers have an equal one."""
    listen: str = "127.0.0.1:9000"
    """``HOST:PORT`` that it listens on; 0.0.0.0 for other machines."""
    certificates: Path = Path(".")
    """This peer's folder of ``psreval peers certificates``; by default where this file is."""
    addresses: dict[str, str] = Field(default_factory=dict)
    """Each other peer's ``HOST:PORT``."""
    evaluation: Data | None = None
    """Public and test images, where this peer is to evaluate what comes of the run; None: it leaves that to others."""
    runs: Path = Path("runs")
    """Where the run's folder with its report is written, if it evaluates."""
    history: bool = False
    """Keep its state after each turn, as much again as its model a turn."""
    exchange_timeout: Annotated[float, Field(gt=0)] = 30.0
    """``protocol = "secure"``: seconds that it waits for others in each exchange of a round; one that missed an
    exchange is not waited for again in that round."""

    @field_validator("listen")
    @classmethod
    def _listens(cls, listen: str) -> str:
        host_and_port(listen, least=0)
        return listen

    @field_validator("addresses")
    @classmethod
    def _reach(cls, addresses: dict[str, str]) -> dict[str, str]:
        for address in addresses.values():
            host_and_port(address)
        return addresses


class PeerFile(Hospital):
    """One peer; see docs/peers.md for a whole file."""

    peer: Contacts
    misbehaviour: Misbehaviour | None = None
    """For trials: how it abuses the protocol."""

    def client(self) -> Client:
        """Return the part that is like a ``[[clients]]`` entry of an experiment."""
        return super().client().model_copy(update={"misbehaviour": self.misbehaviour})

    def check_fits(self, names: tuple[str, ...]) -> None:
        """Refuse a file that has no place among these peers, or does not know where they are. Raises UserError."""
        if self.name not in names:
            raise UserError(
                f"name = '{self.name}': the agreement has no peer of that name, only {', '.join(names[:20])}; put the "
                "right name, or agree anew"
            )
        others = [name for name in names if name != self.name]
        if missing := [name for name in others if name not in self.peer.addresses]:
            raise UserError(f"peer.addresses: there is no '{missing[0]}'; name the HOST:PORT of each other peer")
        if unknown := [name for name in self.peer.addresses if name not in others]:
            raise UserError(f"peer.addresses: '{unknown[0]}' is none of the other peers, {', '.join(others[:20])}")


class AgreementFile(Section):
    """What all peers of a run have in common; ``psreval peers prepare`` writes it."""

    experiment: Experiment
    images: Images
    run: str = ""
    """``protocol = "secure"``: random, other for each run that begins from nothing: what was signed in a run must mean
    nothing in the next one, though all else is the same."""

    def names(self) -> tuple[str, ...]:
        """Return the peers' names, in the order that numbers them."""
        return tuple(str(client.name) for client in self.experiment.roster())

    def of(self, file: PeerFile) -> Experiment:
        """Return the description as a peer carries it out; it holds nothing that others could decide for it.

        Raises:
            UserError: the agreement names a model's file that the peer does not allow.
        """
        return own_experiment(self.experiment, file)


def load_peer(path: str | Path) -> PeerFile:
    """Read a peer's file; paths in it are relative to its folder.

    Raises:
        UserError: missing or malformed file, unknown key, value out of range.
    """
    file = Path(path).expanduser()
    tree = resolved_hospital(read_toml(file, "peer"), file.parent)
    contacts = tree.get("peer", {})
    if isinstance(contacts, dict):
        contacts = dict(contacts)
        for key in ("agreement", "certificates", "runs"):
            told = contacts.get(key, str(Contacts.model_fields[key].default))
            contacts[key] = str((file.parent / Path(told).expanduser()).resolve()) if isinstance(told, str) else told
        if "evaluation" in contacts:
            contacts["evaluation"] = resolve(contacts["evaluation"], file.parent, "data")
        tree["peer"] = contacts
    return validated(PeerFile, tree, str(file))


def load_agreement(path: Path) -> AgreementFile:
    """Read an agreement; paths in it are relative to its folder. Raises UserError as ``load_peer``."""
    tree = read_toml(path, "agreement")
    if isinstance(tree.get("experiment"), dict):
        tree["experiment"] = resolve(tree["experiment"], path.parent)
    agreed = validated(AgreementFile, tree, str(path))
    if agreed.experiment.protocol not in PROTOCOLS:
        raise UserError(
            f"{path}: experiment.protocol = '{agreed.experiment.protocol}' is none that peers speak over a network; "
            f"set it to one of {', '.join(PROTOCOLS)}"
        )
    if agreed.experiment.protocol == "secure" and not agreed.run:
        raise UserError(
            f"{path}: there is no `run`, which names this run among all with the same description; write `run = ` and "
            "some twenty random letters in quotes, the same for each peer"
        )
    return agreed


def write_peer(path: Path, tree: dict[str, Any]) -> None:
    """Write a peer's file from its values. Raises UserError: it cannot be written."""
    write_text(path, peer_toml(tree))


def peer_toml(tree: dict[str, Any]) -> str:
    """Return a peer's values as the text of its file."""
    return (
        f"# What {tree['name']} does, with which records, how privately, and where the others are. Nobody else can\n"
        "# change it.\n" + tomli_w.dumps(tree)
    )


def agreement_toml(experiment: dict[str, Any], images: Images, run: str = "") -> str:
    """Return the text of an agreement's file; ``run`` as in ``AgreementFile``."""
    named = {"run": run} if run else {}
    tree = {**named, "images": json.loads(images.model_dump_json()), "experiment": experiment}
    return "# What all peers of this run have in common. Each has an equal copy.\n" + tomli_w.dumps(tree)


def host_and_port(address: str, *, least: int = 1) -> tuple[str, int]:
    """Return the two parts of ``HOST:PORT``; an IPv6 address stands in brackets. Raises ValueError."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host == f"[{bare}]"
    if (
        not bare
        or not (port.isascii() and port.isdigit())
        or not least <= int(port) <= 65535
        or (":" in bare) != bracketed
    ):
        raise ValueError(f"'{address}' is no address; write HOST:PORT, for example 'north.example.org:9000'")
    return bare, int(port)
