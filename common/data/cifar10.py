"""``cifar10``: Krizhevsky 2009, in its binary version, which holds plain bytes instead of pickles."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.config import Data
from common.data.dataset import Images
from common.data.pictures import fingerprint, resize
from common.data.source import Located, Opened, Part
from common.errors import UserError
from common.vision import import_torchvision

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER, PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
ARCHIVE, MD5 = "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d13530"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
_RECORD = 1 + 3 * 32 * 32
"""Bytes of a record: its label, then its red, green and blue plane, row by row."""
_FILE = 10_000 * _RECORD


def locate(data: Data, cache: Path) -> Located:
    """Return a local copy, or download one into the cache.

    Looked for at ``data.path`` (only there, if given), ``$PSREVAL_DATA`` and ``./data``, each itself or its subfolder
    ``cifar-10-batches-bin``; then in the cache.

    Raises:
        UserError: no copy and no download, or a file of the wrong length.
    """
    root = _find(data, cache) or _download(data, cache)
    files = [root / name for name in (*TRAIN, *TEST)]
    for file in files:
        if not file.is_file() or file.stat().st_size != _FILE:
            raise UserError(
                f"{file} should hold {_FILE} bytes but is missing or of another length; unpack {ARCHIVE} again"
            )
    states = [(name, length, time) for name, length, time in fingerprint(files, root)]
    return Located("cifar10", repr([str(root.resolve()), states]), lambda: _open(root, data.image_size or 32))


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
        return resize(np.stack(rows).reshape(-1, 3, 32, 32), size)

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
        raise UserError(f"data.path = '{data.path}': {found}there is no {FOLDER}/ in it; unpack {ARCHIVE} there")
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
