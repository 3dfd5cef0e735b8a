"""``pneumonia``: the paediatric chest X-rays of Kermany, Zhang, Goldbaum 2018, in the folders they come in."""

import json
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from common.data.folder import pictures_part
from common.data.pictures import common_side, fingerprint, list_pictures
from common.data.source import Located, Opened
from common.description import Data
from common.errors import UserError

CLASSES = {2: ("normal", "pneumonia"), 3: ("normal", "bacterial", "viral")}
_PATIENT = re.compile(r"(person|IM-)0*(\d+)")


def locate(data: Data, cache: Path) -> Located:
    """Return the folder, identified by its files' names, sizes and times.

    Looked for at ``data.path`` (only there, if given), ``$PSREVAL_DATA/chest_xray`` and ``./data/chest_xray``.

    Raises:
        UserError: not found, or a file name that tells neither bacteria nor virus where three classes are wanted.
    """
    root = _find(data)
    files = {part: _files(root / part) for part in ("train", "val", "test") if (root / part).is_dir()}
    every = [file for found in files.values() for file in found]
    labels = {file: _label(file, data.classes) for file in every}
    content = sha256(json.dumps([str(root.resolve()), fingerprint(every, root)]).encode()).hexdigest()
    return Located(f"pneumonia, {data.classes} classes", content, lambda: _open(files, labels, data))


def patient(file: Path) -> str:
    """Return whose X-ray a file is: ``personN`` or ``IM-N``, whatever stands around it in the name; else the name."""
    found = _PATIENT.search(file.name)
    return f"{found[1].rstrip('-')} {found[2]}" if found else file.name


def _series(file: Path) -> str:
    """Return the patient with the name's prefix and pathogen, within which the source seems to number its patients."""
    found = re.match(r"(.*(?:person|IM-)\d+)(_[a-z]+)?", file.name)
    return found[0] if found else file.name


def _open(files: dict[str, list[Path]], labels: dict[Path, int], data: Data) -> Opened:
    size = common_side([file for found in files.values() for file in found], data.image_size)
    train = files["train"] + files.get("val", [])
    notes = (
        [f"The {len(files['val'])} images of val joined train, as too few to calibrate on."] if "val" in files else []
    )
    patients = [patient(file) for file in train]
    both = {patient(file) for file in files["test"]} & set(patients)
    alike = {_series(file) for file in files["test"]} & {_series(file) for file in train}
    notes.append(
        "The public split is cut out of train by patient; the source's own test split is kept, and "
        f"{len(both)} patient numbers occur in both, {len(alike)} of them with the same prefix or pathogen; "
        "the source does not say whether they are the same patients."
    )
    parts = [
        pictures_part(part, [labels[file] for file in part], 1, size, groups)
        for part, groups in ((train, patients), (files["test"], None))
    ]
    return Opened(CLASSES[data.classes], 1, size, parts[0], None, parts[1], notes=tuple(notes))


def _find(data: Data) -> Path:
    places = list(_places(data))
    for place in places:
        for root in (place, place / "chest_xray"):  # its archive nests the folder in one of the same name
            if all(_child(root / part, name) for part in ("train", "test") for name in ("normal", "pneumonia")):
                return root
    looked = ", ".join(map(str, places))
    raise UserError(
        f"data.source = 'pneumonia': no folder with train/NORMAL, train/PNEUMONIA, test/NORMAL and test/PNEUMONIA at "
        f"{looked}; download the chest X-rays (Kermany et al. 2018, doi 10.17632/rscbjbr9sj), unpack them and set "
        "data.path or PSREVAL_DATA"
    )


def _places(data: Data) -> Iterator[Path]:
    if data.path is not None:
        yield Path(data.path).expanduser()
        return
    if os.environ.get("PSREVAL_DATA"):
        yield Path(os.environ["PSREVAL_DATA"]).expanduser() / "chest_xray"
    yield Path("data/chest_xray").resolve()


def _child(folder: Path, name: str) -> Path | None:
    if not folder.is_dir():
        return None
    return next((entry for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.name.lower() == name), None)


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for name in ("normal", "pneumonia"):
        child = _child(folder, name)
        pictures = list_pictures(child) if child is not None else []
        if not pictures:
            raise UserError(f"{folder / name.upper()} holds no pictures; unpack the chest X-rays again")
        found += pictures
    return found


def _label(file: Path, classes: int) -> int:
    if file.parent.name.lower() == "normal":
        return 0
    kinds = [kind for kind in ("bacteria", "virus") if kind in file.name.lower()]
    if classes == 3 and len(kinds) != 1:
        raise UserError(
            f"{file} carries neither 'bacteria' nor 'virus' in its name, which three classes need; "
            "rename it or set data.classes = 2"
        )
    return 1 if classes == 2 or kinds[0] == "bacteria" else 2
