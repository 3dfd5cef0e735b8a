"""``psreval split``: an experiment's data and description cut up, one folder for each hospital and one for the server.

What the folders hold trains the same model as the description does in one process, bit for bit.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from clients.hospital import Hospital, hospital_toml
from common.config import Experiment
from common.data import Dataset, Split, partition, prepare
from common.data.dataset import Images
from common.description import Data
from common.errors import UserError
from common.folder import write_text
from common.loading import file_digest, is_reference

SERVER = "server"
"""The server's folder; no client of a split can have this name."""
RECORDS, PUBLIC_TEST = "records.npz", "public-test.npz"


def split(experiment: Experiment, out: Path) -> list[Path]:
    """Write ``out/NAME`` for each client and ``out/server``, and return these folders, the server's last.

    A hospital's holds ``hospital.toml`` and ``records.npz``, its own training records; the server's ``experiment.toml``
    and ``public-test.npz``. Python files that the description names are copied beside them. What is there already and
    equal stays; a hospital's ``state`` is never touched.

    Raises:
        UserError: a mistake in the description or the data, a protocol without a server, a client called "server", or
            a file that is there already and differs.
    """
    if experiment.protocol != "server":
        raise UserError(
            f"protocol = '{experiment.protocol}' has no server to split for; use `psreval peers prepare`, or set it to "
            "'server'"
        )
    roster = experiment.roster()
    if any(client.name == SERVER for client in roster):
        raise UserError(f"clients: '{SERVER}' is what `psreval split` calls the server's folder; give it another name")
    dataset = prepare(experiment.data)
    shares = partition(dataset.train.strata, len(roster), experiment.data)
    folders = []
    for client, share in zip(roster, shares, strict=True):
        folder = out / str(client.name)
        own = Split(dataset.train.images[share], dataset.train.labels[share], dataset.train.strata[share])
        write_splits(folder / RECORDS, {"train": own}, dataset)
        hospital = Hospital.of(experiment, client, data=Data(source=f"npz:{RECORDS}"))
        tree = json.loads(hospital.model_dump_json(exclude_none=True))
        tree["data"] = {"source": f"npz:{RECORDS}"}
        write_once(folder / "hospital.toml", hospital_toml(with_files(tree, folder)))
        folders.append(folder)
    folder = out / SERVER
    write_splits(folder / PUBLIC_TEST, {"val": dataset.public, "test": dataset.test}, dataset)
    tree = json.loads(experiment.model_dump_json(exclude_none=True))
    tree["data"] = {**tree["data"], "source": f"npz:{PUBLIC_TEST}"}
    tree["data"].pop("path", None)
    write_once(folder / "experiment.toml", tomli_w.dumps(with_files(tree, folder)))
    return [*folders, folder]


def with_files(value: Any, folder: Path) -> Any:
    """Return a copy of a description's values whose Python files lie in ``folder``; they are copied there."""
    if isinstance(value, dict):
        return {key: with_files(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [with_files(item, folder) for item in value]
    if not isinstance(value, str) or not is_reference(value):
        return value
    path, _, name = value.rpartition(":")
    write_once(folder / Path(path).name, _read(Path(path), value))
    return f"{Path(path).name}:{name}"


def _read(file: Path, reference: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{reference}' could not be copied: {error}") from None


def write_splits(file: Path, splits: Mapping[str, Split], dataset: Dataset) -> None:
    """Write splits of a data set as an npz file, or leave it where it is there already.

    Raises:
        UserError: another one is there, or it cannot be written.
    """
    arrays: dict[str, Any] = {"classes": np.array(dataset.classes), "synthetic": np.bool_(dataset.synthetic)}
    for name, part in splits.items():
        arrays[f"{name}_images"] = _as_pictures(part.images)
        arrays[f"{name}_labels"] = part.labels
        if dataset.task == "segmentation":
            arrays |= {f"{name}_strata": part.strata, "strata": np.array(dataset.strata_names)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                np.savez(out, **arrays)
            if file.exists():
                _require_equal(file, file_digest(file) == file_digest(Path(temporary)))
            else:
                os.chmod(temporary, 0o644)
                os.replace(temporary, file)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{file} could not be written: {error.strerror}") from None


def _as_pictures(images: Images) -> Images:
    """Return uint8 images [N, C, S, S] as an npz file has them: [N, S, S], in colour [N, S, S, 3]."""
    pictures = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pictures[..., 0] if pictures.shape[-1] == 1 else pictures)


def write_once(file: Path, text: str) -> None:
    """Write a text, or leave it where it is there already. Raises UserError: another one is."""
    if file.exists():
        _require_equal(file, file.read_text(encoding="utf-8") == text)
    else:
        write_text(file, text)


def _require_equal(file: Path, equal: bool) -> None:
    if not equal:
        raise UserError(f"{file} is there already and differs; choose another folder with --out, or remove it")
