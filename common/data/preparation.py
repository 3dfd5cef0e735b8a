"""Preparing a data set: locate, split, cap, keep duplicates apart, write arrays that all processes share."""

import json
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from common.data import cifar10, custom, folder, masks, npz, pneumonia
from common.data.brain import BRAIN
from common.data.cache import cache_folder, obtain, require_space
from common.data.dataset import Dataset, Split, Strata, class_counts
from common.data.phantom import PHANTOM
from common.data.source import PARTS, SERVER_PARTS, Located, Opened, Part, Parts
from common.data.splits import cut, stratified_draw
from common.data.writing import Written, write_part
from common.description import Data
from common.errors import UserError
from common.loading import is_reference, suggest
from common.records import Task
from common.seeds import numpy_generator

SOURCES: dict[str, str] = {
    "phantom": "synthetic chest X-rays, drawn by a program: normal, bacterial, viral; 28 to 224 pixels, grey",
    "brain": "segmentation: synthetic brain slices, drawn by a program, with five structures and seven decades of age",
    "cifar10": "CIFAR-10: 60,000 colour photographs, 10 classes; a local copy, binary or cifar10.npz, else downloaded",
    "pneumonia": "5,856 paediatric chest X-rays (Kermany et al. 2018) in their usual folders; 2 or 3 classes",
    "npz:FILE": "arrays in MedMNIST's layout: train_images, train_labels (or masks), val_images … test_labels",
    "folder:DIR": "pictures in DIR/train/CLASS and DIR/test/CLASS, or in DIR/CLASS for us to split",
    "masks:DIR": "segmentation: pictures in DIR/train/images with masks in DIR/train/masks; PNG, or NIfTI volumes",
    "file.py:function": "your own: function() returns (images, labels or masks) of train, public (or None) and test",
}
"""Data sources and what they are."""

TEST_FRACTION = 0.2
"""Share of the images that becomes the test split where a source has none."""
SMALLEST_PUBLIC = 8
"""Records that calibration needs at least."""
_PREPARATION = 1
"""Raised whenever the same source and options would give other arrays."""

_BY_NAME: dict[str, Callable[[Data, Path], Located]] = {
    "phantom": PHANTOM.locate,
    "brain": BRAIN.locate,
    "cifar10": cifar10.locate,
    "pneumonia": pneumonia.locate,
}
_FILES: dict[str, Callable[[Data, Path, Parts], Located]] = {
    "npz": npz.locate,
    "folder": folder.locate,
    "masks": masks.locate,
}
"""Sources whose place the description names; what they must hold depends on what is needed."""


def prepare(data: Data, cache: Path | None = None, *, needs: Parts = PARTS) -> Dataset:
    """Return the data set that ``data`` describes, prepared once and memory-mapped ever after.

    No image is in two splits: a copy of a test image is left out of public and train, a copy of a public one out of
    train. Copies within one split stay. Caps are stratified draws that depend on ``data.seed``.

    A part that is not needed may be missing from the source; it is then empty, and not cut out of another one.

    Args:
        data: the description's section.
        cache: where prepared arrays are kept; default ``$PSREVAL_CACHE`` or ``~/.cache/psreval``.
        needs: ``HOSPITAL_PARTS``, ``SERVER_PARTS``, or all three; equal but for what may be missing.

    Raises:
        UserError: an unknown or missing source, unreadable or unfit images or labels, splits too small, no space.
    """
    kept_in = cache_folder(cache)
    located = _locate(data, kept_in, needs)
    options = data.model_dump(mode="json", exclude={"source", "path", "partition"})
    made_of = [_PREPARATION, located.label, located.fingerprint, options]
    made_of += [] if set(needs) >= set(SERVER_PARTS) else [sorted(needs)]  # what is not needed is then not cut, too
    key = sha256(json.dumps(made_of, sort_keys=True).encode())
    kind = data.source.partition(":")[0] if not is_reference(data.source) else "custom"
    place, meta = obtain(kept_in, f"{kind}-{key.hexdigest()[:24]}", lambda fresh: _build(located, data, fresh, needs))
    task: Task = "segmentation" if meta.get("task") == "segmentation" else "classification"
    splits = {name: _load(place, name, task) for name in PARTS}
    dataset = Dataset(
        source=located.label,
        classes=tuple(meta["classes"]),
        synthetic=bool(meta["synthetic"]),
        checksum=str(meta["checksum"]),
        notes=tuple(meta["notes"]),
        task=task,
        bands=tuple(meta.get("bands", ())),
        **splits,
    )
    shown = meta["shown"] if task == "segmentation" else dataset.counts()
    sizes = {name: len(split) for name, split in splits.items()}
    _check(dataset.classes, sizes, shown, task, needs)  # it may have been prepared for somebody who needs less
    return dataset


