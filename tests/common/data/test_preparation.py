"""Laws of preparing a data set."""

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data import HOSPITAL_PARTS, SERVER_PARTS, SOURCES, Dataset, Split, prepare
from common.data import preparation as module
from common.data.pneumonia import patient
from common.description import Data
from common.errors import UserError
from tests.common.data.picture_files import save_picture


def pixels(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


def assert_disjoint(dataset: Dataset) -> None:
    train, public, test = (pixels(split) for split in (dataset.train, dataset.public, dataset.test))
    assert not train & public
    assert not train & test
    assert not public & test


def save_npz(file: Path, seed: int = 0, counts: tuple[int, int, int] = (60, 20, 20), **changes: Any) -> Data:
    generator = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        made[f"{part}_images"] = generator.integers(0, 256, (count, 9, 9), dtype=np.uint8)
        made[f"{part}_labels"] = np.arange(count) % 2
    made.update(changes)
    np.savez(file, **{key: value for key, value in made.items() if value is not None})
    return Data(source=f"npz:{file}")


def test_the_phantom_is_prepared_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data(train_records=60, public_records=12, test_records=30)
    first = prepare(data, tmp_path)
    assert first.counts() == {"train": [20] * 3, "public": [4] * 3, "test": [10] * 3}
    assert first.synthetic
    assert isinstance(first.train.images, np.memmap)
    assert not first.train.images.flags.writeable
    assert not first.train.labels.flags.writeable
    monkeypatch.setattr(module, "_build", lambda *arguments: pytest.fail("it is prepared already"))
    again = prepare(data.model_copy(update={"partition": "dirichlet:0.5"}), tmp_path)
    assert again.checksum == first.checksum
    assert (again.train.images == first.train.images).all()


def test_the_seed_changes_the_checksum_and_the_place_does_not(tmp_path: Path) -> None:
    def checksum(place: str, seed: int) -> str:
        return prepare(Data(train_records=12, public_records=9, test_records=9, seed=seed), tmp_path / place).checksum

    assert checksum("a", 0) == checksum("b", 0) != checksum("a", 1)


def test_a_truncated_cache_is_built_again(tmp_path: Path) -> None:
    data = Data(train_records=12, public_records=9, test_records=9)
    first = prepare(data, tmp_path)
    file = Path(str(first.train.images.filename))  # type: ignore[attr-defined]
    file.write_bytes(file.read_bytes()[:-100])
    again = prepare(data, tmp_path)
    assert again.checksum == first.checksum
    assert len(pixels(again.train)) == 12


def _prepare(data: Data, cache: Path, checksums: Any) -> None:
    checksums.put(prepare(data, cache).checksum)


def test_many_processes_prepare_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    checksums = context.Queue()
    data = Data(train_records=60, public_records=9, test_records=9)
    processes = [context.Process(target=_prepare, args=(data, tmp_path, checksums)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {checksums.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert len(found) == 1


def test_copies_never_straddle_splits(tmp_path: Path) -> None:
    images = np.random.default_rng(5).integers(0, 256, (100, 9, 9), dtype=np.uint8)
    train, val, test = images[:60].copy(), images[60:80].copy(), images[80:].copy()
    train[0], train[1], val[2], train[3] = test[0], val[1], test[2], train[4]
    data = save_npz(tmp_path / "x.npz", train_images=train, val_images=val, test_images=test)
    dataset = prepare(data, tmp_path / "cache")
    assert_disjoint(dataset)
    assert [len(split) for split in (dataset.train, dataset.public, dataset.test)] == [58, 19, 20]
    notes = " ".join(dataset.notes)
    assert "1 public images that equal test images" in notes
    assert "2 train images that equal test or public images" in notes
    assert "1 images of train repeat another" in notes
    assert "1 of them carry another label" in notes


def test_missing_splits_are_cut_out_of_train(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(50):
            save_picture(tmp_path / "in" / label / f"{number}.png", number + 1000 * (label == "b"))
    data = Data(source=f"folder:{tmp_path / 'in'}", public_fraction=0.25)
    dataset = prepare(data, tmp_path / "cache")
    assert dataset.counts() == {"train": [30, 30], "public": [10, 10], "test": [10, 10]}
    assert_disjoint(dataset)
    other = prepare(data.model_copy(update={"seed": 1}), tmp_path / "cache")
    assert pixels(other.test) != pixels(dataset.test)
    shutil.rmtree(tmp_path / "in" / "a")
    with pytest.raises(UserError, match="at least two folders"):
        prepare(data, tmp_path / "cache")


def test_caps_are_stratified(tmp_path: Path) -> None:
    data = save_npz(tmp_path / "x.npz", train_labels=np.array([0] * 40 + [1] * 20))
    capped = data.model_copy(update={"train_records": 30, "public_records": 8, "test_records": 1000})
    dataset = prepare(capped, tmp_path / "cache")
    assert dataset.counts() == {"train": [20, 10], "public": [4, 4], "test": [10, 10]}
    assert any("30 of 60 train images were drawn" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("phantm", "did you mean 'phantom'"),
        ("cifar", "did you mean 'cifar10'"),
        ("nothing at all", "known: brain, cifar10, file.py:function, folder:DIR, masks:DIR, npz:FILE"),
        ("", "known:"),
        ("npz", "write 'npz:'"),
        ("folder:", "write 'folder:'"),
        ("phantom:3", "did you mean 'phantom'"),
        ("none.py:load", "there is no file"),
        ("npz:none.npz", "there is no file"),
        ("folder:none", "there is no folder"),
    ],
)
def test_an_unknown_source_is_a_sentence(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare(Data(source=source), tmp_path)
    assert "data.source" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.array([0] * 60)}, "class 1' has no training image"),
        ({"train_labels": np.array([0, 2] * 30)}, "class 1' has no training image"),
        ({"val_labels": np.array([0] * 20)}, "public split has 20 images and none of 'class 1'"),
        ({f"{part}_labels": np.zeros(n, int) for part, n in (("train", 60), ("val", 20), ("test", 20))}, "two or more"),
    ],
)
def test_an_empty_class_is_a_sentence(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(save_npz(tmp_path / "x.npz", **changes), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("npz-*/*"))


def test_a_public_split_too_small_to_calibrate_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="public split has 7 images, but calibration needs 8"):
        prepare(save_npz(tmp_path / "x.npz", counts=(60, 7, 20)), tmp_path / "cache")
    with pytest.raises(UserError, match=r"raise data\.public_records"):
        prepare(Data(public_records=2), tmp_path / "cache")


def test_a_corrupt_picture_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(50):
            save_picture(tmp_path / "in" / label / f"{number}.png", number + 1000 * (label == "b"))
    broken = tmp_path / "in" / "b" / "7.png"
    broken.write_bytes(broken.read_bytes()[:120])
    with pytest.raises(UserError, match=r"b/7\.png cannot be read as a picture"):
        prepare(Data(source=f"folder:{tmp_path / 'in'}", image_size=16), tmp_path / "cache")
    assert [entry.suffix for entry in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match="the cache needs"):
        prepare(Data(), tmp_path)


def test_a_test_split_without_a_class_is_noted(tmp_path: Path) -> None:
    dataset = prepare(save_npz(tmp_path / "x.npz", test_labels=np.zeros(20, dtype=int)), tmp_path / "cache")
    assert "The test split has no image of class 1." in dataset.notes


def test_a_users_function_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def part(n, s):\n"
        "    return np.random.default_rng(s).integers(0, 256, (n, 9, 9, 3), dtype=np.uint8), np.arange(n) % 2\n"
        "def load(): return part(60, 0), None, part(20, 1)\n"
        "load.classes = ('ill', 'normal')\n",
        encoding="utf-8",
    )
    dataset = prepare(Data(source=f"{tmp_path / 'own.py'}:load", public_fraction=0.2), tmp_path / "cache")
    assert dataset.counts() == {"train": [24, 24], "public": [6, 6], "test": [10, 10]}
    assert (dataset.source, dataset.normal, dataset.channels) == ("own.py:load", 1, 3)
    assert not dataset.synthetic


