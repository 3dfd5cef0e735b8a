"""``npz:FILE``: arrays in MedMNIST's layout (``train_images``, ``train_labels``, ``val_*``, ``test_*``)."""

from pathlib import Path
from zipfile import BadZipFile, is_zipfile
from zlib import error as ZlibError

import numpy as np

from common.config import Data
from common.data.arrays import check_pair, open_arrays
from common.data.source import Located, Opened
from common.errors import UserError
from common.loading import file_digest, suggest

_PARTS = {"train": "train", "public": "val", "test": "test"}
_KNOWN_CLASSES = {"pneumoniamnist": ("normal", "pneumonia")}
"""MedMNIST's files do not hold their classes' names; by the beginning of the file's name."""

_digests: dict[tuple[str, int, int, int], str] = {}
"""Digests known in this process, by path, length, time and inode: every client of a run asks for the same file."""


def locate(data: Data, cache: Path) -> Located:
    """Return the file that ``data.source`` names, identified by its content. Raises UserError: no such file."""
    file = Path(data.source.removeprefix("npz:")).expanduser()
    if not file.is_file():
        near = [str(found) for found in sorted(file.parent.glob("*.npz"))] if file.parent.is_dir() else []
        raise UserError(
            f"data.source = '{data.source}': there is no file {file}{suggest(str(file), near) if near else ''}"
        )
    try:
        state = file.stat()
        seen = (str(file.resolve()), state.st_size, state.st_mtime_ns, state.st_ino)
        digest = _digests.get(seen) or file_digest(file)
    except OSError as error:
        raise UserError(f"data.source = '{data.source}' could not be read: {error.strerror}") from None
    _digests[seen] = digest
    return Located(f"npz:{file.name}", f"{file.stem} {digest}", lambda: _open(file, data))


def _open(file: Path, data: Data) -> Opened:
    what = f"npz:{file.name}"
    try:
        if not is_zipfile(file):
            raise UserError(f"{what} is not an npz file, which numpy.savez writes")
        with np.load(file, allow_pickle=False) as arrays:
            present = set(arrays.files)
            missing = [f"{part}_{kind}" for part in ("train", "test") for kind in ("images", "labels")]
            missing = [key for key in missing if key not in present]
            if missing or ("val_images" in present) != ("val_labels" in present):
                raise UserError(
                    f"{what} lacks {', '.join(missing) or 'one of val_images and val_labels'}; it holds "
                    f"{', '.join(sorted(present)) or 'nothing'}, but MedMNIST's layout is train_images, train_labels, "
                    "val_images, val_labels, test_images, test_labels"
                )
            pairs = {
                part: check_pair(arrays[f"{name}_images"], arrays[f"{name}_labels"], f"{what}, {name}")
                for part, name in _PARTS.items()
                if f"{name}_images" in present
            }
    except (ValueError, KeyError, EOFError, OSError, AttributeError, BadZipFile, ZlibError) as error:
        if "pickle" in str(error):
            raise UserError(f"{what} holds pickled Python objects, which are never read; save plain arrays") from None
        raise UserError(f"{what} is no npz file that can be read ({error}); make or download it again") from None
    names = next((names for start, names in _KNOWN_CLASSES.items() if file.stem.startswith(start)), None)
    return open_arrays(pairs, names, data.image_size, what)
