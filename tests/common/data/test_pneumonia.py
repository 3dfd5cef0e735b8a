"""Laws of the chest X-ray folders."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from common.data import pneumonia
from common.description import Data
from common.errors import UserError
from tests.common.data.picture_files import save_picture


def make(root: Path, extra: str | None = None) -> None:
    names = ["NORMAL/IM-0001-0001", "NORMAL/NORMAL2-IM-0002-0001", "PNEUMONIA/person7_bacteria_1"]
    names += ["PNEUMONIA/person7_virus_2"]
    for part in ("train", "val", "test"):
        for number, name in enumerate(names):
            save_picture(root / part / f"{name}.jpeg", number)
    if extra:
        save_picture(root / "train" / "PNEUMONIA" / extra, 9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("person1000_bacteria_2931.jpeg", "person 1000"),
        ("person1000_virus_1681.jpeg", "person 1000"),
        ("IM-0115-0001.jpeg", "IM 115"),
        ("NORMAL2-IM-0115-0001-0002.jpeg", "IM 115"),
        ("scan.png", "scan.png"),
    ],
)
def test_the_file_name_tells_the_patient(name: str, expected: str) -> None:
    assert pneumonia.patient(Path("x") / name) == expected


@pytest.mark.parametrize(("classes", "labels"), [(2, [0, 0, 1, 1]), (3, [0, 0, 1, 2])])
def test_the_file_name_tells_the_class(tmp_path: Path, classes: Literal[2, 3], labels: list[int]) -> None:
    make(tmp_path)
    opened = pneumonia.locate(Data(source="pneumonia", path=str(tmp_path), classes=classes), tmp_path).open()
    assert opened.train.strata.tolist() == labels * 2, "val joins train"
    assert opened.public is None
    assert opened.test is not None
    assert opened.test.strata.tolist() == labels
    assert len(opened.classes) == classes
    assert opened.train.groups == ("IM 1", "IM 2", "person 7", "person 7") * 2


def test_it_is_found_where_it_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PSREVAL_DATA", raising=False)
    with pytest.raises(UserError, match=r"no folder with train/NORMAL.*data/chest_xray"):
        pneumonia.locate(Data(source="pneumonia"), tmp_path)
    make(tmp_path / "data" / "chest_xray" / "chest_xray")
    here = pneumonia.locate(Data(source="pneumonia"), tmp_path)
    make(tmp_path / "elsewhere" / "chest_xray")
    monkeypatch.setenv("PSREVAL_DATA", str(tmp_path / "elsewhere"))
    there = pneumonia.locate(Data(source="pneumonia"), tmp_path)
    named = pneumonia.locate(Data(source="pneumonia", path=str(tmp_path / "elsewhere")), tmp_path)
    assert here.fingerprint != there.fingerprint == named.fingerprint
    with pytest.raises(UserError, match="no folder with"):
        pneumonia.locate(Data(source="pneumonia", path=str(tmp_path / "none")), tmp_path)


def test_a_name_without_pathogen_needs_two_classes(tmp_path: Path) -> None:
    make(tmp_path, "scan17.jpeg")
    with pytest.raises(UserError, match=r"scan17\.jpeg carries neither 'bacteria' nor 'virus'.*data.classes = 2"):
        pneumonia.locate(Data(source="pneumonia", path=str(tmp_path)), tmp_path)
    assert pneumonia.locate(Data(source="pneumonia", path=str(tmp_path), classes=2), tmp_path)


def test_the_real_x_rays(real_data: Path, tmp_path: Path) -> None:
    data = Data(source="pneumonia", path=str(real_data / "chest_xray"), image_size=32)
    opened = pneumonia.locate(data, tmp_path).open()
    assert opened.test is not None
    assert np.bincount(opened.train.strata).tolist() == [1349, 2538, 1345]
    assert np.bincount(opened.test.strata).tolist() == [234, 242, 148]
    assert opened.train.read(np.array([0, 5231])).shape == (2, 1, 32, 32)
