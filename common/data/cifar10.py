"""``cifar10``: Krizhevsky 2009, in its binary version, which holds plain bytes instead of pickles, or as an npz file.

The npz file, ``cifar10.npz`` or ``cifar10-subset.npz``, has MedMNIST's layout (see ``common.data.npz``) and may hold
fewer images, so that one description runs with whatever copy a machine has.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.data import npz
from common.data.dataset import Images
from common.data.pictures import fingerprint, resize
from common.data.source import Located, Opened, Part
from common.description import Data
from common.errors import UserError
from common.vision import import_torchvision

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER, PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
ARCHIVE, MD5 = "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d13530"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
ARRAYS = ("cifar10.npz", "cifar10-subset.npz")
"""The npz files that are looked for, in this order."""
_TRAINING, _SIDE = 50_000, 32
_RECORD = 1 + 3 * 32 * 32
"""Bytes of a record: its label, then its red, green and blue plane, row by row."""
_FILE = 10_000 * _RECORD


def locate(data: Data, cache: Path) -> Located:
    """Return a local copy, or download one into the cache.

    The binary version is looked for at ``data.path`` (only there, if given), ``$PSREVAL_DATA`` and ``./data``, each
    itself or its subfolder ``cifar-10-batches-bin``; then in the cache. Where it is nowhere, an npz file in one of the
    same folders will do; one with other than 50,000 training images says so in the data set's notes.

    Raises:
        UserError: no copy and no download, or a file of the wrong length; opened: an npz file that is damaged or holds
            other images than CIFAR-10's.
    """
    root = _find(data, cache)
    if root is None:
        file = next(
            (place / name for place in _places(data, cache) for name in ARRAYS if (place / name).is_file()), None
        )
        if file is not None:
            return _locate_arrays(file, data, cache)
        root = _download(data, cache)
    files = [root / name for name in (*TRAIN, *TEST)]
    for file in files:
        if not file.is_file() or file.stat().st_size != _FILE:
            raise UserError(
                f"{file} should hold {_FILE} bytes but is missing or of another length; unpack {ARCHIVE} again"
            )
    states = [(name, length, time) for name, length, time in fingerprint(files, root)]
    return Located("cifar10", repr([str(root.resolve()), states]), lambda: _open(root, data.image_size or _SIDE))


def _locate_arrays(file: Path, data: Data, cache: Path) -> Located:
    # At its own size, so that images of another size are noticed and not resized.
    located = npz.locate(data.model_copy(update={"source": f"npz:{file}", "image_size": None}), cache)
    size = data.image_size or _SIDE
    return Located(f"cifar10, {file.name}", located.fingerprint, lambda: _check_arrays(located.open(), file, size))


def _check_arrays(opened: Opened, file: Path, size: int) -> Opened:
    unnamed = tuple(f"class {number}" for number in range(len(CLASSES)))[: len(opened.classes)]
    if opened.classes not in (CLASSES, unnamed):
        raise UserError(
            f"{file} has the classes {', '.join(opened.classes)}, but CIFAR-10's are {', '.join(CLASSES)}, in this "
            "order; for other images rename the file and use 'npz:FILE'"
        )
    if (opened.channels, opened.image_size) != (3, _SIDE):
        raise UserError(
            f"{file} holds images of {opened.image_size}x{opened.image_size} pixels in {opened.channels} channels, but "
            f"CIFAR-10's have {_SIDE}x{_SIDE} in 3; for other images rename the file and use 'npz:FILE'"
        )
    public, test = (None if part is None else _resized(part, size) for part in (opened.public, opened.test))
    count = len(opened.train.strata)
    told = f"A subset of CIFAR-10: {count:,} training images instead of {_TRAINING:,}."
    notes = (*opened.notes, told) if count != _TRAINING else opened.notes
    return Opened(CLASSES, 3, size, _resized(opened.train, size), public, test, opened.synthetic, notes)


def _resized(part: Part, size: int) -> Part:
    return Part(part.strata, lambda index: resize(part.read(index), size), part.groups)


def _open(root: Path, size: int) -> Opened:
    train, test = (_part([root / name for name in names], size) for names in (TRAIN, TEST))
    return Opened(CLASSES, 3, size, train, None, test)


def _part(files: list[Path], size: int) -> Part:
    batches = [np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, _RECORD) for file in files]
    labels = np.concatenate([batch[:, 0] for batch in batches]).astype(np.int64)
    if int(labels.max()) >= len(CLASSES):
        raise UserError(
            f"{files[0].parent} holds label {labels.max()}, but CIFAR-10 has 10 classes; unpack {ARCHIVE} again"
        )

    def read(index: NDArray[np.int64]) -> Images:
        rows = [batches[record // 10_000][record % 10_000, 1:] for record in index]
        return resize(np.stack(rows).reshape(-1, 3, _SIDE, _SIDE), size)

    return Part(labels, read)


def _places(data: Data, cache: Path) -> Iterator[Path]:
    if data.path is not None:
        yield Path(data.path).expanduser()
        return
    if os.environ.get("PSREVAL_DATA"):
        yield Path(os.environ["PSREVAL_DATA"]).expanduser()
    yield Path("data").resolve()
    yield cache / "downloads"


def _find(data: Data, cache: Path) -> Path | None:
    for place in _places(data, cache):
        for root in (place, place / FOLDER):
            if (root / TEST[0]).is_file():
                return root
    return None


def _download(data: Data, cache: Path) -> Path:
    pickled = [place for place in _places(data, cache) if (place / PICKLED).is_dir() or place.name == PICKLED]
    found = f"{pickled[0]} holds CIFAR-10 as Python pickles, which are never read; " if pickled else ""
    if data.path is not None:
        raise UserError(
            f"data.path = '{data.path}': {found}there is no {FOLDER}/ and no {ARRAYS[0]} in it; unpack {ARCHIVE} there"
        )
    target = cache / "downloads"
    try:
        utilities = import_torchvision("torchvision.datasets.utils")
        target.mkdir(parents=True, exist_ok=True)
        utilities.download_and_extract_archive(URL, str(target), filename=ARCHIVE, md5=MD5)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"data.source = 'cifar10': {found}the download of {URL} failed ({error}); unpack that file in a folder of "
            "yours and set data.path to it, or use 'npz:FILE'"
        ) from None
    return target / FOLDER
