"""Laws of reading pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.pictures import common_side, is_grey, list_pictures, read_picture, read_pictures, resize
from common.errors import UserError
from tests.common.data.picture_files import save_picture


def test_a_picture_of_the_size_wanted_is_read_bit_for_bit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png", 3, 10) == pixels.transpose(2, 0, 1)).all()
    assert read_picture(tmp_path / "a.png", 1, 10).shape == (1, 10, 10)


def test_a_resized_constant_stays_constant(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (40, 40, 40)).save(tmp_path / "a.jpeg", quality=100)
    found = read_pictures([tmp_path / "a.jpeg"] * 2, 1, 16)
    assert found.shape == (2, 1, 16, 16)
    assert np.abs(found.astype(int) - 40).max() <= 1
    assert (resize(np.full((2, 3, 9, 7), 77, dtype=np.uint8), 5) == 77).all()


def test_halving_averages_neighbours() -> None:
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))[None, None]
    half = resize(ramp, 8)[0, 0, 4, 2:6].astype(float)
    assert np.abs(half - (ramp[0, 0, 0, 4:12:2] / 2.0 + ramp[0, 0, 0, 5:12:2] / 2.0)).max() <= 1


def test_only_visible_picture_files_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "._a.jpg", ".DS_Store", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in list_pictures(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(UserError, match="could not be read"):
        list_pictures(tmp_path / "none")


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_corrupt_picture_is_named(tmp_path: Path, keep: int) -> None:
    save_picture(tmp_path / "broken.png", 0, (40, 40))
    (tmp_path / "broken.png").write_bytes((tmp_path / "broken.png").read_bytes()[:keep])
    with pytest.raises(UserError, match=r"broken\.png cannot be read as a picture"):
        read_picture(tmp_path / "broken.png", 1, 40)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9), 60_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png has more than 8 bits"):
        read_picture(tmp_path / "deep.png", 1, 9)


def test_the_side_is_the_one_all_pictures_have(tmp_path: Path) -> None:
    for number, size in enumerate([(12, 12), (12, 12), (14, 12)]):
        save_picture(tmp_path / f"{number}.png", number, size)
    files = list_pictures(tmp_path)
    assert common_side(files[:2], None) == 12
    assert common_side(files, 9) == 9
    with pytest.raises(UserError, match=r"differ in size: .*0.png is 12x12, 2.png is 14x12; set data.image_size"):
        common_side(files, None)
    with pytest.raises(UserError, match="14x12 pixels, not square"):
        common_side(files[2:], None)
    save_picture(tmp_path / "small.png", 1, (4, 4))
    with pytest.raises(UserError, match="from 8 to 1024"):
        common_side([tmp_path / "small.png"], None)
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"x\.png cannot be read"):
        common_side([tmp_path / "x.png"], None)


def test_grey_is_told_by_pixels_not_by_mode(tmp_path: Path) -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8), 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.jpg")
    Image.fromarray(grey).convert("L").save(tmp_path / "l.png")
    save_picture(tmp_path / "colour.png", 0, mode="RGB")
    assert [is_grey(tmp_path / name) for name in ("grey.jpg", "l.png", "colour.png")] == [True, True, False]
