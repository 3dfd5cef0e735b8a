"""Slices of NIfTI volumes, read by nibabel, which is not installed unless it is asked for."""

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.dataset import Images, Masks
from common.data.mask_tables import Structures
from common.errors import UserError

SUFFIXES = (".nii", ".nii.gz")
LARGEST = 2**30
"""Numbers in one volume that are read at most: a header may claim any size."""
_APART = 0.01
"""Millimetres by which image and mask may lie apart."""

Shape = tuple[int, int]


def is_volume(file: Path) -> bool:
    """Tell whether a file is a NIfTI volume, by its name."""
    return file.name.lower().endswith(SUFFIXES)


def stem(file: Path) -> str:
    """Return a picture's or volume's name without its suffix."""
    return file.name[: -len(".nii.gz")] if file.name.lower().endswith(".nii.gz") else file.stem


def read_mask(image: Path, mask: Path) -> NDArray[np.int64]:
    """Return a volume's mask as whole numbers [Z, H, W]: axial slices from below, the front on top.

    Raises:
        UserError: nibabel is not installed; a file is unreadable, not three-dimensional or too large; the two differ in
            shape or place; or the mask holds fractions.
    """
    scan, labels = _load(image), _load(mask)
    if scan.shape != labels.shape:
        told = ["x".join(map(str, volume.shape)) for volume in (scan, labels)]
        raise UserError(f"{mask} has {told[1]} voxels, but its image {told[0]}; make them equal")
    if not np.allclose(scan.affine, labels.affine, atol=_APART):
        raise UserError(
            f"{mask} says that it lies elsewhere than its image (their affines differ); give it its image's header"
        )
    values = _values(labels, mask)
    whole = np.rint(values).astype(np.int64)
    if not (whole == values).all():
        raise UserError(f"{mask} holds fractions; save the number of each voxel's structure as whole numbers")
    return _axial(whole)


class Reader:
    """Reads slices, and holds the last volume, since slices of one come one after the other."""

    def __init__(self, structures: Structures, size: int) -> None:
        """Give masks as numbers of ``structures``, and slices ``size`` pixels wide."""
        self._structures = structures
        self._size = size
        self._volume = functools.lru_cache(maxsize=1)(self._read)

    def slice(self, image: Path, mask: Path, level: int) -> tuple[Images, Masks]:
        """Return one slice and its mask, uint8 [S, S] both; ``level`` counts from below. Raises as ``read_mask``."""
        pixels, numbers = self._volume(image, mask)
        return (
            _fit(pixels[level], self._size, Image.Resampling.BILINEAR),
            _fit(numbers[level], self._size, Image.Resampling.NEAREST),
        )

    def _read(self, image: Path, mask: Path) -> tuple[Images, Masks]:
        numbers = self._structures.number(read_mask(image, mask), str(mask))
        return _grey(_axial(_values(_load(image), image))), numbers


def _load(file: Path) -> Any:
    try:
        nibabel = importlib.import_module("nibabel")
    except ImportError:
        raise UserError(
            f"{file} is a NIfTI volume, which nibabel reads; install it: pip install 'psreval[nifti]'"
        ) from None
    try:
        volume = nibabel.load(file)
        shape = tuple(int(length) for length in volume.shape)
        if len(shape) == 4 and shape[3] == 1:
            volume, shape = nibabel.funcs.four_to_three(volume)[0], shape[:3]
    except Exception as error:  # nibabel raises whatever its many readers do
        raise UserError(f"{file} cannot be read as a NIfTI volume ({type(error).__name__}: {error})") from None
    if len(shape) != 3 or 0 in shape:
        raise UserError(f"{file} has {'x'.join(map(str, shape))} voxels; save one volume of three dimensions a file")
    if np.prod(shape, dtype=np.float64) > LARGEST:
        raise UserError(f"{file} claims {'x'.join(map(str, shape))} voxels, more than {LARGEST}; crop or resample it")
    return nibabel.as_closest_canonical(volume)  # axes towards the patient's right, front and head


def _values(volume: Any, file: Path) -> NDArray[np.float32]:
    try:
        values = np.asarray(volume.dataobj, dtype=np.float32)
    except Exception as error:  # a file that ends early, damaged compression
        raise UserError(f"{file} cannot be read as a NIfTI volume ({type(error).__name__}: {error})") from None
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _axial(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values[:, ::-1].transpose(2, 1, 0))


def _grey(values: NDArray[np.float32]) -> Images:
    low, high = np.percentile(values, (0.5, 99.5))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    span = max(float(high - low), 1e-12)
    pixels: Images = np.rint(np.clip((values - np.float32(low)) / np.float32(span), 0, 1) * 255).astype(np.uint8)
    return pixels


def _fit(plane: NDArray[np.uint8], size: int, resampling: Image.Resampling) -> NDArray[np.uint8]:
    """Return a slice in the middle of a square, black beside it, at ``size`` pixels."""
    height, width = plane.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.pad(plane, ((top, side - height - top), (left, side - width - left)))
    if side == size:
        return square
    return np.asarray(Image.fromarray(square).resize((size, size), resampling), dtype=np.uint8)
