"""Writing a split's images and labels as .npy files, piece by piece, leaving out images that another split holds."""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from common.data.dataset import Strata
from common.data.source import Part
from common.data.splits import Index
from common.progress import track

_PIECE = 2**20
"""About so many pixels are read, and held, at once."""


@dataclass(frozen=True, eq=False)
class Written:
    """What was written of a split.

    Attributes:
        strata: int64 [N] of the images written; their labels, unless these are masks.
        shown: records that have each class, int64 [classes]; with masks: that have a pixel of it.
        digests: of their pixels.
        left_out: images not written, as a split written earlier holds them.
        repeated: images that equal an earlier one of this split.
        contrary: those of them whose label, or mask, is not the earlier one's.
        checksum: SHA-256 of pixels, labels and strata.
    """

    strata: Strata
    shown: Strata
    digests: frozenset[bytes]
    left_out: int
    repeated: int
    contrary: int
    checksum: str


def write_part(
    folder: Path,
    name: str,
    part: Part,
    index: Index,
    shape: tuple[int, int, int],
    classes: int,
    held_out: Collection[bytes],
    title: str,
) -> Written:
    """Write ``NAME-images.npy`` (uint8 [N, C, S, S]) and ``NAME-labels.npy`` (int64 [N]) and return what they hold.

    For segmentation ``NAME-labels.npy`` holds masks, uint8 [N, S, S], and ``NAME-strata.npy`` the strata, int64 [N].

    Args:
        folder: where.
        name: of the split.
        part: what to read from.
        index: the records wanted.
        shape: (C, S, S) of one image.
        classes: how many there are.
        held_out: digests of images to leave out.
        title: for progress.

    Raises:
        UserError: an unreadable image.
        OSError: the disk is full.
    """
    step = max(4, min(32, _PIECE // (4 * shape[1] * shape[2])))
    starts = range(0, len(index), step)
    kept: list[int] = []
    first_label: dict[bytes, bytes] = {}
    shown = np.zeros(classes, dtype=np.int64)
    left_out = repeated = contrary = 0
    content = sha256()
    # plain writes, not a memory map: a full disk is then an exception and not a signal that kills the process
    with contextlib.ExitStack() as files:
        file = files.enter_context((folder / f"{name}-images.npy").open("wb"))
        _header(file, (len(index), *shape))
        masks_file = None
        if part.read_masked is not None:
            masks_file = files.enter_context((folder / f"{name}-labels.npy").open("wb"))
            _header(masks_file, (len(index), *shape[1:]))
        for start in track(starts, title, len(starts)):
            records = index[start : start + step]
            images, masks = part.read_masked(records) if part.read_masked is not None else (part.read(records), None)
            assert images.shape == (len(records), *shape)
            assert images.dtype == np.uint8
            assert masks is None or (masks.shape == (len(records), *shape[1:]) and masks.dtype == np.uint8)
            for row, (record, image) in enumerate(zip(records, images, strict=True)):
                pixels = image.tobytes()
                digest = blake2b(pixels, digest_size=16).digest()
                mask = masks[row] if masks is not None else None
                label = _digest(mask) if mask is not None else str(part.strata[record]).encode()
                if digest in held_out:
                    left_out += 1
                    continue
                if digest in first_label:
                    repeated += 1
                    contrary += label != first_label[digest]
                first_label.setdefault(digest, label)
                kept.append(int(part.strata[record]))
                content.update(pixels)
                file.write(pixels)
                if mask is not None and masks_file is not None:
                    shown += np.bincount(mask.reshape(-1), minlength=classes) > 0
                    content.update(mask.tobytes())
                    masks_file.write(mask.tobytes())
        file.seek(0)
        _header(file, (len(kept), *shape))  # as long as before: the format leaves room for the first number to change
        if masks_file is not None:
            masks_file.seek(0)
            _header(masks_file, (len(kept), *shape[1:]))
    strata = np.asarray(kept, dtype=np.int64)
    np.save(folder / f"{name}-{'labels' if part.read_masked is None else 'strata'}.npy", strata, allow_pickle=False)
    content.update(strata.astype("<i8").tobytes())
    if part.read_masked is None:
        shown = np.bincount(strata, minlength=classes)
    return Written(strata, shown, frozenset(first_label), left_out, repeated, contrary, content.hexdigest())


def _digest(mask: NDArray[np.uint8]) -> bytes:
    return blake2b(mask.tobytes(), digest_size=16).digest()


def _header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
