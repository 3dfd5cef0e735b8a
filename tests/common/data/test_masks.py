"""Laws of folders of pictures with masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data import HOSPITAL_PARTS, SERVER_PARTS, prepare
from common.description import Data
from common.errors import UserError
from tests.common.data.picture_files import save_picture

NAMES = "background\none\ntwo\n"


def save_mask(file: Path, seed: int, size: tuple[int, int] = (12, 12), top: int = 3) -> np.ndarray:
    """Write a random mask of (width, height) pixels with the values below ``top``, and return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    mask = np.random.default_rng(seed).integers(0, top, size[::-1], dtype=np.uint8)
    Image.fromarray(mask).save(file)
    return mask


def save(folder: Path, count: int, seed: int = 0, top: int = 3) -> None:
    for number in range(count):
        save_picture(folder / "images" / f"p{number}.png", 1000 * seed + number)
        save_mask(folder / "masks" / f"p{number}.png", 1000 * seed + number, top=top)


def source(folder: Path, **more: object) -> Data:
    return Data.model_validate({"source": f"masks:{folder}", **more})


def message(folder: Path, **more: object) -> str:
    with pytest.raises(UserError) as caught:
        prepare(source(folder, **more), folder / "cache")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_users_split_is_kept_with_its_masks(tmp_path: Path) -> None:
    for part, count in (("train", 20), ("val", 9), ("Test", 6)):
        save(tmp_path / "in" / part, count, seed=len(part) + count)
    (tmp_path / "in" / "classes.txt").write_text(NAMES)
    dataset = prepare(source(tmp_path / "in"), tmp_path / "cache")
    assert (dataset.task, dataset.classes, dataset.source) == ("segmentation", ("background", "one", "two"), "masks:in")
    assert [len(split) for split in (dataset.train, dataset.public, dataset.test)] == [20, 9, 6]
    for record in range(6):
        image = np.asarray(Image.open(tmp_path / "in" / "Test" / "images" / f"p{record}.png"))
        mask = np.asarray(Image.open(tmp_path / "in" / "Test" / "masks" / f"p{record}.png"))
        assert (dataset.test.images[record, 0] == image).all()
        assert (dataset.test.labels[record] == mask).all()


def test_what_a_hospital_and_a_server_hold(tmp_path: Path) -> None:
    save(tmp_path / "h", 12, seed=1)
    save(tmp_path / "s" / "public", 9, seed=2)
    save(tmp_path / "s" / "test", 6, seed=3)
    for place in "hs":
        (tmp_path / place / "classes.txt").write_text(NAMES)
    hospital = prepare(source(tmp_path / "h"), tmp_path / "cache", needs=HOSPITAL_PARTS)
    server = prepare(source(tmp_path / "s"), tmp_path / "cache", needs=SERVER_PARTS)
    assert [len(split) for split in (hospital.train, hospital.public, hospital.test)] == [12, 0, 0]
    assert [len(split) for split in (server.train, server.public, server.test)] == [0, 9, 6]
    assert "has no train/" in message(tmp_path / "s")