def test_the_real_x_rays_are_split_by_patient(real_data: Path, tmp_path: Path) -> None:
    data = Data(source="pneumonia", path=str(real_data / "chest_xray"), image_size=32)
    dataset = prepare(data, tmp_path)
    assert_disjoint(dataset)
    counts = dataset.counts()
    assert counts["test"] == [234, 242, 148]
    assert [sum(column) for column in zip(counts["train"], counts["public"], strict=True)] == [1349, 2538, 1345]
    assert all(abs(count - 0.1 * total) <= 1 for count, total in zip(counts["public"], [1349, 2538, 1345], strict=True))
    assert dataset.normal == 0
    located = module._locate(data, tmp_path)
    chosen = module._split(located.open(), data, [])
    groups = chosen["train"][0].groups
    assert groups is not None
    assert not {groups[i] for i in chosen["train"][1]} & {groups[i] for i in chosen["public"][1]}
    assert patient(Path("person3_virus_1.jpeg")) in groups


def test_the_real_archives_are_prepared(real_data: Path, tmp_path: Path) -> None:
    grey = prepare(Data(source=f"npz:{real_data / 'pneumoniamnist.npz'}"), tmp_path)
    assert (len(grey.train), len(grey.public), len(grey.test)) == (4698, 524, 624)
    assert_disjoint(grey)
    colour = prepare(Data(source=f"npz:{real_data / 'cifar10-subset.npz'}", train_records=500), tmp_path)
    assert (len(colour.train), colour.channels, len(colour.classes)) == (500, 3, 10)


