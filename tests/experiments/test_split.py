"""A split: what each party gets, and that it trains the model that one process would have trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clients.app
from clients.hospital import load_hospital
from common.config import Experiment, load, parse
from common.data import SERVER_PARTS, Dataset, partition, prepare
from common.errors import UserError
from common.folder import RunFolder, read_json
from experiments.inprocess import InProcessGrid
from experiments.run import Work, train
from experiments.split import split

TINY = {
    "name": "tiny",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "training": {"batch_size": 16},
    "federation": {"rounds": 2},
    "clients": [
        {"name": "good", "adversarial_training": {"steps": 2}},
        {"name": "bad one", "strategy": "data-poisoner", "options": {"fraction": 0.5, "steps": 2}},
    ],
}
PRIVATE = {"privacy": {"enabled": True, "accountant": "rdp", "delta": 1e-3}}
OWN_STRATEGY = """
from clients.honest import Honest

class Mine(Honest):
    def send(self, update, received):
        return {name: 2 * array - received[name] for name, array in update.items()}
"""
OWN_MODEL = """
import torch

def build(channels, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 28 * 28, classes))
"""


def described(**changes: Any) -> Experiment:
    return parse({**TINY, **changes}, "test")


def by_hospitals(*folders: Path) -> Any:
    """Run a federation of hospital files, each with its own data, in this process."""

    def federate(experiment: Experiment, dataset: Dataset, folder: RunFolder, work: Work) -> None:
        configurations = [{"hospital": str(folder / "hospital.toml")} for folder in folders]
        work(InProcessGrid(clients.app.app, len(folders), configurations), None)

    return federate


def deployed(experiment: Experiment, out: Path, runs: Path) -> RunFolder:
    """Split the experiment and run it from nothing but what is in the folders."""
    *hospitals, server = split(experiment, out)
    told = load(server / "experiment.toml")
    dataset = prepare(told.data, needs=SERVER_PARTS)
    return train(told, dataset, runs, "hospitals", by_hospitals(*reversed(hospitals)))


def own_files(folder: Path) -> dict[str, Any]:
    """A description whose model and one of whose strategies are files of the user's."""
    folder.mkdir()
    (folder / "mine.py").write_text(OWN_STRATEGY)
    (folder / "net.py").write_text(OWN_MODEL)
    clients = [{"name": "good"}, {"name": "bad", "strategy": f"{folder}/mine.py:Mine"}]
    return {"model": {"name": f"{folder}/net.py:build"}, "clients": clients}


@pytest.mark.parametrize("case", ["plain", "private", "own files"])
def test_split_data_and_hospital_files_give_the_model_of_one_process(tmp_path: Path, case: str) -> None:
    changes = {"plain": {}, "private": PRIVATE, "own files": own_files(tmp_path / "mine")}[case]
    experiment = described(**changes)
    ours = train(experiment, prepare(experiment.data), tmp_path / "a", "inprocess")
    theirs = deployed(experiment, tmp_path / "out", tmp_path / "b")
    assert theirs.model.read_bytes() == ours.model.read_bytes()
    mine, other = (
        {row["name"]: (row["entries"], row["epsilon"]) for row in read_json(folder.ledger)["clients"]}
        for folder in (ours, theirs)
    )
    assert mine == other


def test_each_hospital_gets_its_own_records_and_nobody_else_s(tmp_path: Path) -> None:
    experiment = described(data={**TINY["data"], "partition": "by-label:2"})  # type: ignore[dict-item]
    dataset = prepare(experiment.data)
    good, bad, server = split(experiment, tmp_path)
    assert (good.name, bad.name, server.name) == ("good", "bad one", "server")
    for folder, share in zip((good, bad), partition(dataset.train.labels, 2, experiment.data), strict=True):
        assert sorted(file.name for file in folder.iterdir()) == ["hospital.toml", "records.npz"]
        with np.load(folder / "records.npz", allow_pickle=False) as arrays:
            assert set(arrays.files) == {"train_images", "train_labels", "classes", "synthetic"}
            assert (arrays["train_images"] == dataset.train.images[share][:, 0]).all()
            assert (arrays["train_labels"] == dataset.train.labels[share]).all()
            assert tuple(arrays["classes"]) == dataset.classes
    assert sorted(file.name for file in server.iterdir()) == ["experiment.toml", "public-test.npz"]
    served = prepare(load(server / "experiment.toml").data, needs=SERVER_PARTS)
    assert len(served.train) == 0
    assert (served.classes, served.synthetic) == (dataset.classes, True)
    for name in ("public", "test"):
        assert (getattr(served, name).images == getattr(dataset, name).images).all()
        assert (getattr(served, name).labels == getattr(dataset, name).labels).all()


