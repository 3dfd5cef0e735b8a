"""Checking images and labels that come as arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.dataset import Images, Labels, Masks, Strata
from common.data.mask_tables import ALL
from common.data.pictures import check_side, resize, resize_masks
from common.data.source import Opened, Part, masked_part, no_records
from common.errors import UserError

Pair = tuple[NDArray[np.uint8], Labels]


def check_pair(images: Any, labels: Any, what: str) -> Pair:
    """Return images as uint8 [N, H, W, C] and labels as int64 [N], or say what is wrong with them.

    Masks, which have the class of every pixel, are returned as uint8 [N, H, W].

    Args:
        images: uint8 [N, H, W] or [N, H, W, C] with C 1 or 3.
        labels: whole numbers from 0, [N] or [N, 1]; masks [N, H, W].
        what: which pair, for the message, e.g. ``"npz:x.npz, train"``.

    Raises:
        UserError: any other type, shape or value.
    """
    pixels, numbers = _array(images, what), _array(labels, what)
    if pixels.dtype != np.uint8:
        raise UserError(f"{what}: images must be uint8 from 0 to 255, but are {pixels.dtype}")
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3) or 0 in pixels.shape:
        shape = "x".join(map(str, np.shape(images)))
        raise UserError(f"{what}: images must be [N, H, W] or [N, H, W, C] with 1 or 3 channels, but are {shape}")
    if not np.issubdtype(numbers.dtype, np.integer):
        raise UserError(f"{what}: labels must be whole numbers, but are {numbers.dtype}")
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    masked = numbers.shape[1:] == pixels.shape[1:3]
    if numbers.ndim != 1 and not masked:
        shape = "x".join(map(str, numbers.shape))
        raise UserError(f"{what}: labels must be one class number an image, or a pixel, but have shape {shape}")
    if len(numbers) != len(pixels):
        raise UserError(f"{what}: there are {len(pixels)} images but {len(numbers)} labels")
    most = 255 if masked else 9999
    if int(numbers.min()) < 0 or int(numbers.max()) > most:
        raise UserError(
            f"{what}: labels must count from 0 to {most} at most, but go from {numbers.min()} to {numbers.max()}"
        )
    return pixels, numbers.astype(np.uint8 if masked else np.int64)


def open_arrays(
    pairs: dict[str, Pair],
    names: tuple[str, ...] | None,
    wanted: int | None,
    what: str,
    *,
    synthetic: bool = False,
    strata: Mapping[str, Strata] | None = None,
    bands: tuple[str, ...] = (),
) -> Opened:
    """Return checked ``pairs`` (at least one of "train", "public" and "test") as a source.

    Args:
        pairs: as ``check_pair`` returns them.
        names: the classes' names; None: "class 0", "class 1" …, or of masks "background", "structure 1" …
        wanted: ``data.image_size``.
        what: the source, for messages.
        synthetic: whether no image was ever taken of anybody or anything.
        strata: of masks, where the source has them: int64 [N] by part, positions in ``bands``.
        bands: the strata's names.

    Raises:
        UserError: images or labels that differ in kind between the pairs, or a label beyond the names.
    """
    first = next(iter(pairs))
    height, width, channels = pairs[first][0].shape[1:]
    masked = pairs[first][1].ndim > 1
    for part, (images, labels) in pairs.items():
        if images.shape[3] != channels:
            raise UserError(f"{what}: {first} images have {channels} channels but {part} images {images.shape[3]}")
        if (labels.ndim > 1) != masked:
            raise UserError(f"{what}: {first} and {part} differ: labels must be masks in all of them, or in none")
        if wanted is None and images.shape[1:3] != (height, width):
            raise UserError(
                f"{what}: {first} images are {width}x{height} but {part} images {images.shape[2]}x{images.shape[1]}; "
                "set data.image_size"
            )
        if names is not None and int(labels.max()) >= len(names):
            raise UserError(
                f"{what}: {part} has label {labels.max()}, but there are only {len(names)} classes ({', '.join(names)})"
            )
    if wanted is None:
        check_side(height, width, f"{what}: images")
    classes = names or _names(1 + max(int(labels.max()) for _, labels in pairs.values()), masked)
    size = wanted or height
    if masked:
        known = strata or {part: np.zeros(len(labels), dtype=np.int64) for part, (_, labels) in pairs.items()}
        parts = {part: _masked(images, masks, known[part], size) for part, (images, masks) in pairs.items()}
    else:
        parts = {part: _part(images, labels, size) for part, (images, labels) in pairs.items()}
    train = parts.get("train") or no_records(channels, size, "segmentation" if masked else "classification")
    told = (bands if strata is not None else (ALL,)) if masked else ()
    return Opened(classes, channels, size, train, parts.get("public"), parts.get("test"), synthetic, bands=told)


def _names(count: int, masked: bool) -> tuple[str, ...]:
    if masked:
        return ("background", *(f"structure {number}" for number in range(1, count)))
    return tuple(f"class {number}" for number in range(count))


def _part(images: NDArray[np.uint8], labels: Labels, size: int) -> Part:
    return Part(labels.astype(np.int64, copy=False), lambda index: _pictures(images[index], size))


def _masked(images: NDArray[np.uint8], masks: Labels, strata: Strata, size: int) -> Part:
    def read(index: NDArray[np.int64]) -> tuple[Images, Masks]:
        return _pictures(images[index], size), resize_masks(masks[index].astype(np.uint8, copy=False), size)

    return masked_part(strata, read)


def _pictures(images: NDArray[np.uint8], size: int) -> Images:
    return resize(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), size)


def _array(value: Any, what: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except Exception as error:
        raise UserError(
            f"{what}: expected an array of images or labels, got {type(value).__name__} ({error})"
        ) from None