def test_patients_are_never_in_two_splits(tmp_path: Path) -> None:
    save(tmp_path / "in", 60)
    rows = [f"p{number},patient {number // 6},{20 + number // 6 * 7}" for number in range(60)]
    (tmp_path / "in" / "strata.csv").write_text("name,patient,age\n" + "\n".join(rows))
    dataset = prepare(source(tmp_path / "in", public_fraction=0.3), tmp_path / "cache")
    pictures = [np.asarray(Image.open(tmp_path / "in" / "images" / f"p{number}.png")) for number in range(60)]
    place = {picture.tobytes(): number for number, picture in enumerate(pictures)}
    patients = [
        {place[image.tobytes()] // 6 for image in split.images}
        for split in (dataset.train, dataset.public, dataset.test)
    ]
    assert sum(map(len, patients)) == 10
    assert len(set().union(*patients)) == 10
    assert dataset.strata_names == tuple(f"{start} to {start + 9} years" for start in range(20, 90, 10))
    assert sum(map(len, (dataset.train, dataset.public, dataset.test))) == 60
    assert not any("one by one" in note for note in dataset.notes)
    assert any("those of one patient are not" in note for note in dataset.notes)


def test_one_patient_alone_cannot_be_split(tmp_path: Path) -> None:
    save(tmp_path / "in", 20)
    rows = [f"p{number},the same" for number in range(20)]
    (tmp_path / "in" / "strata.csv").write_text("name,patient\n" + "\n".join(rows))
    assert "its 20 images are of one patient or volume" in message(tmp_path / "in")


def test_pictures_of_different_patients_are_independent(tmp_path: Path) -> None:
    save(tmp_path / "in", 40)
    rows = [f"p{number},{number}" for number in range(40)]
    (tmp_path / "in" / "strata.csv").write_text("name,patient\n" + "\n".join(rows))
    dataset = prepare(source(tmp_path / "in", public_fraction=0.3), tmp_path / "cache")
    assert not any("too narrow" in note for note in dataset.notes)


def test_one_patient_in_two_parts_is_a_sentence(tmp_path: Path) -> None:
    save(tmp_path / "in" / "train", 20, seed=1)
    save(tmp_path / "in" / "test", 20, seed=2)
    text = "name,patient\n" + "\n".join(f"p{number},x{number}" for number in range(20))
    (tmp_path / "in" / "strata.csv").write_text(text)
    assert "patient 'x0' is in train and in test" in message(tmp_path / "in")
    for part in ("train", "test"):  # each part's own table comes first
        (tmp_path / "in" / part / "strata.csv").write_text(text.replace(",x", f",{part}"))
    assert len(prepare(source(tmp_path / "in", public_fraction=0.5), tmp_path / "cache").test) == 20


def test_masks_keep_their_values_at_another_size(tmp_path: Path) -> None:
    save(tmp_path / "in", 20)
    (tmp_path / "in" / "classes.txt").write_text("0: none\n1: a\n2: a\n")
    dataset = prepare(source(tmp_path / "in", image_size=24, public_fraction=0.5), tmp_path / "cache")
    assert dataset.classes == ("none", "a")
    twice = np.asarray(dataset.train.labels)
    assert (twice[:, ::2, ::2] == twice[:, 1::2, 1::2]).all()
    assert set(np.unique(twice)) == {0, 1}
    assert any("one by one" in note for note in dataset.notes)


@pytest.mark.parametrize("mode", ["P", "1", "I;16", "RGB", "LA", "RGBA"])
def test_masks_of_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    save(tmp_path / "in", 20, top=2)
    (tmp_path / "in" / "classes.txt").write_text("none\na\n")
    data = source(tmp_path / "in", public_fraction=0.5)
    plain = np.asarray(prepare(data, tmp_path / "a").train.labels)
    for file in (tmp_path / "in" / "masks").iterdir():
        mask = np.array(Image.open(file))
        made = Image.fromarray(mask.astype(np.uint16) if mode == "I;16" else mask.astype(bool) if mode == "1" else mask)
        if mode == "P":
            made.putpalette([200, 10, 10, 20, 250, 30] + [0] * 762)
        (made.convert(mode) if mode in ("RGB", "LA", "RGBA") else made).save(file)
    assert (
        np.asarray(prepare(source(tmp_path / "in", public_fraction=0.5), tmp_path / "b").train.labels) == plain
    ).all()


def test_a_change_of_a_mask_or_a_table_is_prepared_anew(tmp_path: Path) -> None:
    save(tmp_path / "in", 100)
    before = prepare(source(tmp_path / "in"), tmp_path / "cache")
    assert before.classes == ("background", "structure 1", "structure 2")
    (tmp_path / "in" / "classes.txt").write_text(NAMES)
    named = prepare(source(tmp_path / "in"), tmp_path / "cache")
    save_mask(tmp_path / "in" / "masks" / "p3.png", 77)
    after = prepare(source(tmp_path / "in"), tmp_path / "cache")
    assert len({before.checksum, named.checksum, after.checksum}) == 3


def test_layouts_that_cannot_be_are_a_sentence(tmp_path: Path) -> None:
    assert "there is no folder" in message(tmp_path / "none")
    (tmp_path / "a").mkdir()
    assert "the layout is DIR/train/images/X.png" in message(tmp_path / "a")
    (tmp_path / "a" / "images").mkdir()
    (tmp_path / "a" / "masks").mkdir()
    assert "holds no pictures" in message(tmp_path / "a")
    save(tmp_path / "a", 9)
    (tmp_path / "a" / "masks" / "p3.png").unlink()
    assert "images/p3.png has no mask of its name" in message(tmp_path / "a")
    (tmp_path / "a" / "images" / "p3.png").unlink()
    (tmp_path / "a" / "images" / "p4.png").unlink()
    assert "masks/p4.png has no image of its name" in message(tmp_path / "a")
    save_picture(tmp_path / "a" / "images" / "p4.png", 4)
    save_picture(tmp_path / "a" / "images" / "p4.tif", 4)
    assert "has both p4.png and p4.tif" in message(tmp_path / "a")


def test_masks_that_cannot_be_are_a_sentence(tmp_path: Path) -> None:
    save(tmp_path / "in", 12)
    file = tmp_path / "in" / "masks" / "p2.png"
    save_mask(file, 0, size=(12, 11))
    assert "p2.png has 12x11 pixels, but its image 12x12" in message(tmp_path / "in")
    save_picture(file, 1, mode="RGB")
    assert "p2.png is in colour" in message(tmp_path / "in")
    file.write_bytes(b"no picture")
    assert "p2.png cannot be read as a mask" in message(tmp_path / "in")
    save_mask(file, 0, top=9)
    (tmp_path / "in" / "classes.txt").write_text(NAMES)
    assert "which is none of 0, 1, 2; mend the mask" in message(tmp_path / "in")
    file.rename(file.with_suffix(".jpg"))
    assert "p2.jpg is a JPEG or WebP" in message(tmp_path / "in")