def test_colour_images_are_split_as_well(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 40), ("val", 20), ("test", 20)):
        arrays[f"{part}_images"] = generator.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 2
    np.savez(tmp_path / "x.npz", **arrays)
    experiment = described(data={"source": f"npz:{tmp_path}/x.npz"})
    good, *_ = split(experiment, tmp_path / "out")
    with np.load(good / "records.npz", allow_pickle=False) as made:
        assert made["train_images"].shape == (20, 28, 28, 3)
        assert not made["synthetic"]
    ours = train(experiment, prepare(experiment.data), tmp_path / "a", "inprocess")
    assert deployed(experiment, tmp_path / "out", tmp_path / "b").model.read_bytes() == ours.model.read_bytes()


def test_masks_and_bands_are_split_as_well(tmp_path: Path) -> None:
    records = {"train_records": 14, "public_records": 14, "test_records": 7}
    data = {"source": "brain", "image_size": 32, "partition": "sorted", **records}
    experiment = described(
        data=data,
        model={"name": "unet", "width": 4},
        federation={"rounds": 1},
        clients=[{"name": "young"}, {"name": "old"}],
    )
    whole = prepare(experiment.data)
    young, _, server = split(experiment, tmp_path / "out")
    served = prepare(load(server / "experiment.toml").data, needs=SERVER_PARTS)
    assert (served.task, served.strata_names, served.test.strata.tolist()) == (
        "segmentation",
        whole.strata_names,
        whole.test.strata.tolist(),
    )
    with np.load(young / "records.npz", allow_pickle=False) as made:
        assert made["train_labels"].shape == (7, 32, 32)
        assert made["train_strata"].max() <= 3
    ours = train(experiment, whole, tmp_path / "a", "inprocess")
    assert deployed(experiment, tmp_path / "out", tmp_path / "b").model.read_bytes() == ours.model.read_bytes()


def test_a_hospital_s_file_says_what_the_roster_said(tmp_path: Path) -> None:
    experiment = described(**PRIVATE)
    for folder, client in zip(split(experiment, tmp_path), experiment.roster(), strict=False):
        hospital = load_hospital(folder / "hospital.toml")
        assert hospital.client() == client
        assert hospital.privacy.model_dump(exclude={"lifetime_epsilon"}) == experiment.privacy.model_dump()
        assert hospital.data.source == f"npz:{folder}/records.npz"
        assert hospital.state == folder / "state"
        assert hospital.share is None


def test_the_user_s_files_come_along(tmp_path: Path) -> None:
    experiment = described(**own_files(tmp_path / "mine"))
    good, bad, server = split(experiment, tmp_path / "out")
    assert load_hospital(bad / "hospital.toml").strategy == f"{bad}/mine.py:Mine"
    assert load_hospital(good / "hospital.toml").code == (f"{good}/net.py:build",)
    assert load(server / "experiment.toml").model.name == f"{server}/net.py:build"
    assert str(tmp_path / "mine") not in "".join(file.read_text() for file in (tmp_path / "out").glob("*/*.toml"))


def test_splitting_again_changes_nothing_and_never_replaces_anything(tmp_path: Path) -> None:
    good, *_ = split(described(), tmp_path)
    (good / "state").mkdir()
    (good / "state" / "ledger.json").write_text("spent")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    split(described(), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    with pytest.raises(UserError, match=r"records\.npz is there already and differs"):
        split(described(data={**TINY["data"], "seed": 3}), tmp_path)  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"hospital\.toml is there already and differs"):
        split(described(**PRIVATE), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_no_client_may_be_called_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'server' is what"):
        split(described(clients=[{"name": "server"}, {"name": "b"}]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_federation_without_a_server_needs_another_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"protocol = 'braintorrent' has no server.*`psreval peers prepare`"):
        split(described(protocol="braintorrent"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no.py:Mine' could not be copied"):
        split(described(clients=[{"name": "a", "strategy": "/nowhere/no.py:Mine"}]), tmp_path)


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="could not be written"):
        split(described(), tmp_path / "out")