def _locate(data: Data, cache: Path, needs: Parts = PARTS) -> Located:
    if is_reference(data.source):
        return custom.locate(data, cache)
    kind, colon, rest = data.source.partition(":")
    if (kind in _FILES and rest) or (kind in _BY_NAME and not colon):
        return _FILES[kind](data, cache, needs) if kind in _FILES else _BY_NAME[kind](data, cache)
    if kind in _FILES:
        raise UserError(f"data.source = '{data.source}': write '{kind}:' and then where it lies")
    raise UserError(f"data.source = '{data.source}' is not known{suggest(data.source, SOURCES)}")


def _build(located: Located, data: Data, fresh: Path, needs: Parts) -> dict[str, Any]:
    opened = located.open()
    notes = list(opened.notes)
    chosen = _split(opened, data, notes, needs)
    if opened.task == "classification":  # masks must be read first
        drawn = {name: class_counts(part.strata[index], len(opened.classes)) for name, (part, index) in chosen.items()}
        _check(opened.classes, {name: len(index) for name, (_, index) in chosen.items()}, drawn, opened.task, needs)
    records = sum(len(index) for _, index in chosen.values())
    planes = opened.channels + (opened.task == "segmentation")
    require_space(fresh, records * planes * opened.image_size**2 + 2**20)

    held_out: set[bytes] = set()
    written: dict[str, Written] = {}
    for name in ("test", "public", "train"):
        part, index = chosen[name]
        title = f"preparing {located.label}, {name}"
        shape = (opened.channels, opened.image_size, opened.image_size)
        written[name] = write_part(fresh, name, part, index, shape, len(opened.classes), held_out, title)
        held_out |= written[name].digests
        notes += _duplicates(name, written[name])
    shown = {name: each.shown.tolist() for name, each in written.items()}
    _check(opened.classes, {name: len(each.strata) for name, each in written.items()}, shown, opened.task, needs)
    absent = [name for name, count in zip(opened.classes, shown["test"], strict=True) if count == 0]
    notes += [f"The test split has no image of {', '.join(absent)}."] if absent and "test" in needs else []
    content: list[Any] = [opened.classes, {name: each.checksum for name, each in sorted(written.items())}]
    told: dict[str, Any] = {}
    if opened.task == "segmentation":  # what was prepared of classes before there were masks keeps its checksum
        content.append([opened.task, opened.bands])
        told = {"task": opened.task, "bands": opened.bands, "shown": shown}
    return {
        **told,
        "classes": opened.classes,
        "synthetic": opened.synthetic,
        "notes": notes,
        "checksum": sha256(json.dumps(content).encode()).hexdigest(),
    }


