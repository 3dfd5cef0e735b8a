"""Reading and resizing pictures with Pillow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.dataset import Images
from common.errors import UserError
from common.progress import track

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".gif"})
SMALLEST = 8
"""Side in pixels below which no image is taken, as ``data.image_size`` asks."""
BROKEN = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError)
"""What Pillow raises for a file that is no picture."""


def list_pictures(folder: Path) -> list[Path]:
    """Return the picture files directly in ``folder``, by name, without hidden ones. Raises UserError."""
    try:
        found = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != "."]
    except OSError as error:
        raise UserError(f"the folder {folder} could not be read: {error.strerror}") from None
    return sorted(found, key=lambda file: file.name)


def fingerprint(files: Sequence[Path], root: Path) -> list[tuple[str, int, int]]:
    """Return each file's path below ``root``, size in bytes and time of change in nanoseconds."""
    states = [(file, file.stat()) for file in files]
    return [(file.relative_to(root).as_posix(), state.st_size, state.st_mtime_ns) for file, state in states]


def read_picture(file: Path, channels: int, size: int) -> Images:
    """Return one picture as uint8 [channels, size, size], grey (1) or colour (3), resized where it differs.

    Raises:
        UserError: the file is corrupt, no picture, or has 16 bits a pixel.
    """
    mode = "L" if channels == 1 else "RGB"
    try:
        with Image.open(file) as picture:
            if picture.mode[0] in "IF":
                raise UserError(f"{file} has more than 8 bits a pixel; convert it to an 8-bit picture first")
            if min(picture.size) > 4 * size:
                picture.draft(None, (2 * size, 2 * size))  # JPEG: decode at a fraction of the size, still twice ours
            pixels = picture.convert(mode)
            if pixels.size != (size, size):
                pixels = pixels.resize((size, size), Image.Resampling.BILINEAR)
            array = np.asarray(pixels, dtype=np.uint8)
    except BROKEN as error:
        raise UserError(f"{file} cannot be read as a picture ({error}); replace or remove it") from None
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def read_pictures(files: Sequence[Path], channels: int, size: int) -> Images:
    """Return pictures as uint8 [N, channels, size, size]. Raises UserError as ``read_picture``."""
    return np.stack([read_picture(file, channels, size) for file in files])


def common_side(files: Sequence[Path], wanted: int | None) -> int:
    """Return the side in pixels: as wanted, else the one that all ``files`` have.

    Raises:
        UserError: pictures of differing sizes, not square, or smaller than 8 pixels, and none wanted.
    """
    if wanted is not None:
        return wanted
    first: tuple[int, int] | None = None
    for file in track(files, "measuring pictures", len(files)):
        try:
            with Image.open(file) as picture:
                size = picture.size
        except BROKEN as error:
            raise UserError(f"{file} cannot be read as a picture ({error}); replace or remove it") from None
        if first is not None and size != first:
            raise UserError(
                f"pictures differ in size: {files[0]} is {first[0]}x{first[1]}, {file.name} is {size[0]}x{size[1]}; "
                "set data.image_size"
            )
        first = size
    assert first is not None
    check_side(first[1], first[0], f"the pictures beside {files[0]}")
    return first[0]


def check_side(height: int, width: int, what: str) -> None:
    """Refuse images that cannot be taken at their own size. Raises UserError."""
    if height != width:
        raise UserError(f"{what} are {width}x{height} pixels, not square; set data.image_size to resize them")
    if not SMALLEST <= height <= 1024:
        raise UserError(f"{what} are {width}x{height} pixels; set data.image_size, from {SMALLEST} to 1024")


def is_grey(file: Path) -> bool:
    """Tell whether a picture holds no colour, whatever its file's mode. Raises UserError."""
    try:
        with Image.open(file) as picture:
            if picture.mode in ("1", "L", "LA"):
                return True
            picture.draft(None, (64, 64))
            pixels = np.asarray(picture.convert("RGB"), dtype=np.int16)
    except BROKEN as error:
        raise UserError(f"{file} cannot be read as a picture ({error}); replace or remove it") from None
    return bool(np.abs(pixels - pixels[..., :1]).max() <= 2)  # JPEG's colour transform may be off by a level or two


def resize(images: NDArray[np.uint8], size: int) -> Images:
    """Return uint8 images [M, C, H, W] as [M, C, size, size]."""
    if images.shape[2:] == (size, size):
        return images
    planes = images.reshape(-1, *images.shape[2:])
    resized = [
        np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
        for plane in planes
    ]
    return np.stack(resized).reshape(*images.shape[:2], size, size)


def resize_masks(masks: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return masks, uint8 [M, H, W], as [M, size, size]: of each pixel the nearest one's class, never one between."""
    if masks.shape[1:] == (size, size):
        return masks
    return np.stack(
        [np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST), np.uint8) for mask in masks]
    )
