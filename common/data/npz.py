"""``npz:FILE``: arrays in MedMNIST's layout (``train_images``, ``train_labels``, ``val_*``, ``test_*``).

Labels may be masks, with a class for every pixel. More is read where it is there: ``classes``, the classes' names,
``synthetic``, true or false, and of masks ``strata``, the bands' names, with ``train_strata``, ``val_strata``,
``test_strata``, each record's position among them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile
from zlib import error as ZlibError

import numpy as np

from common.data.arrays import Pair, check_pair, open_arrays
from common.data.dataset import Strata
from common.data.source import PARTS, Located, Opened, Parts
from common.description import Data
from common.errors import UserError
from common.loading import file_digest, suggest

_PARTS = {"train": "train", "public": "val", "test": "test"}
_KNOWN_CLASSES = {"pneumoniamnist": ("normal", "pneumonia")}
"""MedMNIST's files do not hold their classes' names; by the beginning of the file's name."""

_digests: dict[tuple[str, int, int, int], str] = {}
"""Digests known in this process, by path, length, time and inode: every client of a run asks for the same file."""


def locate(data: Data, cache: Path, needs: Parts = PARTS) -> Located:
    """Return the file that ``data.source`` names, identified by its content; opened, it must hold what it ``needs`` to.

    Raises:
        UserError: no such file.
    """
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
    return Located(f"npz:{file.name}", f"{file.stem} {digest}", lambda: _open(file, data, needs))


def _open(file: Path, data: Data, needs: Parts) -> Opened:
    what = f"npz:{file.name}"
    try:
        if not is_zipfile(file):
            raise UserError(f"{what} is not an npz file, which numpy.savez writes")
        with np.load(file, allow_pickle=False) as arrays:
            present = set(arrays.files)
            _check_parts(present, needs, what)
            names, synthetic = _names(arrays, file, what), _synthetic(arrays, what)
            pairs = {
                part: check_pair(arrays[f"{name}_images"], arrays[f"{name}_labels"], f"{what}, {name}")
                for part, name in _PARTS.items()
                if f"{name}_images" in present
            }
            bands = _list_of_names(arrays, "strata", what)
            strata = _strata(arrays, pairs, bands, what) if bands is not None else None
    except (ValueError, KeyError, EOFError, OSError, AttributeError, BadZipFile, ZlibError) as error:
        if "pickle" in str(error):
            raise UserError(f"{what} holds pickled Python objects, which are never read; save plain arrays") from None
        raise UserError(f"{what} is no npz file that can be read ({error}); make or download it again") from None
    return open_arrays(pairs, names, data.image_size, what, synthetic=synthetic, strata=strata, bands=bands or ())


def _check_parts(present: set[str], needs: Parts, what: str) -> None:
    wanted = [_PARTS[part] for part in PARTS if part in needs and (part != "public" or "train_images" not in present)]
    missing = [f"{name}_{kind}" for name in wanted for kind in ("images", "labels")]
    missing = [key for key in missing if key not in present]
    halves = [name for name in _PARTS.values() if (f"{name}_images" in present) != (f"{name}_labels" in present)]
    if missing or halves:
        halved = f"one of {halves[0]}_images and {halves[0]}_labels" if halves else ""
        raise UserError(
            f"{what} lacks {', '.join(missing) or halved}; it holds "
            f"{', '.join(sorted(present)) or 'nothing'}, but MedMNIST's layout is train_images, train_labels, "
            "val_images, val_labels, test_images, test_labels"
        )


def _names(arrays: Mapping[str, Any], file: Path, what: str) -> tuple[str, ...] | None:
    if "classes" not in arrays:
        return next((names for start, names in _KNOWN_CLASSES.items() if file.stem.startswith(start)), None)
    return _list_of_names(arrays, "classes", what)


def _list_of_names(arrays: Mapping[str, Any], key: str, what: str) -> tuple[str, ...] | None:
    if key not in arrays:
        return None
    told = arrays[key]
    names = tuple(str(name) for name in told.ravel()) if told.dtype.kind == "U" else ()
    if told.ndim != 1 or not names or "" in names or len(set(names)) != len(names):
        raise UserError(f"{what}: {key} must be a list of different names, one each, but is {told.tolist()!r:.80}")
    return names


def _strata(
    arrays: Mapping[str, Any], pairs: Mapping[str, Pair], bands: tuple[str, ...], what: str
) -> dict[str, Strata]:
    """Return each part's strata. Raises UserError: one has none, not one a record, or one without a name."""
    strata = {}
    for part, (images, _) in pairs.items():
        key = f"{_PARTS[part]}_strata"
        found = np.asarray(arrays.get(key, -1))
        fits = found.shape == (len(images),) and np.issubdtype(found.dtype, np.integer)
        if not fits or int(found.min()) < 0 or int(found.max()) >= len(bands):
            raise UserError(f"{what}: with strata, {key} must hold {len(images)} numbers from 0 to {len(bands) - 1}")
        strata[part] = found.astype(np.int64)
    return strata


def _synthetic(arrays: Mapping[str, Any], what: str) -> bool:
    told = arrays.get("synthetic", np.False_)
    if told.shape != () or told.dtype != np.bool_:
        raise UserError(f"{what}: synthetic must be true or false, but is {told.tolist()!r:.80}")
    return bool(told)