def none_of(*parts: str) -> dict[str, None]:
    return {f"{part}_{kind}": None for part in parts for kind in ("images", "labels")}


def test_a_hospital_s_records_all_train_even_if_a_class_is_missing(tmp_path: Path) -> None:
    labels = {"train_labels": np.zeros(60, np.int64), "classes": np.array(["normal", "ill", "viral"])}
    data = save_npz(tmp_path / "x.npz", **none_of("val", "test"), **labels)
    dataset = prepare(data, tmp_path / "cache", needs=HOSPITAL_PARTS)
    assert dataset.counts() == {"train": [60, 0, 0], "public": [0, 0, 0], "test": [0, 0, 0]}
    assert dataset.classes == ("normal", "ill", "viral")
    assert dataset.notes == ()
    with np.load(tmp_path / "x.npz") as made:
        assert (dataset.train.images[:, 0] == made["train_images"]).all(), "in their order"
    with pytest.raises(UserError, match="lacks test_images"):
        prepare(data, tmp_path / "cache")


def test_nothing_is_cut_out_of_a_hospital_s_folder(tmp_path: Path) -> None:
    for number in range(20):
        save_picture(tmp_path / "in" / "a" / f"{number}.png", number)
    (tmp_path / "in" / "b").mkdir()
    data = Data(source=f"folder:{tmp_path / 'in'}")
    dataset = prepare(data, tmp_path / "cache", needs=HOSPITAL_PARTS)
    assert dataset.counts() == {"train": [20, 0], "public": [0, 0], "test": [0, 0]}
    with pytest.raises(UserError, match="holds no pictures"):
        prepare(data, tmp_path / "cache")
    shutil.rmtree(tmp_path / "in" / "a")
    (tmp_path / "in" / "a").mkdir()
    with pytest.raises(UserError, match="no pictures in them"):
        prepare(data, tmp_path / "cache", needs=HOSPITAL_PARTS)


