"""``masks:DIR``: images with masks, in DIR/train/images and DIR/train/masks (test, public likewise), or to split by us.

A mask has its image's name and size, and in every pixel the number of a structure. ``DIR/classes.txt`` names them;
``strata.csv`` beside the folders, or in DIR, tells patients and ages (``common.data.mask_tables``).
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data import volumes
from common.data.dataset import Images, Masks
from common.data.mask_tables import (
    CLASSES,
    STRATA,
    Person,
    Structures,
    in_order,
    read_strata,
    read_structures,
    unnamed_structures,
)
from common.data.pictures import BROKEN, SUFFIXES, common_side, fingerprint, is_grey, read_pictures, resize_masks
from common.data.source import PART_FOLDERS, PARTS, Located, Opened, Part, Parts, masked_part, no_records
from common.description import Data
from common.errors import UserError
from common.progress import track

_LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
_LAYOUT = "the layout is DIR/train/images/X.png with DIR/train/masks/X.png, DIR/test likewise, or DIR/images, DIR/masks"
_ALIKE = "Intervals take images for independent; those of one {whole} are not, so that all intervals are too narrow."
_PROBED = 48
"""Pictures looked at to tell grey from colour."""


@dataclass(frozen=True)
class Pair:
    """An image or volume with its mask, and who is in it."""

    name: str
    image: Path
    mask: Path
    person: Person


def locate(data: Data, cache: Path, needs: Parts = PARTS) -> Located:
    """Return the folder that ``data.source`` names, identified by its files' names, sizes and times.

    Raises:
        UserError: no such folder, no images, an image without a mask or the reverse, one patient in two parts, or
            tables that cannot be.
    """
    root = Path(data.source.removeprefix("masks:")).expanduser()
    if not root.is_dir():
        raise UserError(f"data.source = '{data.source}': there is no folder {root}")
    listing, tables = _list(root, needs)
    _keep_apart(listing)
    named = root / CLASSES
    known = read_structures(named) if named.is_file() else None
    files = [file for pairs in listing.values() for pair in pairs for file in (pair.image, pair.mask)]
    files += [*tables, named] if known is not None else tables
    content = sha256(json.dumps([str(root.resolve()), fingerprint(files, root)]).encode()).hexdigest()

    def opened() -> Opened:
        kinds = {volumes.is_volume(pair.image) for pairs in listing.values() for pair in pairs}
        if len(kinds) > 1:
            raise UserError(f"{root} holds both pictures and NIfTI volumes; keep them in two folders")
        open_kind = _open_volumes if kinds == {True} else _open_pictures
        return open_kind(root.name, listing, known, data.image_size)

    return Located(f"masks:{root.resolve().name}", content, opened)


def _list(root: Path, needs: Parts) -> tuple[dict[str, list[Pair]], list[Path]]:
    """Return each part's images, and the tables that tell of them."""
    below = {entry.name.lower(): entry for entry in root.iterdir() if entry.is_dir()}
    folders = {
        part: next((below[name] for name in names if name in below), None) for part, names in PART_FOLDERS.items()
    }
    if not any(folders.values()):
        folders = {"train": root}
    if folders["train"] is None and "train" in needs:
        raise UserError(f"{root} has no train/; {_LAYOUT}")
    listing: dict[str, list[Pair]] = {}
    tables: list[Path] = []
    for part, folder in folders.items():
        if folder is not None:
            table = folder / STRATA if (folder / STRATA).is_file() else root / STRATA
            listing[part] = _pairs(folder, table)
            tables += [table] if table.is_file() and table not in tables else []
    return listing, tables


