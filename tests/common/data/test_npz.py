"""Laws of npz files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data import HOSPITAL_PARTS, SERVER_PARTS, npz
from common.description import Data
from common.errors import UserError


def arrays(side: int = 10, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for part, count in (("train", 40), ("val", 20), ("test", 20)):
        made[f"{part}_images"] = generator.integers(0, 256, (count, side, side), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    return made


def data(file: Path) -> Data:
    return Data(source=f"npz:{file}")


def test_val_becomes_public_and_the_rest_is_as_it_is(tmp_path: Path) -> None:
    made = arrays()
    np.savez_compressed(tmp_path / "x.npz", **made)
    opened = npz.locate(data(tmp_path / "x.npz"), tmp_path).open()
    assert opened.public is not None
    assert opened.test is not None
    for part, name in ((opened.train, "train"), (opened.public, "val"), (opened.test, "test")):
        assert (part.read(np.arange(20))[:, 0] == made[f"{name}_images"][:20]).all()
        assert part.strata.tolist() == made[f"{name}_labels"].ravel().tolist()


def test_the_content_identifies_a_file_not_its_place(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for place, seed in (("x.npz", 0), ("b/x.npz", 0), ("y.npz", 1)):
        np.savez(tmp_path / place, **arrays(seed=seed))
    found = [npz.locate(data(tmp_path / place), tmp_path) for place in ("x.npz", "b/x.npz", "y.npz")]
    assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint
    assert found[1].label == "npz:x.npz"


def test_val_may_be_missing_but_test_may_not(tmp_path: Path) -> None:
    made = arrays()
    np.savez(tmp_path / "x.npz", **{key: value for key, value in made.items() if not key.startswith("val")})
    assert npz.locate(data(tmp_path / "x.npz"), tmp_path).open().public is None
    np.savez(tmp_path / "y.npz", **{key: value for key, value in made.items() if key != "test_labels"})
    with pytest.raises(UserError, match=r"npz:y\.npz lacks test_labels; it holds .*train_images"):
        npz.locate(data(tmp_path / "y.npz"), tmp_path).open()
    np.savez(tmp_path / "z.npz", **{key: value for key, value in made.items() if key != "val_labels"})
    with pytest.raises(UserError, match="lacks one of val_images and val_labels"):
        npz.locate(data(tmp_path / "z.npz"), tmp_path).open()


def only(made: dict[str, Any], *parts: str) -> dict[str, Any]:
    return {key: value for key, value in made.items() if key.startswith(parts)}


def test_a_hospital_s_file_may_hold_train_alone_and_a_server_s_the_rest(tmp_path: Path) -> None:
    np.savez(tmp_path / "h.npz", **only(arrays(), "train"))
    np.savez(tmp_path / "s.npz", **only(arrays(), "val", "test"))
    hospital = npz.locate(data(tmp_path / "h.npz"), tmp_path, HOSPITAL_PARTS).open()
    server = npz.locate(data(tmp_path / "s.npz"), tmp_path, SERVER_PARTS).open()
    assert (len(hospital.train.strata), hospital.public, hospital.test) == (40, None, None)
    assert (len(server.train.strata), server.channels, server.image_size) == (0, 1, 10)
    assert server.train.read(np.empty(0, np.int64)).shape == (0, 1, 10, 10)
    assert server.public is not None
    for file, needs, words in (
        ("h.npz", ("train", "public", "test"), "lacks test_images, test_labels"),
        ("h.npz", SERVER_PARTS, "lacks test_images, test_labels"),
        ("s.npz", HOSPITAL_PARTS, "lacks train_images, train_labels"),
    ):
        with pytest.raises(UserError, match=words):
            npz.locate(data(tmp_path / file), tmp_path, needs).open()
    np.savez(tmp_path / "t.npz", **only(arrays(), "test"))
    with pytest.raises(UserError, match="lacks val_images, val_labels"):
        npz.locate(data(tmp_path / "t.npz"), tmp_path, SERVER_PARTS).open()
    np.savez(tmp_path / "u.npz", **only(arrays(), "train", "test_labels"))
    with pytest.raises(UserError, match="lacks one of test_images and test_labels"):
        npz.locate(data(tmp_path / "u.npz"), tmp_path, HOSPITAL_PARTS).open()


def test_a_file_may_name_its_classes_and_say_that_it_is_synthetic(tmp_path: Path) -> None:
    names = ("normal", "bactérienne", "viral")
    np.savez(tmp_path / "x.npz", **arrays(), classes=np.array(names), synthetic=True)
    opened = npz.locate(data(tmp_path / "x.npz"), tmp_path).open()
    assert (opened.classes, opened.synthetic) == (names, True)
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays(), classes=np.array(["a", "b"]))
    opened = npz.locate(data(tmp_path / "pneumoniamnist.npz"), tmp_path).open()
    assert (opened.classes, opened.synthetic) == (("a", "b"), False)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"classes": np.array([1, 2])}, "classes must be a list of different names"),
        ({"classes": np.array("normal")}, "classes must be a list"),
        ({"classes": np.array(["a", "a"])}, "classes must be a list of different names"),
        ({"classes": np.array(["a", ""])}, "classes must be a list"),
        ({"classes": np.array([], dtype="U3")}, "classes must be a list"),
        ({"classes": np.array(["a", "b"], dtype=object)}, "never read"),
        ({"classes": np.array(["a"])}, "has label 1, but there are only 1 classes"),
        ({"synthetic": np.array([True, False])}, "synthetic must be true or false"),
        ({"synthetic": np.array("yes")}, "synthetic must be true or false"),
    ],
)
def test_classes_that_cannot_be_are_a_sentence(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays(), **more)
    with pytest.raises(UserError, match=words) as caught:
        npz.locate(data(tmp_path / "x.npz"), tmp_path).open()
    assert "\n" not in str(caught.value)


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    np.savez(tmp_path / "pneumonia.npz", **arrays())
    with pytest.raises(UserError, match=r"there is no file .*did you mean '.*pneumonia\.npz'"):
        npz.locate(data(tmp_path / "pnuemonia.npz"), tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "array", "object", "flipped"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "x.npz"
    np.savez_compressed(file, **arrays())
    whole = file.read_bytes()
    if damage == "array":
        with file.open("wb") as out:
            np.save(out, np.zeros(3))
    elif damage == "object":
        np.savez(file, **{**arrays(), "train_labels": np.array([{}] * 40, dtype=object)})
    else:
        middle = len(whole) // 3
        flipped = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 40]) + whole[middle + 40 :]
        file.write_bytes({"truncated": whole[:2000], "text": b"hello", "empty": b"", "flipped": flipped}[damage])
    kind = {"object": "never read", "flipped": "no npz file that can be read"}.get(damage, "is not an npz file")
    with pytest.raises(UserError, match=rf"npz:x\.npz .*{kind}") as caught:
        npz.locate(data(file), tmp_path).open()
    assert "\n" not in str(caught.value)


def test_medmnists_pneumonia_has_its_names(real_data: Path) -> None:
    opened = npz.locate(data(real_data / "pneumoniamnist.npz"), real_data).open()
    assert opened.classes == ("normal", "pneumonia")
    assert (len(opened.train.strata), opened.channels, opened.image_size) == (4708, 1, 28)
