"""Writing a split's images as one .npy file, piece by piece, leaving out those that another split holds."""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from common.data.dataset import Labels
from common.data.source import Part
from common.data.splits import Index
from common.progress import track

_PIECE = 2**20
"""About so many pixels are read, and held, at once."""


@dataclass(frozen=True, eq=False)
class Written:
    """What was written of a split.

    Attributes:
        labels: int64 [N] of the images written.
        digests: of their pixels.
        left_out: images not written, as a split written earlier holds them.
        repeated: images that equal an earlier one of this split.
        contrary: those of them whose label is not the earlier one's.
        checksum: SHA-256 of labels and pixels.
    """

    labels: Labels
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
    held_out: Collection[bytes],
    title: str,
) -> Written:
    """Write ``NAME-images.npy`` (uint8 [N, C, S, S]) and ``NAME-labels.npy`` (int64 [N]) and return what they hold.

    Args:
        folder: where.
        name: of the split.
        part: what to read from.
        index: the records wanted.
        shape: (C, S, S) of one image.
        held_out: digests of images to leave out.
        title: for progress.

    Raises:
        UserError: an unreadable image.
        OSError: the disk is full.
    """
    step = max(4, min(32, _PIECE // (4 * shape[1] * shape[2])))
    starts = range(0, len(index), step)
    kept: list[int] = []
    first_label: dict[bytes, int] = {}
    left_out = repeated = contrary = 0
    content = sha256()
    # plain writes, not a memory map: a full disk is then an exception and not a signal that kills the process
    with (folder / f"{name}-images.npy").open("wb") as file:
        _header(file, (len(index), *shape))
        for start in track(starts, title, len(starts)):
            records = index[start : start + step]
            images = part.read(records)
            assert images.shape == (len(records), *shape)
            assert images.dtype == np.uint8
            for record, image in zip(records, images, strict=True):
                pixels = image.tobytes()
                digest = blake2b(pixels, digest_size=16).digest()
                label = int(part.labels[record])
                if digest in held_out:
                    left_out += 1
                    continue
                if digest in first_label:
                    repeated += 1
                    contrary += label != first_label[digest]
                first_label.setdefault(digest, label)
                kept.append(label)
                content.update(pixels)
                file.write(pixels)
        file.seek(0)
        _header(file, (len(kept), *shape))  # as long as before: the format leaves room for the first number to change
    labels = np.asarray(kept, dtype=np.int64)
    np.save(folder / f"{name}-labels.npy", labels, allow_pickle=False)
    content.update(labels.astype("<i8").tobytes())
    return Written(labels, frozenset(first_label), left_out, repeated, contrary, content.hexdigest())


def _header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
