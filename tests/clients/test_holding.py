"""Which records a client holds: the same in a simulation and in a hospital that has the same data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.holding import hospital_holding, simulated_holding
from clients.hospital import Hospital
from common.description import Data
from common.errors import UserError
from tests.clients.client_fixture import tiny


@pytest.mark.parametrize("partition", ["iid", "by-label:2", "dirichlet:0.3", [1.0, 3.0]])
def test_a_share_is_the_simulated_client_s_part(partition: Any) -> None:
    made = tiny(data__partition=partition)
    for number in range(2):
        theirs = simulated_holding(made, number)
        ours = hospital_holding(Hospital(name="a", data=made.data, share=(number, 2)))
        assert ours.index.tolist() == theirs.index.tolist()
        assert torch.equal(ours.records().images, theirs.records().images)


def test_segmentation_is_shared_by_age() -> None:
    records = {"train_records": 42, "public_records": 14, "test_records": 7}
    made = tiny(data={"source": "brain", "image_size": 32, "partition": "sorted", **records}, model={"name": "unet"})
    young, old = (simulated_holding(made, number) for number in range(2))
    assert young.dataset.train.strata[young.index].max() <= old.dataset.train.strata[old.index].min()
    assert young.records(3).labels.shape == (3, 32, 32)
    assert hospital_holding(Hospital(name="a", data=made.data, share=(1, 2))).index.tolist() == old.index.tolist()


def test_without_a_share_every_record_trains(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "r.npz", train_images=images, train_labels=np.arange(30) % 3)
    holding = hospital_holding(Hospital(name="a", data=Data(source=f"npz:{tmp_path}/r.npz")))
    assert len(holding) == 30
    assert torch.equal(holding.records().images[:, 0], torch.from_numpy(images))
    assert len(holding.records(4)) == 4


def test_a_share_of_train_alone_is_a_sentence(tmp_path: Path) -> None:
    images = np.zeros((30, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "r.npz", train_images=images, train_labels=np.arange(30) % 3)
    with pytest.raises(UserError, match="lacks test_images"):
        hospital_holding(Hospital(name="a", data=Data(source=f"npz:{tmp_path}/r.npz"), share=(0, 2)))


def test_all_clients_of_a_process_share_one_data_set() -> None:
    made = tiny()
    first, second = (simulated_holding(made, number) for number in range(2))
    assert first.dataset is second.dataset
    assert np.array_equal(np.sort(np.concatenate([first.index, second.index])), np.arange(40))
    images = first.dataset.train.images
    assert isinstance(images, np.memmap)
    assert not np.shares_memory(first.records().images.numpy(), images)
