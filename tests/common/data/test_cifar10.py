"""Laws of CIFAR-10's binary version and of its npz copies."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.data import cifar10, npz, prepare
from common.description import Data
from common.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the right length: image i of a file is grey level i % 251 plus the channel, its label i % 10."""
    root = tmp_path_factory.mktemp("cifar") / cifar10.FOLDER
    root.mkdir()
    number = np.arange(10_000)
    records = np.empty((10_000, 3073), dtype=np.uint8)
    records[:, 0] = number % 10
    records[:, 1:] = (number % 251)[:, None] + np.repeat(np.arange(3), 1024)[None, :]
    for name in (*cifar10.TRAIN, *cifar10.TEST):
        (root / name).write_bytes(records.tobytes())
    return root


def test_planes_and_labels_are_where_the_format_says(folder: Path, tmp_path: Path) -> None:
    opened = cifar10.locate(Data(source="cifar10", path=str(folder.parent)), tmp_path).open()
    assert opened.test is not None
    assert (len(opened.train.strata), len(opened.test.strata), opened.public) == (50_000, 10_000, None)
    images = opened.train.read(np.array([3, 10_007]))
    assert images.shape == (2, 3, 32, 32)
    assert images[0, :, 5, 6].tolist() == [3, 4, 5]
    assert images[1, :, 31, 0].tolist() == [7, 8, 9]
    assert opened.train.strata[[3, 10_007]].tolist() == [3, 7]
    small = cifar10.locate(Data(source="cifar10", path=str(folder), image_size=28), tmp_path).open()
    assert small.train.read(np.array([0])).shape == (1, 3, 28, 28)


