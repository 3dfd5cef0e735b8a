"""Laws of writing a split."""

from pathlib import Path

import numpy as np

from common import progress
from common.data.source import Part, masked_part
from common.data.writing import Written, write_part


def write(folder: Path, images: np.ndarray, labels: list[int], held_out: frozenset[bytes] = frozenset()) -> Written:
    part = Part(np.array(labels, dtype=np.int64), lambda index: images[index])
    return write_part(folder, "x", part, np.arange(len(labels)), images.shape[1:], 7, held_out, "x")


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    images = np.load(folder / "x-images.npy", mmap_mode="r", allow_pickle=False)
    return images, np.load(folder / "x-labels.npy", allow_pickle=False)


def some(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    images, labels = some(1005), [number % 7 for number in range(1005)]
    written = write(tmp_path, images, labels)
    found, numbers = read(tmp_path)
    assert (found == images).all()
    assert numbers.tolist() == labels == written.strata.tolist()
    assert (written.left_out, written.repeated, written.contrary) == (0, 0, 0)


def test_images_held_out_are_left_out_however_many(tmp_path: Path) -> None:
    images = some(1005)
    held = write(tmp_path, images[:1000], [0] * 1000).digests
    written = write(tmp_path, images, [1] * 1005, held)
    found, numbers = read(tmp_path)
    assert (found == images[1000:]).all()
    assert numbers.tolist() == [1] * 5
    assert written.left_out == 1000
    assert (tmp_path / "x-images.npy").stat().st_size == 128 + 5 * 192


def test_repeats_within_are_kept_and_counted(tmp_path: Path) -> None:
    images = some(3)[[0, 1, 0, 0, 2]]
    written = write(tmp_path, images, [0, 1, 0, 1, 1])
    assert (written.repeated, written.contrary, len(written.strata)) == (2, 1, 5)


def test_the_checksum_depends_on_pixels_labels_and_order(tmp_path: Path) -> None:
    images = some(4)
    made = [
        write(tmp_path, images, [0, 1, 0, 1]),
        write(tmp_path, images, [0, 1, 1, 1]),
        write(tmp_path, images[[1, 0, 2, 3]], [0, 1, 0, 1]),
    ]
    assert len({written.checksum for written in made}) == 3
    assert write(tmp_path, images, [0, 1, 0, 1]).checksum == made[0].checksum


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    progress.show_with(lambda title, done, total: told.append((title, done, total)))
    try:
        write(tmp_path, some(100), [0] * 100)
    finally:
        progress.show_with(None)
    assert told[0] == ("x", 0, 4)
    assert told[-1] == ("x", 4, 4)


def test_masks_are_written_beside_their_images(tmp_path: Path) -> None:
    images = some(9)[[0, 1, 2, 3, 4, 5, 6, 0, 1]]
    masks = np.random.default_rng(1).integers(0, 3, (9, 8, 8), dtype=np.uint8)
    masks[7] = masks[0]
    masks[6] = 1
    part = masked_part(np.arange(9) // 5, lambda index: (images[index], masks[index]))
    held = write(tmp_path, images[4:5], [0]).digests
    written = write_part(tmp_path, "x", part, np.arange(9), (3, 8, 8), 4, held, "x")
    found, labels = read(tmp_path)
    rest = [0, 1, 2, 3, 5, 6, 7, 8]
    assert (found == images[rest]).all()
    assert labels.dtype == np.uint8
    assert (labels == masks[rest]).all()
    assert np.load(tmp_path / "x-strata.npy").tolist() == written.strata.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert written.shown.tolist() == [7, 8, 7, 0]
    assert (written.left_out, written.repeated, written.contrary) == (1, 2, 1)
