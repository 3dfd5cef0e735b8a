"""What peers of the secure protocol leave together: the usual run folder, from what each tells of itself."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from common.config import Experiment
from common.data import Dataset
from common.exchange import load_arrays
from common.folder import RunFolder, write_arrays, write_json, write_text
from experiments.peer_federation import write_lines
from experiments.peer_report import RUNNER, Place
from experiments.secure_account import SecureAccount
from experiments.secure_rounds import own_part
from experiments.store import claimed
from peers.secure.state import SecureState
from server.federation import initial_model
from server.ledgers import ledger_table
from server.manifest import close_manifest, open_manifest
from server.progress import Progress

Own = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Peer → round → what only it knows of its part (``experiments.secure_rounds.own_part``)."""
_OF_A_LINE = ("round", "status", "reason", "clients", "accuracy", "accuracy_records", "score", "interval", "seconds")


def whole_line(view: Mapping[str, Any], names: Sequence[str], own: Own) -> dict[str, Any]:
    """Return a round's line, as ``rounds.jsonl`` holds it.

    Args:
        view: as one peer saw it and keeps it in its state.
        names: of all peers.
        own: what each told of its own part; who told nothing has zeros.
    """
    number = view["round"]
    clients = view["clients"] or [
        {"name": name, "status": "absent", "reason": view["reason"], "strike": False, "ignored": 0} for name in names
    ]
    told = {key: view[key] for key in _OF_A_LINE if key in view}
    return {"accuracy": None, "accuracy_records": 0, "seconds": 0.0} | told | {
        "status": "skipped" if view["status"] == "missed" else view["status"],
        "clients": [dict(client) | dict(own.get(client["name"], {}).get(number, own_part(None, None)))
                    for client in clients],
    }  # fmt: skip


def write_outcome(
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    lines: Sequence[Mapping[str, Any]],
    facts: Sequence[Mapping[str, Any]],
    ledgers: Mapping[str, str],
    arrays: Mapping[str, Tensor],
    transcripts: Path,
) -> None:
    """Write what a federation by the secure protocol leaves.

    Args:
        experiment, dataset, folder: the description, its images, the run's folder.
        lines: of all rounds (``whole_line``).
        facts: what each peer is (``experiments.peer_account.Facts``), in the roster's order.
        ledgers: peer → its privacy ledger, as text.
        arrays: the weights that all have in the end.
        transcripts: folder of a peer's transcripts.

    Raises:
        UserError: a full disk.
    """
    write_lines(folder.rounds, lines)
    progress = Progress(len(lines), dict(arrays), ledgers=dict(ledgers))
    progress.participants = {str(about["name"]): dict(about) for about in facts}
    write_json(folder.ledger, ledger_table(progress))
    if transcripts.is_dir():
        shutil.copytree(transcripts, folder.transcripts, dirs_exist_ok=True)
    model = initial_model(experiment, dataset)
    load_arrays(model, arrays)
    write_arrays(folder.model, model.state_dict())  # last: its presence says that the federation has ended


def write_secure_federation(
    place: Place, state: SecureState, names: Mapping[int, str], accounts: Mapping[str, SecureAccount], transcripts: Path
) -> None:
    """Write what a federation left, as one peer knows it; who told nothing of itself is unknown in it.

    Args:
        place: where to.
        state: of this peer, after the last round.
        names: of all peers, by number.
        accounts: peer → what it told of itself.
        transcripts: folder of this peer's transcripts.

    Raises:
        UserError: a full disk.
    """
    own = {name: account.own() for name, account in accounts.items()}
    lines = [whole_line(view, list(names.values()), own) for view in state.lines]
    facts = [
        accounts[name].facts.model_dump() if name in accounts else _unknown(name, number)
        for number, name in names.items()
    ]
    ledgers = {name: account.ledger for name, account in accounts.items()}
    with claimed(place.folder):
        write_text(place.folder.experiment, place.experiment.to_toml())
        open_manifest(place.experiment, place.dataset, place.folder, RUNNER)
        write_outcome(place.experiment, place.dataset, place.folder, lines, facts, ledgers, state.arrays, transcripts)
        close_manifest(place.folder, federation=sum(line["seconds"] for line in lines))


def _unknown(name: str, number: int) -> dict[str, Any]:
    return {
        "name": name,
        "number": number,
        "strategy": "unknown",
        "honest": False,
        "private": False,
        "records": 0,
        "accountant": None,
        "delta": None,
    }
