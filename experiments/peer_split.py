"""``psreval peers prepare``: an experiment's data and description cut up, one folder for each peer.

What the folders hold trains the same models as the description does in one process, bit for bit.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clients.hospital import Hospital
from common.config import Experiment
from common.data import Split, partition, prepare
from common.description import Client, Data
from common.errors import UserError
from experiments.peer_file import (
    AGREEMENT,
    PEER,
    PROTOCOLS,
    agreement_toml,
    host_and_port,
    load_agreement,
    peer_toml,
)
from experiments.split import PUBLIC_TEST, RECORDS, with_files, write_once, write_splits
from peers.agreement import Images
from peers.order import planned
from peers.secure.plan import layout_of

FIRST_PORT = 9001
"""Of the first peer, where no addresses are given: all of them on this machine, one port after the other."""


def prepare_peers(
    experiment: Experiment, out: Path, addresses: Mapping[str, str] | None = None, evaluating: str | None = None
) -> list[Path]:
    """Write ``out/NAME`` for each peer, and return these folders.

    Each holds ``peer.toml``, ``agreement.toml`` and ``records.npz``, its own training records; that of the peer which
    evaluates ``public-test.npz``, too. Certificates are another command's. What is there already and equal stays.

    Args:
        experiment: a description with a protocol of peers.
        out: where the folders are made.
        addresses: peer → ``HOST:PORT``, of all peers; none: all of them are on this machine.
        evaluating: the peer that evaluates what comes of it; None: the first.

    Raises:
        UserError: a mistake in the description or the data, an unknown name, an address that is bad, missing or
            another peer's, too, or a file that is there already and differs.
    """
    if experiment.protocol not in PROTOCOLS:
        raise UserError(
            f"protocol = '{experiment.protocol}' is none that peers speak over a network; set it to one of "
            f"{', '.join(PROTOCOLS)}, or use `psreval split`"
        )
    if experiment.protocol == "secure":
        layout_of(experiment)
    roster = experiment.roster()
    names = [str(client.name) for client in roster]
    reached = _addresses(names, addresses or {})
    evaluating = names[0] if evaluating is None else evaluating
    if evaluating not in names:
        raise UserError(f"--evaluate {evaluating}: the description has no such peer, only {', '.join(names[:20])}")
    dataset = prepare(experiment.data)
    shares = partition(dataset.train.strata, len(roster), experiment.data)
    agreed, run = agreed_tree(experiment), run_name(experiment, [out / name / AGREEMENT for name in names])
    folders = []
    for number, (client, share) in enumerate(zip(roster, shares, strict=True)):
        folder, name = out / names[number], names[number]
        own = Split(dataset.train.images[share], dataset.train.labels[share], dataset.train.strata[share])
        write_splits(folder / RECORDS, {"train": own}, dataset)
        listening = f"{'127.0.0.1' if _is_here(reached[name]) else '0.0.0.0'}:{host_and_port(reached[name])[1]}"
        contacts: dict[str, Any] = {"listen": listening}
        contacts["addresses"] = {other: reached[other] for other in names if other != name}
        if name == evaluating:
            write_splits(folder / PUBLIC_TEST, {"val": dataset.public, "test": dataset.test}, dataset)
            contacts["evaluation"] = {"source": f"npz:{PUBLIC_TEST}"}
        tree = own_tree(experiment, client, number, data=Data(source=f"npz:{RECORDS}"))
        tree |= {"data": {"source": f"npz:{RECORDS}"}, "peer": contacts}
        write_once(folder / PEER, peer_toml(with_files(tree, folder)))
        write_once(folder / AGREEMENT, agreement_toml(with_files(agreed, folder), Images.of(dataset), run))
        folders.append(folder)
    return folders


def own_tree(
    experiment: Experiment,
    client: Client,
    number: int,
    *,
    data: Data | None = None,
    share: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return the values of the file of a peer that does what ``client`` of the description does in a simulation.

    Its budget is for as many local updates as the order gives it. ``data`` and ``share`` are as in ``Hospital.of``.
    """
    updates = experiment.federation.model_copy(update={"rounds": updates_of(experiment)[number]})
    hospital = Hospital.of(experiment.model_copy(update={"federation": updates}), client, data=data, share=share)
    tree: dict[str, Any] = json.loads(hospital.model_dump_json(exclude_none=True))
    if client.misbehaviour is not None:
        tree["misbehaviour"] = json.loads(client.misbehaviour.model_dump_json(exclude_none=True))
    return tree


def agreed_tree(experiment: Experiment) -> dict[str, Any]:
    """Return the values of a description that all peers agree on: nothing that each decides for itself."""
    tree: dict[str, Any] = json.loads(experiment.model_dump_json(exclude_none=True))
    for own in ("data", "privacy"):
        del tree[own]
    return tree | {"clients": [{"name": str(client.name)} for client in experiment.roster()]}


def updates_of(experiment: Experiment) -> list[int]:
    """Return how many local updates each peer makes."""
    if experiment.protocol == "braintorrent":
        return planned(experiment)
    return [experiment.federation.rounds] * len(experiment.roster())


def run_name(experiment: Experiment, agreements: Sequence[Path]) -> str:
    """Return what names a run of this description: that of the agreements which are there, or a new one.

    Raises:
        UserError: an agreement that is there cannot be read.
    """
    if experiment.protocol != "secure":
        return ""
    there = next((place for place in agreements if place.exists()), None)
    return secrets.token_hex(16) if there is None else load_agreement(there).run


def _addresses(names: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return each peer's address. Raises UserError: some are missing, unknown, bad, or the same."""
    taken: dict[tuple[str, int], str] = {}
    for name, address in given.items():
        if name not in names:
            raise UserError(
                f"--address {name}={address}: the description has no such peer, only {', '.join(names[:20])}"
            )
        try:
            host, port = host_and_port(address)
        except ValueError as error:
            raise UserError(f"--address {name}={address}: {error}") from None
        first = taken.setdefault((host.lower(), port), name)
        if first != name:
            raise UserError(f"--address {name}={address}: {first} has the same; give each peer an address of its own")
    if given and (missing := [name for name in names if name not in given]):
        raise UserError(
            f"--address: there is none for {', '.join(missing[:20])}; give one for each peer, or none at all for a "
            "trial with all of them on this machine"
        )
    return dict(given) or {name: f"127.0.0.1:{FIRST_PORT + number}" for number, name in enumerate(names)}


def _is_here(address: str) -> bool:
    return host_and_port(address)[0] in ("127.0.0.1", "localhost", "::1")
