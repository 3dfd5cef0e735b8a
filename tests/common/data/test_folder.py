"""Laws of picture folders."""

import os
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from common.data import folder
from common.description import Data
from common.errors import UserError
from tests.common.data.picture_files import save_picture


def make(root: Path, *parts: str, count: int = 4, mode: str = "L") -> Data:
    for part in parts:
        for number in range(count):
            save_picture(root / part / f"{number}.png", crc32(f"{part} {number}".encode()), mode=mode)
    return Data(source=f"folder:{root}")


def test_the_users_split_is_kept(tmp_path: Path) -> None:
    data = make(tmp_path, "train/ill", "train/well", "Val/ill", "test/ill", "test/well", "._junk/x")
    opened = folder.locate(data, tmp_path).open()
    assert opened.classes == ("ill", "well")
    assert opened.train.strata.tolist() == [0] * 4 + [1] * 4
    assert opened.public is not None
    assert opened.test is not None
    assert [len(opened.public.strata), len(opened.test.strata)] == [4, 8]
    assert opened.channels == 1
    assert opened.train.read(np.array([0, 7])).shape == (2, 1, 12, 12)


def test_classes_alone_are_left_for_us_to_split(tmp_path: Path) -> None:
    opened = folder.locate(make(tmp_path, "a", "b", "c", mode="RGB"), tmp_path).open()
    assert (opened.public, opened.test, opened.channels) == (None, None, 3)
    assert any("one by one" in note for note in opened.notes)


def test_a_changed_file_changes_the_fingerprint(tmp_path: Path) -> None:
    data = make(tmp_path, "a", "b")
    before = folder.locate(data, tmp_path).fingerprint
    assert folder.locate(data, tmp_path).fingerprint == before
    os.utime(tmp_path / "a" / "0.png", ns=(1, 1))
    touched = folder.locate(data, tmp_path).fingerprint
    (tmp_path / "a" / "0.png").unlink()
    assert len({before, touched, folder.locate(data, tmp_path).fingerprint}) == 3


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "at least two folders of pictures"),
        (("only",), "at least two folders of pictures"),
        (("train/a", "test/a"), "at least two folders of pictures"),
        (("test/a", "test/b"), "has test/ but no train/"),
        (("train/a", "train/b", "test/c"), "has the class 'c', which"),
    ],
)
def test_another_layout_is_a_sentence(tmp_path: Path, parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        folder.locate(make(tmp_path, *parts), tmp_path)


def test_an_empty_class_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    data = make(tmp_path, "train/a", "train/b")
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(UserError, match="train/c holds no pictures"):
        folder.locate(data, tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        folder.locate(Data(source=f"folder:{tmp_path / 'none'}"), tmp_path)