def test_a_copy_is_found_before_any_download(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PSREVAL_DATA", str(folder.parent))
    monkeypatch.setattr(cifar10, "import_torchvision", lambda name: pytest.fail("no download is needed"))
    assert cifar10.locate(Data(source="cifar10"), tmp_path).label == "cifar10"


def test_a_file_of_another_length_is_named(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / cifar10.FOLDER
    root.mkdir()
    for file in folder.iterdir():
        (root / file.name).symlink_to(file)
    (root / "data_batch_3.bin").unlink()
    (root / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(UserError, match=r"data_batch_3\.bin should hold 30730000 bytes"):
        cifar10.locate(Data(source="cifar10", path=str(tmp_path)), tmp_path)


def test_a_failed_download_is_a_sentence_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, root: str, **more: object) -> None:
        assert more == {"filename": cifar10.ARCHIVE, "md5": "c32a1d4ab5d03f1284b67883e8d13530"}
        raise OSError("network is unreachable")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PSREVAL_DATA", raising=False)
    monkeypatch.setattr(
        cifar10, "import_torchvision", lambda name: SimpleNamespace(download_and_extract_archive=refuse)
    )
    with pytest.raises(UserError, match=r"the download of https://.* failed .*data\.path.*npz:FILE"):
        cifar10.locate(Data(source="cifar10"), tmp_path)
    (tmp_path / "data" / cifar10.PICKLED).mkdir(parents=True)
    with pytest.raises(UserError, match=r"cifar10': .*pickles, which are never read"):
        cifar10.locate(Data(source="cifar10"), tmp_path)
    with pytest.raises(
        UserError, match=r"data\.path = .*pickles, which are never read; there is no cifar-10-batches-bin"
    ):
        cifar10.locate(Data(source="cifar10", path=str(tmp_path / "data")), tmp_path)


def test_a_download_lands_in_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deliver(url: str, root: str, **more: object) -> None:
        (Path(root) / cifar10.FOLDER).symlink_to(folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PSREVAL_DATA", raising=False)
    monkeypatch.setattr(
        cifar10, "import_torchvision", lambda name: SimpleNamespace(download_and_extract_archive=deliver)
    )
    first = cifar10.locate(Data(source="cifar10"), tmp_path / "cache")
    monkeypatch.setattr(cifar10, "import_torchvision", lambda name: pytest.fail("downloaded once already"))
    assert cifar10.locate(Data(source="cifar10"), tmp_path / "cache").fingerprint == first.fingerprint


def arrays(count: int = 40, side: int = 32, seed: int = 0, **more: Any) -> dict[str, Any]:
    """Random images in MedMNIST's layout, four of each class in train, the first labelled 0, 1, 2 …"""
    generator = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for part, number in (("train", count), ("val", 10), ("test", 20)):
        made[f"{part}_images"] = generator.integers(0, 256, (number, side, side, 3), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(number) % 10).astype(np.uint8)[:, None]
    return made | more


def placed(folder: Path, name: str = "cifar10-subset.npz", **more: Any) -> Data:
    folder.mkdir(exist_ok=True)
    np.savez(folder / name, **arrays(**more))
    return Data(source="cifar10", path=str(folder))


def test_an_npz_copy_is_read_as_it_is_and_says_what_it_lacks(tmp_path: Path) -> None:
    located = cifar10.locate(placed(tmp_path / "data"), tmp_path)
    opened = located.open()
    made = arrays()
    assert located.label == "cifar10, cifar10-subset.npz"
    assert opened.classes == cifar10.CLASSES
    assert opened.notes == ("A subset of CIFAR-10: 40 training images instead of 50,000.",)
    for part, name in ((opened.train, "train"), (opened.public, "val"), (opened.test, "test")):
        assert part is not None
        assert (part.read(np.arange(10)) == made[f"{name}_images"][:10].transpose(0, 3, 1, 2)).all()
        assert part.strata.tolist() == made[f"{name}_labels"].ravel().tolist()


def test_an_npz_copy_is_resized_only_where_that_is_asked_for(tmp_path: Path) -> None:
    data = placed(tmp_path / "data").model_copy(update={"image_size": 28})
    opened = cifar10.locate(data, tmp_path).open()
    assert (opened.image_size, opened.train.read(np.arange(3)).shape) == (28, (3, 3, 28, 28))
    plain = npz.locate(Data(source=f"npz:{tmp_path}/data/cifar10-subset.npz", image_size=28), tmp_path).open()
    assert (opened.train.read(np.arange(3)) == plain.train.read(np.arange(3))).all()


def test_the_note_of_a_subset_reaches_the_data_set_and_a_whole_copy_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = placed(tmp_path / "data")
    assert "A subset of CIFAR-10: 40 training images instead of 50,000." in prepare(data, tmp_path / "cache").notes
    monkeypatch.setattr(cifar10, "_TRAINING", 40)
    assert cifar10.locate(data, tmp_path).open().notes == ()


def test_other_copies_are_other_data(tmp_path: Path) -> None:
    folders = [placed(tmp_path / "a"), placed(tmp_path / "b"), placed(tmp_path / "c", seed=1)]
    first, equal, other = (prepare(data, tmp_path / "cache").checksum for data in folders)
    assert first == equal != other


def test_the_binary_version_wins_over_npz_and_the_whole_over_a_subset(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PSREVAL_DATA", raising=False)
    monkeypatch.setattr(cifar10, "import_torchvision", lambda name: pytest.fail("no download is needed"))
    placed(tmp_path / "data")
    assert cifar10.locate(Data(source="cifar10"), tmp_path).label == "cifar10, cifar10-subset.npz"
    placed(tmp_path / "data", "cifar10.npz")
    assert cifar10.locate(Data(source="cifar10"), tmp_path).label == "cifar10, cifar10.npz"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / cifar10.FOLDER).symlink_to(folder)
    (tmp_path / "other" / "cifar10.npz").write_bytes(b"never looked at")
    monkeypatch.setenv("PSREVAL_DATA", str(tmp_path / "other"))
    assert cifar10.locate(Data(source="cifar10"), tmp_path).label == "cifar10"
    assert cifar10.locate(Data(source="cifar10", path=str(tmp_path / "other")), tmp_path).label == "cifar10"


def test_an_npz_copy_may_name_its_classes_if_they_are_cifar_s(tmp_path: Path) -> None:
    right = placed(tmp_path / "right", classes=np.array(cifar10.CLASSES))
    assert cifar10.locate(right, tmp_path).open().classes == cifar10.CLASSES
    wrong = placed(tmp_path / "wrong", classes=np.array(sorted(cifar10.CLASSES, reverse=True)))
    with pytest.raises(UserError, match=r"cifar10-subset\.npz has the classes truck.* but CIFAR-10's are airplane"):
        cifar10.locate(wrong, tmp_path).open()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"side": 28}, "holds images of 28x28 pixels in 3 channels, but CIFAR-10's have 32x32 in 3"),
        ({"train_labels": (np.arange(40) % 11).astype(np.uint8)}, "has the classes class 0.*class 10, but"),
        ({"train_images": np.zeros((40, 32, 32), np.uint8)}, "train images have 1 channels but public images 3"),
        ({"test_labels": np.zeros(20)}, "labels must be whole numbers"),
        ({"train_labels": np.array([{}] * 40, dtype=object)}, "never read"),
    ],
)
def test_an_npz_file_of_other_images_is_a_sentence(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        cifar10.locate(placed(tmp_path / "data", **more), tmp_path).open()
    assert "\n" not in str(caught.value)


def test_a_damaged_npz_file_is_a_sentence(tmp_path: Path) -> None:
    data = placed(tmp_path / "data")
    file = tmp_path / "data" / "cifar10-subset.npz"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cifar10-subset\.npz is not an npz file"):
        cifar10.locate(data, tmp_path).open()


def test_the_subset_beside_the_checkout_is_cifar_10(real_data: Path) -> None:
    opened = cifar10.locate(Data(source="cifar10", path=str(real_data)), real_data).open()
    assert opened.classes == cifar10.CLASSES
    assert opened.test is not None
    if "A subset of CIFAR-10: 7,268 training images instead of 50,000." in opened.notes:
        assert (len(opened.train.strata), len(opened.test.strata)) == (7268, 1017)