def _split(opened: Opened, data: Data, notes: list[str], needs: Parts = PARTS) -> dict[str, tuple[Part, Any]]:
    """Return each split's part of the source and its record numbers in it."""
    by = " by class" if opened.task == "classification" else ""
    train = np.arange(len(opened.train.strata), dtype=np.int64)
    chosen: dict[str, tuple[Part, Any]] = {}
    for name, part, fraction in (
        ("test", opened.test, TEST_FRACTION),
        ("public", opened.public, data.public_fraction),
    ):
        if part is not None:
            chosen[name] = part, np.arange(len(part.strata), dtype=np.int64)
            continue
        if name not in needs:
            chosen[name] = opened.train, train[:0]
            continue
        groups = [opened.train.groups[record] for record in train] if opened.train.groups is not None else None
        strata = opened.train.strata[train]
        if opened.task == "segmentation" and not _spread(strata, groups):
            strata = np.zeros_like(strata)
        kept, taken = cut(strata, groups, fraction, numpy_generator(data.seed, "split", name))
        if groups and len(taken) == 0:
            raise UserError(
                f"the source has no {name} split of its own, and none can be cut out of train: its {len(train)} images "
                f"are of one patient or volume, which no two splits may share; add others, or a {name} split"
            )
        chosen[name] = opened.train, train[taken]
        train = train[kept]
        notes.append(
            f"The source has no {name} split of its own: {len(taken)} images of train were set aside as {name}."
        )
    chosen["train"] = opened.train, train
    caps = {"train": data.train_records, "public": data.public_records, "test": data.test_records}
    for name, cap in caps.items():
        part, index = chosen[name]
        if cap is not None and cap < len(index):
            drawn = stratified_draw(part.strata[index], cap, numpy_generator(data.seed, "cap", name))
            notes.append(f"{cap} of {len(index)} {name} images were drawn, stratified{by}.")
            chosen[name] = part, index[drawn]
    return {name: chosen[name] for name in PARTS}


def _spread(strata: Strata, groups: list[str] | None) -> bool:
    """Tell whether every band has enough groups to give one to each split."""
    if groups is None:
        return True
    members = set(zip(strata.tolist(), groups, strict=True))
    return min(Counter(band for band, _ in members).values(), default=0) >= len(PARTS)


def _check(
    classes: tuple[str, ...], sizes: dict[str, int], shown: dict[str, list[int]], task: Task, needs: Parts
) -> None:
    """Refuse splits of so many records, of which so many show each class, that cannot do what is needed."""
    if len(classes) < 2:
        raise UserError(
            f"the data have only the class '{classes[0] if classes else ''}'; a classifier needs two or more"
        )
    if "train" in needs and sizes["train"] == 0:
        raise UserError("the training split has no images")
    for name, count in zip(classes, shown["train"], strict=True):
        if count == 0 and set(needs) == set(PARTS) and task == "segmentation":
            raise UserError(
                f"the structure '{name}' is in none of {sizes['train']} training masks; take it off the classes, or "
                "raise data.train_records, if set"
            )
        if count == 0 and set(needs) == set(PARTS):
            raise UserError(
                f"the class '{name}' has no training image among {sizes['train']}; labels must count from 0 "
                "without gaps, and data.train_records, if set, must leave every class some"
            )
    public = sizes["public"]
    lacking = [f" and none of '{name}'" for name, count in zip(classes, shown["public"], strict=True) if count == 0]
    lacking = [] if task == "segmentation" else lacking
    of_each = "" if task == "segmentation" else " and at least one of each class"
    if "public" in needs and (lacking or public < SMALLEST_PUBLIC):
        raise UserError(
            f"the public split has {public} images{''.join(lacking[:1])}, but calibration needs {SMALLEST_PUBLIC} "
            f"or more{of_each}; raise data.public_records or data.public_fraction"
        )
    if "test" in needs and sizes["test"] == 0:
        raise UserError("the test split has no images")


def _duplicates(name: str, written: Written) -> list[str]:
    notes = []
    if written.left_out:
        other = "test" if name == "public" else "test or public"
        notes.append(f"{written.left_out} {name} images that equal {other} images pixel by pixel were left out.")
    if written.repeated:
        sentence = f"{written.repeated} images of {name} repeat another of {name} pixel by pixel and were kept"
        protects = "; a privacy guarantee for one record covers one copy" if name == "train" else ""
        contrary = f"; {written.contrary} of them carry another label" if written.contrary else ""
        notes.append(f"{sentence}{protects}{contrary}.")
    return notes


def _load(place: Path, name: str, task: Task) -> Split:
    images = np.load(place / f"{name}-images.npy", mmap_mode="r", allow_pickle=False)
    if task == "classification":
        labels = np.load(place / f"{name}-labels.npy", allow_pickle=False)
        labels.setflags(write=False)
        return Split(images, labels)
    masks = np.load(place / f"{name}-labels.npy", mmap_mode="r", allow_pickle=False)
    strata = np.load(place / f"{name}-strata.npy", allow_pickle=False)
    strata.setflags(write=False)
    return Split(images, masks, strata)
