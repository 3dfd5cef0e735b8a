"""Laws of CIFAR-10's binary version."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.config import Data
from common.data import cifar10
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
    assert (len(opened.train.labels), len(opened.test.labels), opened.public) == (50_000, 10_000, None)
    images = opened.train.read(np.array([3, 10_007]))
    assert images.shape == (2, 3, 32, 32)
    assert images[0, :, 5, 6].tolist() == [3, 4, 5]
    assert images[1, :, 31, 0].tolist() == [7, 8, 9]
    assert opened.train.labels[[3, 10_007]].tolist() == [3, 7]
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
