"""A whole experiment: its sections, what they ask of each other, TOML in and out, and the hash that names a run."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tomli_w
from pydantic import Field, field_validator, model_validator

from common.description import (
    Client,
    Compression,
    Data,
    Evaluation,
    Federation,
    Model,
    Peers,
    Privacy,
    Secure,
    Thresholds,
    Training,
)
from common.errors import UserError
from common.section import Section, validated
from common.toml_file import read_toml
from common.tree import put, resolve, resolve_change, with_digests

RESULTS_VERSION = 2
"""Raised whenever the same description would give other numbers; part of every run's hash."""
_OF_SECURE = ("out-of-range", "wrong-shares", "wrong-checks", "wrong-sum", "equivocation", "false-complaints")


class Experiment(Section):
    """A whole experiment; see ``experiments/demo.toml`` for one."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}$")] = "experiment"
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 1
    protocol: Literal["server", "braintorrent", "secure"] = "server"
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    privacy: Privacy = Privacy()
    clients: tuple[Client, ...] = (Client(), Client())
    federation: Federation = Federation()
    peers: Peers = Peers()
    secure: Secure = Secure()
    compression: Compression = Compression()
    evaluation: Evaluation = Evaluation()
    thresholds: Thresholds = Thresholds()

    @field_validator("clients")
    @classmethod
    def _some_clients(cls, clients: tuple[Client, ...]) -> tuple[Client, ...]:
        if not clients:
            raise ValueError("needs at least one client")
        return clients

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        roster = self.roster()
        names = [client.name for client in roster]
        if len(set(names)) != len(names):
            raise ValueError("clients must have different names")
        if isinstance(self.data.partition, tuple) and len(self.data.partition) != len(roster):
            raise ValueError(f"data.partition lists {len(self.data.partition)} sizes for {len(roster)} clients")
        if self.federation.quorum is not None and self.federation.quorum > len(roster):
            raise ValueError(f"federation.quorum = {self.federation.quorum} exceeds the {len(roster)} clients")
        self._check_protocol(roster)
        return self

    def _check_protocol(self, roster: tuple[Client, ...]) -> None:
        if self.peers != Peers() and self.protocol != "braintorrent":
            raise ValueError(
                f"peers: protocol = '{self.protocol}' does not read it; set protocol = 'braintorrent', or leave it out"
            )
        if self.secure != Secure() and self.protocol != "secure":
            raise ValueError(
                f"secure: protocol = '{self.protocol}' does not read it; set protocol = 'secure', or leave it out"
            )
        if self.protocol == "server":
            if bad := [str(client.name) for client in roster if client.misbehaviour]:
                raise ValueError(
                    f"clients: '{bad[0]}' has a misbehaviour, which only peers have; see strategies instead"
                )
            return
        if len(roster) < 2:
            raise ValueError(f"protocol = '{self.protocol}' needs at least two peers")
        if self.peers.initiators > len(roster):
            raise ValueError(f"peers.initiators = {self.peers.initiators} exceeds the {len(roster)} peers")
        if self.peers.denominator == "all" and self.peers.merge != "mean":
            raise ValueError(
                f"peers.denominator = 'all' is for merge = 'mean'; '{self.peers.merge}' has no denominator"
            )
        braintorrent = self.protocol == "braintorrent"
        for client in roster:
            kind = client.misbehaviour.kind if client.misbehaviour else "silent"
            if kind != "silent" and (kind in _OF_SECURE) == braintorrent:
                raise ValueError(
                    f"clients: '{client.name}' has misbehaviour.kind = '{kind}', which is for another protocol than "
                    f"'{self.protocol}'"
                )
        if self.federation.aggregation != "fedavg":
            place = "peers.merge" if braintorrent else "secure.rule"
            raise ValueError(f"federation.aggregation is a server's; name the peers' rule in {place}")
        if self.federation.aggregation_options:
            place = "in peers.merge_options" if braintorrent else "below secure"
            raise ValueError(f"federation.aggregation_options are a server's; name the peers' {place}")
        if self.federation.examples_limit is not None:
            more = "peers cap claims by peers.records_limit" if braintorrent else "no peer counts for more than another"
            raise ValueError(f"federation.examples_limit is a server's; {more}")
        if self.federation.quorum is not None:
            raise ValueError("federation.quorum is a server's; a peer goes on with whoever answers")
        if self.federation.update_compression != "none":
            raise ValueError(
                "federation.update_compression = 'int8' is for updates to a server; peers send whole models, or shares"
            )
        if self.federation.server_misbehaviour is not None:
            raise ValueError(
                f"federation.server_misbehaviour: protocol = '{self.protocol}' has no server that could cheat; name "
                "peers that do by clients.misbehaviour"
            )

    def roster(self) -> tuple[Client, ...]:
        """Return every client singly, with its name; position = partition id."""
        # Each simulated client of a thousand asks, so it is made once; a changed copy takes over another's, and not its
        # clients.
        clients, roster = self.__dict__.get("_roster", (None, ()))
        if clients is not self.clients:
            roster = self._singles()
            self.__dict__["_roster"] = (self.clients, roster)
        return cast(tuple[Client, ...], roster)

    def _singles(self) -> tuple[Client, ...]:
        singles: list[Client] = []
        for client in self.clients:
            for copy in range(client.count):
                name = client.name or f"client-{len(singles) + 1}"
                if client.name and client.count > 1:
                    name = f"{client.name}-{copy + 1}"
                singles.append(client.model_copy(update={"name": name, "count": 1}))
        return tuple(singles)

    def is_private(self, client: Client) -> bool:
        """Tell whether this client trains with DP-SGD."""
        return self.privacy.enabled if client.private is None else client.private

    def attack_seed(self) -> int:
        """Return the seed of what the evaluation draws; the calibration images follow the experiment's seed."""
        return self.seed if self.evaluation.seed is None else self.evaluation.seed

    def quorum(self) -> int:
        """Return the good updates that a round needs."""
        return self.federation.quorum or (len(self.roster()) + 1) // 2

    def change(self, changes: Mapping[str, Any], base: Path | None = None) -> "Experiment":
        """Return a copy with dotted keys changed: ``{"federation.rounds": 5, "clients.0.strategy": "honest"}``.

        Raises:
            UserError: unknown key, or a value that does not fit.
        """
        tree = json.loads(self.model_dump_json(exclude_none=True))
        for key, value in changes.items():
            put(tree, key, value)
        return parse(tree, "the changed description", base)

    def to_toml(self) -> str:
        """Return the resolved description as TOML; ``parse_toml`` reads it back to an equal one."""
        return tomli_w.dumps(json.loads(self.model_dump_json(exclude_none=True)))

    def digest(self, data_checksum: str = "", *, federation_only: bool = False, hospitals: bool = False) -> str:
        """Return the hash that names the run's folder: the description, the user's code files, the data.

        With ``federation_only`` the name, the evaluation, the compression and the thresholds do not count:
        equal digests mean the same trained model. With ``hospitals`` the clients decide for themselves and hold data
        that no description names: such a run never stands for a simulated one.
        """
        tree = json.loads(self.model_dump_json(exclude_none=True))
        tree.pop("description", None)
        tree["data"].pop("path", None)
        if self.protocol != "braintorrent":
            tree.pop("peers")
        if self.protocol != "secure":
            tree.pop("secure")
        if federation_only:
            for key in ("name", "evaluation", "compression", "thresholds"):
                tree.pop(key, None)
        counted = [RESULTS_VERSION, with_digests(tree), data_checksum, *(["hospitals"] if hospitals else [])]
        text = json.dumps(counted, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(path: str | Path, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Read a description from a TOML file; paths in it are relative to the file's folder.

    Raises:
        UserError: missing or malformed file, unknown key, value out of range.
    """
    file = Path(path)
    tree = read_toml(file, elsewhere="`psreval list experiments` shows ready ones")
    if {"axes", "grids", "include"} & tree.keys():
        raise UserError(f"{file} is a study, not an experiment; run it with `psreval study {file}`")
    tree = resolve(tree, file.parent)
    for key, value in (changes or {}).items():
        put(tree, key, resolve_change(key, value))
    return parse(tree, str(file), file.parent)


def parse_toml(text: str, origin: str = "description", base: Path | None = None) -> Experiment:
    """Read a description from TOML text. Raises UserError as ``load``."""
    try:
        return parse(tomllib.loads(text), origin, base)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{origin} is not valid TOML: {error}") from None


def parse(tree: dict[str, Any], origin: str, base: Path | None = None) -> Experiment:
    """Validate a description; relative file references are resolved against ``base``. Raises UserError."""
    return validated(Experiment, resolve(tree, base or Path.cwd()), origin)


def setting(text: str) -> tuple[str, Any]:
    """Read ``--set a.b=value``; the value is TOML, or plain text where it is not.

    Raises:
        UserError: no ``=``, or an empty key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write --set key=value, for example --set federation.rounds=5")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