def _pairs(folder: Path, table: Path) -> list[Pair]:
    images, masks = (_by_name(folder / kind) for kind in ("images", "masks"))
    alone = [f"images/{images[name].name}" for name in images if name not in masks]
    alone += [f"masks/{masks[name].name}" for name in masks if name not in images]
    if alone:
        other = "mask" if alone[0].startswith("images") else "image"
        raise UserError(f"{folder}: {alone[0]} has no {other} of its name; {_LAYOUT}")
    if not images:
        raise UserError(f"{folder / 'images'} holds no pictures (PNG …) and no NIfTI volumes; {_LAYOUT}")
    lossy = next((mask for mask in masks.values() if mask.suffix.lower() in _LOSSY), None)
    if lossy is not None:
        raise UserError(f"{lossy} is a JPEG or WebP, which change the numbers in a mask; save masks as PNG")
    people = read_strata(table, list(images))
    return [Pair(name, image, masks[name], people[name]) for name, image in images.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; {_LAYOUT}")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name[0] == "." or not (volumes.is_volume(file) or file.suffix.lower() in SUFFIXES):
            continue
        name = volumes.stem(file)
        if name in found:
            raise UserError(f"{folder} has both {found[name].name} and {file.name}; a name must stand for one image")
        found[name] = file
    return found


def _keep_apart(listing: dict[str, list[Pair]]) -> None:
    seen: dict[str, str] = {}
    for part, pairs in listing.items():
        for patient in sorted({pair.person.patient for pair in pairs} - {""}):
            if patient in seen:
                raise UserError(
                    f"{STRATA}: patient '{patient}' is in {seen[patient]} and in {part}, so the test would be of a "
                    "patient seen before; move all of a patient's images to one of them"
                )
            seen[patient] = part


def _open_pictures(root: str, listing: dict[str, list[Pair]], known: Structures | None, wanted: int | None) -> Opened:
    every = [pair for pairs in listing.values() for pair in pairs]
    images = [pair.image for pair in every]
    size = common_side(images, wanted)
    probed = images[:: max(1, len(images) // _PROBED)]
    channels = 1 if all(is_grey(file) for file in probed) else 3
    if known is None:
        found: set[int] = set()
        for pair in track(every, f"looking through the masks of {root}", len(every)):
            found |= set(np.unique(_mask_values(pair)).tolist())
        known = unnamed_structures(found, f"masks:{root}")
    structures, bands = known, in_order(pair.person.band for pair in every)

    def part(pairs: list[Pair]) -> Part:
        def read(index: NDArray[np.int64]) -> tuple[Images, Masks]:
            chosen = [pairs[record] for record in index]
            masks = np.stack([read_mask(pair, structures, size) for pair in chosen])
            return read_pictures([pair.image for pair in chosen], channels, size), masks

        patients = tuple(pair.person.patient or f"{pair.name} alone" for pair in pairs)
        return masked_part(_strata(pairs, bands), read, patients)

    notes = [f"Pictures are read as {'grey' if channels == 1 else 'colour'}, going by {len(probed)} of them."]
    if len(listing) < len(PARTS) and not any(pair.person.patient for pair in every):
        notes.append("The pictures were split one by one: if a patient has several, he may be in two splits.")
    patients = [pair.person.patient for pair in every if pair.person.patient]
    notes += [_ALIKE.format(whole="patient")] if len(set(patients)) < len(patients) else []
    parts = {name: part(pairs) for name, pairs in listing.items()}
    return _opened(parts, structures, bands, channels, size, notes)


def _open_volumes(root: str, listing: dict[str, list[Pair]], known: Structures | None, wanted: int | None) -> Opened:
    every = [pair for pairs in listing.values() for pair in pairs]
    shown: dict[Path, NDArray[np.int64]] = {}
    sides: dict[tuple[int, int], Path] = {}
    found: set[int] = set()
    total = 0
    for pair in track(every, f"looking through the volumes of {root}", len(every)):
        values = volumes.read_mask(pair.image, pair.mask)
        found |= set(np.unique(values).tolist())
        background = known.values[known.numbers == 0] if known is not None else np.zeros(1, dtype=np.int64)
        shown[pair.mask] = np.flatnonzero(~np.isin(values, background).all(axis=(1, 2)))
        sides.setdefault((values.shape[1], values.shape[2]), pair.image)
        total += len(values)
    if wanted is None and len({max(shape) for shape in sides}) > 1:
        told = [f"{file.name} has {shape[1]}x{shape[0]} pixels" for shape, file in sides.items()]
        raise UserError(f"slices differ in size: {told[0]}, {told[-1]}; set data.image_size")
    structures = known or unnamed_structures(found, f"masks:{root}")
    bands = in_order(pair.person.band for pair in every)
    size = wanted or max(max(shape) for shape in sides)

    def part(pairs: list[Pair]) -> Part:
        slices = [(pair, int(level)) for pair in pairs for level in shown[pair.mask]]
        reader = volumes.Reader(structures, size)

        def read(index: NDArray[np.int64]) -> tuple[Images, Masks]:
            planes = [
                reader.slice(slices[record][0].image, slices[record][0].mask, slices[record][1]) for record in index
            ]
            return np.stack([image for image, _ in planes])[:, None], np.stack([mask for _, mask in planes])

        owners = [pair for pair, _ in slices]
        groups = tuple(pair.person.patient or f"{pair.name} alone" for pair in owners)
        return masked_part(_strata(owners, bands), read, groups)

    parts = {name: part(pairs) for name, pairs in listing.items()}
    kept = sum(len(levels) for levels in shown.values())
    notes = [
        f"{kept} axial slices of {len(every)} volumes; {total - kept} without any structure were left out. No volume "
        "and no patient has slices in two splits.",
        "Brightness is scaled volume by volume, its 0.5th and 99.5th percentiles to black and white; slices that are "
        "not square got a black edge.",
        _ALIKE.format(whole="volume"),
    ]
    return _opened(parts, structures, bands, 1, size, notes)


def _opened(
    parts: dict[str, Part],
    structures: Structures,
    bands: tuple[str, ...],
    channels: int,
    size: int,
    notes: list[str],
) -> Opened:
    train = parts.get("train") or no_records(channels, size, "segmentation")
    return Opened(
        structures.names, channels, size, train, parts.get("public"), parts.get("test"), notes=tuple(notes), bands=bands
    )


def _strata(pairs: list[Pair], bands: tuple[str, ...]) -> NDArray[np.int64]:
    return np.asarray([bands.index(pair.person.band) for pair in pairs], dtype=np.int64)


def read_mask(pair: Pair, structures: Structures, size: int) -> Masks:
    """Return a picture's mask as class numbers, uint8 [size, size].

    Raises:
        UserError: it is unreadable, in colour, not of its image's size, or has a value that no structure has.
    """
    numbers = structures.number(_mask_values(pair), str(pair.mask))
    resized: Masks = resize_masks(numbers[None], size)[0]
    return resized


def _mask_values(pair: Pair) -> NDArray[np.int64]:
    try:
        with Image.open(pair.image) as picture:
            wanted = picture.size
        with Image.open(pair.mask) as picture:
            values: NDArray[Any] = np.asarray(picture)  # of a palette its positions, not its colours
    except BROKEN as error:
        raise UserError(f"{pair.mask} cannot be read as a mask ({error}); replace it") from None
    if values.ndim == 3:
        levels = values[..., :-1] if values.shape[2] in (2, 4) else values  # without how opaque a pixel is
        values = levels[..., 0] if (levels == levels[..., :1]).all() else values
    if values.ndim != 2:
        raise UserError(f"{pair.mask} is in colour; save the number of each pixel's structure as an 8-bit grey picture")
    if (values.shape[1], values.shape[0]) != wanted:
        raise UserError(
            f"{pair.mask} has {values.shape[1]}x{values.shape[0]} pixels, but its image {wanted[0]}x{wanted[1]}; "
            "make them equal"
        )
    if values.dtype.kind == "f":
        raise UserError(f"{pair.mask} holds fractions; save the number of each pixel's structure as whole numbers")
    whole: NDArray[np.int64] = values.astype(np.int64)
    return whole
