"""``folder:DIR``: pictures in one folder a class, split by the user (DIR/train/CLASS, DIR/test/CLASS) or by us."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Images
from common.data.pictures import common_side, fingerprint, is_grey, list_pictures, read_pictures
from common.data.source import PART_FOLDERS, PARTS, Located, Opened, Part, Parts
from common.description import Data
from common.errors import UserError

_PROBED = 48
"""Pictures looked at to tell grey from colour."""
Listing = dict[str, dict[str, list[Path]]]
"""Pictures by part and class."""


def locate(data: Data, cache: Path, needs: Parts = PARTS) -> Located:
    """Return the folder that ``data.source`` names, identified by its files' names, sizes and times.

    Raises:
        UserError: no such folder, fewer than two classes, or a class without pictures where all parts are needed.
    """
    root = Path(data.source.removeprefix("folder:")).expanduser()
    if not root.is_dir():
        raise UserError(f"data.source = '{data.source}': there is no folder {root}")
    listing = _list(root, may_lack=set(needs) != set(PARTS))
    files = [file for classes in listing.values() for found in classes.values() for file in found]
    content = sha256(json.dumps([str(root.resolve()), fingerprint(files, root)]).encode()).hexdigest()
    return Located(f"folder:{root.resolve().name}", content, lambda: _open(listing, data.image_size))


def pictures_part(files: list[Path], labels: list[int], channels: int, size: int, groups: list[str] | None) -> Part:
    """Return picture files as a part."""

    def read(index: NDArray[np.int64]) -> Images:
        return read_pictures([files[record] for record in index], channels, size)

    return Part(np.asarray(labels, dtype=np.int64), read, tuple(groups) if groups is not None else None)


def _list(root: Path, may_lack: bool) -> Listing:
    below = {folder.name.lower(): folder for folder in _folders(root)}
    parts = {part: next((below[name] for name in names if name in below), None) for part, names in PART_FOLDERS.items()}
    if parts["train"] is None:
        if parts["test"] is not None:
            raise UserError(f"{root} has test/ but no train/; make both, or one folder a class for us to split")
        parts = {"train": root}
    listing = {part: _classes(folder, may_lack) for part, folder in parts.items() if folder is not None}
    names = list(listing["train"])
    if len(names) < 2:
        raise UserError(
            f"{parts['train']} needs at least two folders of pictures, one a class, but has {len(names)}; "
            "the layout is DIR/train/CLASS/*.png and DIR/test/CLASS/*.png, or DIR/CLASS/*.png"
        )
    if not any(listing["train"].values()):
        raise UserError(f"{parts['train']} has folders of classes, but no pictures in them")
    for part, classes in listing.items():
        unknown = [name for name in classes if name not in names]
        if unknown:
            raise UserError(f"{parts[part]} has the class '{unknown[0]}', which {parts['train']} has not")
    return listing


def _folders(folder: Path) -> list[Path]:
    try:
        found = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] not in "._"]
    except OSError as error:
        raise UserError(f"the folder {folder} could not be read: {error.strerror}") from None
    return sorted(found, key=lambda entry: entry.name)


def _classes(folder: Path, may_lack: bool) -> dict[str, list[Path]]:
    found = {entry.name: list_pictures(entry) for entry in _folders(folder)}
    for name, files in found.items():
        if not files and not may_lack:
            raise UserError(f"the class folder {folder / name} holds no pictures; add some or remove it")
    return found


def _open(listing: Listing, wanted: int | None) -> Opened:
    names = tuple(listing["train"])
    flat = {
        part: [(file, names.index(name)) for name, files in classes.items() for file in files]
        for part, classes in listing.items()
    }
    every = [file for records in flat.values() for file, _ in records]
    size = common_side(every, wanted)
    probed = every[:: max(1, len(every) // _PROBED)]
    channels = 1 if all(is_grey(file) for file in probed) else 3
    parts = {
        part: pictures_part([file for file, _ in records], [label for _, label in records], channels, size, None)
        for part, records in flat.items()
    }
    notes = [f"Pictures are read as {'grey' if channels == 1 else 'colour'}, going by {len(probed)} of them."]
    if len(parts) < 3:
        notes.append("The folder's pictures were split one by one: if a patient has several, he may be in two splits.")
    return Opened(names, channels, size, parts["train"], parts.get("public"), parts.get("test"), notes=tuple(notes))
