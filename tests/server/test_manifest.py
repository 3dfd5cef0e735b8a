import dataclasses
from pathlib import Path

import numpy as np

from common.data import Dataset, Split
from common.folder import RunFolder, append_line, read_json
from server.manifest import bytes_by_client, close_manifest, open_manifest, partition_table
from tests.server import federation_fixture as fixture


def test_a_manifest_says_what_the_result_comes_from(tmp_path: Path) -> None:
    folder, experiment, dataset = RunFolder(tmp_path / "run"), fixture.experiment(tmp_path, 2), fixture.dataset()
    open_manifest(experiment, dataset, folder, "inprocess")
    told = read_json(folder.manifest)
    assert told["hash"] == experiment.digest(dataset.checksum)
    assert told["data"]["counts"] == {"train": [20, 20], "public": [10, 10], "test": [10, 10]}
    assert told["finished"] is None
    assert {"torch", "flwr", "opacus", "python"} <= told["versions"].keys()
    assert {"cpu", "cores", "memory_gib", "system", "vnni"} == told["machine"].keys()


def test_a_resumed_run_keeps_its_start_and_adds_its_seconds(tmp_path: Path) -> None:
    folder, experiment, dataset = RunFolder(tmp_path / "run"), fixture.experiment(tmp_path, 2), fixture.dataset()
    open_manifest(experiment, dataset, folder, "inprocess")
    started = read_json(folder.manifest)["started"]
    close_manifest(folder, federation=1.5)
    open_manifest(experiment, dataset, folder, "inprocess")
    close_manifest(folder, federation=2.0, evaluation=1.0)
    told = read_json(folder.manifest)
    assert told["started"] == started
    assert told["seconds"] == {"federation": 3.5, "evaluation": 1.0}


def test_bytes_are_summed_over_rounds(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for up in (10, 20):
        append_line(folder.rounds, {"clients": [{"name": "a", "bytes_up": up, "bytes_down": 5}]})
    assert bytes_by_client(folder) == {"a": {"up": 30, "down": 10}}


def test_every_record_is_one_client_s(tmp_path: Path) -> None:
    dataset = fixture.dataset()
    table = partition_table(fixture.experiment(tmp_path, 3), dataset)
    held = sorted(number for client in table["clients"] for number in client["records"])
    assert held == list(range(len(dataset.train)))
    assert [sum(client["counts"]) for client in table["clients"]] == [len(c["records"]) for c in table["clients"]]


def test_of_masks_the_bands_are_counted(tmp_path: Path) -> None:
    def split(count: int) -> Split:
        images, masks = np.zeros((count, 1, 8, 8), dtype=np.uint8), np.zeros((count, 8, 8), dtype=np.uint8)
        images[:, 0, 0, 0] = np.arange(count)
        return Split(images, masks, np.arange(count) % 4 // 3)

    whole = split(12)
    dataset = Dataset(
        "x", ("none", "a", "b"), whole, whole, whole, True, "0" * 64, (), "segmentation", ("young", "old")
    )
    folder, made = RunFolder(tmp_path / "run"), fixture.experiment(tmp_path, 2, data__partition="sorted")
    open_manifest(made, dataset, folder, "inprocess")
    told = read_json(folder.manifest)["data"]
    assert (told["task"], told["classes"], told["strata"]) == ("segmentation", ["none", "a", "b"], ["young", "old"])
    assert told["counts"]["train"] == [9, 3]
    assert [client["counts"] for client in read_json(folder.partition)["clients"]] == [[6, 0], [3, 3]]


def test_the_bytes_of_all_clients_are_summed_too(tmp_path: Path) -> None:
    folder, experiment, dataset = RunFolder(tmp_path / "run"), fixture.experiment(tmp_path, 2), fixture.dataset()
    open_manifest(experiment, dataset, folder, "inprocess")
    assert read_json(folder.manifest)["bytes_total"] == {"up": 0, "down": 0}
    told = [{"name": name, "bytes_up": 10, "bytes_down": 7} for name in ("a", "b")]
    append_line(folder.rounds, {"clients": told})
    close_manifest(folder)
    assert read_json(folder.manifest)["bytes_total"] == {"up": 20, "down": 14}


def test_where_clients_bring_their_own_data_the_shares_are_empty(tmp_path: Path) -> None:
    data = dataclasses.replace(fixture.dataset(), train=fixture.dataset(0).train)
    table = partition_table(fixture.experiment(tmp_path, 3), data)
    assert [client["records"] for client in table["clients"]] == [[]] * 3
    assert [client["counts"] for client in table["clients"]] == [[0, 0]] * 3