def test_a_server_s_data_may_lack_train_and_are_then_no_simulation_s(tmp_path: Path) -> None:
    data = save_npz(tmp_path / "x.npz", **none_of("train"))
    dataset = prepare(data, tmp_path / "cache", needs=SERVER_PARTS)
    assert dataset.counts() == {"train": [0, 0], "public": [10, 10], "test": [10, 10]}
    assert (dataset.channels, dataset.image_size, len(dataset.train.records())) == (1, 9, 0)
    with pytest.raises(UserError, match="the training split has no images"):
        prepare(data, tmp_path / "cache")
    with pytest.raises(UserError, match="lacks train_images"):
        prepare(data, tmp_path / "other cache")


def test_a_server_prepares_what_a_simulation_has_prepared_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(train_records=60, public_records=12, test_records=30)
    whole = prepare(data, tmp_path)
    monkeypatch.setattr(module, "_build", lambda *arguments: pytest.fail("it is prepared already"))
    served = prepare(data, tmp_path, needs=SERVER_PARTS)
    assert (served.checksum, served.counts()) == (whole.checksum, whole.counts())


@pytest.mark.parametrize("parts", [HOSPITAL_PARTS, SERVER_PARTS])
def test_parts_that_are_there_are_kept_apart_also_where_they_are_not_needed(
    tmp_path: Path, parts: tuple[str, ...]
) -> None:
    images = np.random.default_rng(5).integers(0, 256, (60, 9, 9), dtype=np.uint8)
    data = save_npz(tmp_path / "x.npz", train_images=images, test_images=images[40:])
    dataset = prepare(data, tmp_path / "cache", needs=parts)
    assert_disjoint(dataset)
    assert [len(split) for split in (dataset.train, dataset.public, dataset.test)] == [40, 20, 20]


def test_every_source_is_described() -> None:
    files = {"npz:FILE", "folder:DIR", "masks:DIR", "file.py:function"}
    assert set(SOURCES) == {"phantom", "brain", "cifar10", "pneumonia", *files}


def save_masked(file: Path, **changes: Any) -> Data:
    generator = np.random.default_rng(0)
    made: dict[str, Any] = {"classes": np.array(["background", "one", "two"]), "strata": np.array(["young", "old"])}
    for part, count in (("train", 60), ("val", 12), ("test", 20)):
        made[f"{part}_images"] = generator.integers(0, 256, (count, 9, 9), dtype=np.uint8)
        made[f"{part}_labels"] = generator.integers(0, 3, (count, 9, 9), dtype=np.uint8)
        made[f"{part}_strata"] = np.arange(count) % 4 // 3
    made.update(changes)
    np.savez(file, **{key: value for key, value in made.items() if value is not None})
    return Data(source=f"npz:{file}")


def test_masks_are_kept_as_they_are_and_mapped(tmp_path: Path) -> None:
    dataset = prepare(save_masked(tmp_path / "x.npz"), tmp_path / "cache")
    with np.load(tmp_path / "x.npz") as made:
        for split, name in ((dataset.train, "train"), (dataset.public, "val"), (dataset.test, "test")):
            assert isinstance(split.labels, np.memmap)
            assert split.labels.dtype == np.uint8
            assert (split.images[:, 0] == made[f"{name}_images"]).all()
            assert (split.labels == made[f"{name}_labels"]).all()
            assert (split.strata == made[f"{name}_strata"]).all()
            records = split.records(np.array([3, 1]))
            assert records.task == "segmentation"
            assert (records.labels.numpy() == made[f"{name}_labels"][[3, 1]]).all()
    assert (dataset.task, dataset.classes) == ("segmentation", ("background", "one", "two"))
    assert (dataset.strata_names, dataset.counts()["train"]) == (("young", "old"), [45, 15])


