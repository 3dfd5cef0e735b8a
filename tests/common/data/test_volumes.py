"""Laws of NIfTI volumes."""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data import prepare
from common.data.mask_tables import Structures
from common.data.volumes import Reader, is_volume, read_mask, stem
from common.description import Data
from common.errors import UserError

nibabel = pytest.importorskip("nibabel")

SHAPE = (10, 14, 6)
"""Voxels towards the right, the front and the head."""


def save_volume(file: Path, values: Any, affine: Any = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), file)
    return file


def made(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness, and structures in all slices but the lowest and the highest."""
    generator = np.random.default_rng(seed)
    mask = generator.integers(0, 3, SHAPE, dtype=np.int16)
    mask[:, :, [0, -1]] = 0
    return generator.normal(300, 80, SHAPE).astype(np.float32), mask


def save(folder: Path, count: int, suffix: str = ".nii.gz") -> None:
    for number in range(count):
        image, mask = made(number)
        save_volume(folder / "images" / f"v{number}{suffix}", image)
        save_volume(folder / "masks" / f"v{number}{suffix}", mask)


def test_slices_are_cut_between_front_and_back(tmp_path: Path) -> None:
    image, mask = made(0)
    place = save_volume(tmp_path / "i.nii", image)
    found = read_mask(place, save_volume(tmp_path / "m.nii.gz", mask))
    assert found.shape == (6, 14, 10)
    for right, front, head in ((0, 0, 1), (9, 0, 2), (3, 13, 3)):
        assert found[head, 13 - front, right] == mask[right, front, head], "the front is on top"


def test_however_the_axes_are_stored_the_slices_are_the_same(tmp_path: Path) -> None:
    image, mask = made(0)
    expected = read_mask(save_volume(tmp_path / "i.nii", image), save_volume(tmp_path / "m.nii", mask))
    # stored towards the left and the back, with the third axis first
    affine = np.array([[0, -1, 0, 9], [0, 0, -1, 13], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    for name, values in (("i2.nii", image), ("m2.nii", mask)):
        save_volume(tmp_path / name, np.ascontiguousarray(values.transpose(2, 0, 1)[:, ::-1, ::-1]), affine)
    assert (read_mask(tmp_path / "i2.nii", tmp_path / "m2.nii") == expected).all()


def test_volumes_are_prepared_slice_by_slice_and_split_whole(tmp_path: Path) -> None:
    save(tmp_path / "in", 10)
    dataset = prepare(Data(source=f"masks:{tmp_path / 'in'}", public_fraction=0.3), tmp_path / "cache")
    assert (dataset.task, dataset.image_size, dataset.channels) == ("segmentation", 14, 1)
    assert sum(map(len, (dataset.train, dataset.public, dataset.test))) == 40, "slices without structures are left out"
    assert any("20 without any structure" in note for note in dataset.notes)
    assert any("those of one volume are not" in note for note in dataset.notes)
    masks = [made(number)[1][:, ::-1].transpose(2, 1, 0)[1:-1] for number in range(10)]
    owner = {level.astype(np.uint8).tobytes(): number for number, volume in enumerate(masks) for level in volume}
    owners = []
    for split in (dataset.train, dataset.public, dataset.test):
        assert (split.labels[:, :, :2] == 0).all()
        assert (split.images[:, :, :, -2:] == 0).all(), "what is not square has a black edge"
        owners.append({owner[np.ascontiguousarray(mask[:, 2:-2]).tobytes()] for mask in split.labels})
    assert sum(map(len, owners)) == len(set().union(*owners)) == 10


def test_brightness_is_scaled_by_volume(tmp_path: Path) -> None:
    image, mask = made(1)
    image[0, 0, 0], image[1, 0, 0] = np.nan, 1e9
    place, labels = save_volume(tmp_path / "i.nii", image), save_volume(tmp_path / "m.nii", mask)
    structures = Structures(("a", "b", "c"), np.arange(3), np.arange(3, dtype=np.uint8))
    pixels = np.stack([Reader(structures, 14).slice(place, labels, level)[0] for level in range(6)])[:, :, 2:-2]
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert 100 < pixels.mean() < 155
    order = np.argsort(image[:, ::-1].transpose(2, 1, 0)[2].ravel())
    assert (np.diff(pixels[2].ravel()[order].astype(int)) >= 0).all()
    half, numbers = Reader(structures, 7).slice(place, labels, 3)
    assert half.shape == numbers.shape == (7, 7)


def test_volumes_that_cannot_be_are_a_sentence(tmp_path: Path) -> None:
    image, mask = made(0)
    good = save_volume(tmp_path / "i.nii.gz", image)

    def message(values: Any, affine: Any = None) -> str:
        with pytest.raises(UserError) as caught:
            read_mask(good, save_volume(tmp_path / "m.nii", values, affine))
        return str(caught.value)

    assert "has 10x14x5 voxels, but its image 10x14x6" in message(mask[:, :, :5])
    assert "lies elsewhere than its image" in message(mask, np.diag([1, 1, 2, 1]))
    assert "holds fractions" in message(mask + np.float32(0.5))
    assert "save one volume of three dimensions" in message(np.stack([mask, mask], axis=-1))
    assert read_mask(good, save_volume(tmp_path / "one.nii", mask[..., None])).shape == (6, 14, 10)
    whole = gzip.decompress(good.read_bytes())
    for damage in (b"hello", good.read_bytes()[:200], gzip.compress(whole[:1000])):
        (tmp_path / "m.nii.gz").write_bytes(damage)
        with pytest.raises(UserError, match="cannot be read as a NIfTI volume"):
            read_mask(good, tmp_path / "m.nii.gz")


def test_a_header_that_claims_too_much_costs_no_memory(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    header.set_data_dtype(np.uint8)
    header["vox_offset"] = 352
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + bytes(100))
    with pytest.raises(UserError, match="claims 30000x30000x30000 voxels"):
        read_mask(tmp_path / "huge.nii", tmp_path / "huge.nii")


def test_without_nibabel_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in", 9)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r"pip install 'psreval\[nifti\]'"):
        prepare(Data(source=f"masks:{tmp_path / 'in'}"), tmp_path / "cache")


def test_pictures_and_volumes_do_not_mix(tmp_path: Path) -> None:
    save(tmp_path / "in", 2)
    for kind in ("images", "masks"):
        (tmp_path / "in" / kind / "p.png").write_bytes(b"")
    with pytest.raises(UserError, match="both pictures and NIfTI volumes"):
        prepare(Data(source=f"masks:{tmp_path / 'in'}"), tmp_path / "cache")


def test_names() -> None:
    assert [is_volume(Path(name)) for name in ("a.nii", "a.NII.gz", "a.gz", "nii")] == [True, True, False, False]
    assert [stem(Path(name)) for name in ("a.b.nii.gz", "a.b.nii", "a.b.png")] == ["a.b", "a.b", "a.b"]