def test_draws_of_masked_records_are_stratified_by_band(tmp_path: Path) -> None:
    data = save_masked(tmp_path / "x.npz", val_images=None, val_labels=None, val_strata=None)
    dataset = prepare(data.model_copy(update={"public_fraction": 0.4, "train_records": 12}), tmp_path / "cache")
    assert dataset.counts() == {"train": [9, 3], "public": [18, 6], "test": [15, 5]}
    assert_disjoint(dataset)
    assert any("12 of 36 train images were drawn, stratified." in note for note in dataset.notes)


def test_the_checksum_depends_on_masks_and_bands(tmp_path: Path) -> None:
    with np.load(save_masked(tmp_path / "x.npz").source.removeprefix("npz:")) as made:
        masks = made["train_labels"].copy()
    masks[5, 2, 2] = (masks[5, 2, 2] + 1) % 3
    bands = np.zeros(60, dtype=np.int64)
    changes: list[dict[str, Any]] = [
        {},
        {"train_labels": masks},
        {"train_strata": bands},
        {"strata": np.array(["a", "b"])},
    ]
    made_of = [prepare(save_masked(tmp_path / "x.npz", **change), tmp_path / "cache").checksum for change in changes]
    assert len(set(made_of)) == 4
    assert prepare(save_masked(tmp_path / "y.npz"), tmp_path / "cache").checksum == made_of[0]


def test_a_hospital_s_and_a_server_s_masks(tmp_path: Path) -> None:
    whole = prepare(save_masked(tmp_path / "x.npz"), tmp_path / "cache")
    nothing = {f"train_{kind}": None for kind in ("images", "labels", "strata")}
    served = prepare(save_masked(tmp_path / "s.npz", **nothing), tmp_path / "cache", needs=SERVER_PARTS)
    assert (served.task, len(served.train), served.train.labels.shape) == ("segmentation", 0, (0, 9, 9))
    assert (served.test.labels == whole.test.labels).all()
    alone = prepare(save_masked(tmp_path / "x.npz"), tmp_path / "cache", needs=HOSPITAL_PARTS)
    assert (alone.train.labels == whole.train.labels).all()
    assert (whole.without_training().train.strata.shape, whole.without_training().task) == ((0,), "segmentation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": np.array(["background", "one", "two", "three"])},
            "the structure 'three' is in none of 60 training",
        ),
        ({"classes": np.array(["background", "one"])}, "train has label 2, but there are only 2 classes"),
        ({"test_labels": np.zeros(20, dtype=np.int64)}, "labels must be masks in all of them, or in none"),
        ({"train_labels": np.zeros((60, 8, 9), dtype=np.uint8)}, "one class number an image, or a pixel"),
        ({"train_labels": np.full((60, 9, 9), 256)}, "from 0 to 255 at most"),
        ({"train_strata": None}, "train_strata must hold 60 numbers from 0 to 1"),
        ({"train_strata": np.full(60, 2)}, "train_strata must hold 60 numbers from 0 to 1"),
        ({"strata": np.array([1, 2])}, "strata must be a list of different names"),
    ],
)
def test_masks_that_will_not_do_are_a_sentence(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(save_masked(tmp_path / "x.npz", **changes), tmp_path / "cache")


def test_a_user_s_function_may_return_masks(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    made = np.random.default_rng(0)\n"
        "    def pair(n):\n"
        "        return made.integers(0, 256, (n, 12, 12), dtype=np.uint8), made.integers(0, 2, (n, 12, 12))\n"
        "    return pair(30), pair(10), pair(10)\n"
    )
    dataset = prepare(Data(source=f"{tmp_path / 'mine.py'}:load", image_size=9), tmp_path / "cache")
    assert (dataset.task, dataset.classes) == ("segmentation", ("background", "structure 1"))
    assert dataset.strata_names == ("all",)
    assert dataset.train.labels.shape == (30, 9, 9)
    assert set(np.unique(dataset.train.labels)) == {0, 1}
