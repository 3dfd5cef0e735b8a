from pathlib import Path

from experiments.study.outcome import (
    as_many,
    bytes_moved,
    bytes_ratio,
    local_updates,
    own_score,
    score,
    task_of,
    trained,
)
from tests.experiments.study.made_up_ways import result, whole


def test_repeats_of_one_cell_are_one(tmp_path: Path) -> None:
    cells = trained(whole(tmp_path, repeats=3))
    assert {len(one.results) for one in cells} == {3}
    assert len({(one.name, one.way) for one in cells}) == len(cells)


def test_fedavg_that_moved_as_much_as_braintorrent_is_called_so(tmp_path: Path) -> None:
    # 10 peers, 6 updates each, 4.5 models an update after the first quarter: as much as 12 rounds of 2 models
    rounds = {6: "FedAvg", 12: "FedAvg, as many bytes", 30: "FedAvg, 30 updates"}
    cells = [result(tmp_path, "BrainTorrent", 10, 0.8)]
    cells += [result(tmp_path, "FedAvg", 10, 0.8, updates=updates) for updates in rounds]
    assert {one.way.updates: one.name for one in trained(cells) if one.way.method == "FedAvg"} == rounds


def test_fedavg_by_itself_is_fedavg_however_long_it_ran(tmp_path: Path) -> None:
    assert [one.name for one in trained([result(tmp_path, "FedAvg", 4, 0.8, updates=9)])] == ["FedAvg"]


def test_cells_that_differ_in_what_no_way_says_are_called_by_it(tmp_path: Path) -> None:
    one, other = result(tmp_path, "FedAvg", 4, 0.8), result(tmp_path, "FedAvg", 4, 0.7)
    changed = other.cell.experiment.change({"training.learning_rate": 0.5})
    other.cell.__dict__["experiment"] = changed
    assert [cell.name for cell in trained([one, other])] == [
        "FedAvg (training.learning_rate = 0.001)", "FedAvg (training.learning_rate = 0.5)",
    ]  # fmt: skip


def test_the_score_is_dice_or_accuracy_of_the_aggregated_model(tmp_path: Path) -> None:
    for dice, task in ((True, "Dice"), (False, "accuracy")):
        one = result(tmp_path, "BrainTorrent", 4, 0.75, own=0.5, dice=dice)
        assert task_of(one) == task
        assert score(one) == (0.75, 100)
        assert own_score(one) == (0.5, 100)


def test_peers_that_merge_nothing_are_scored_by_their_own_models(tmp_path: Path) -> None:
    assert score(result(tmp_path, "alone", 4, 0.3, own=0.6)) == (0.6, 100)


def test_the_liars_own_model_does_not_count(tmp_path: Path) -> None:
    one = result(tmp_path, "BrainTorrent", 4, 0.75, own=0.5, abuse="garbage")
    scores = one.path / "peers.json"
    scores.write_text(scores.read_text().replace('"honest": false, "value": 0.5', '"honest": false, "value": 0'))
    assert '"value": 0,' in scores.read_text()
    assert own_score(one) == (0.5, 100)


def test_a_server_has_no_models_of_peers(tmp_path: Path) -> None:
    assert own_score(result(tmp_path, "FedAvg", 4, 0.8)) is None


def test_bytes_and_local_updates_are_those_of_the_last_round(tmp_path: Path) -> None:
    one = result(tmp_path, "FedAvg", 4, 0.8, updates=3, moved=10)
    assert (bytes_moved(one), local_updates(one)) == (120.0, 12.0)


def test_ratios_of_bytes_are_paired_by_repeat(tmp_path: Path) -> None:
    cells = [result(tmp_path, "FedAvg", 4, 0.8, repeat=repeat, moved=10 + 10 * repeat) for repeat in (0, 1)]
    cells += [result(tmp_path, "BrainTorrent", 4, 0.8, repeat=repeat, updates=1, moved=80) for repeat in (0, 1)]
    fedavg, braintorrent = trained(cells)
    assert bytes_ratio(fedavg, braintorrent) == {0: 240 / 240, 1: 480 / 240}


def test_as_many_bytes_means_within_15_per_cent_on_average_over_repeats() -> None:
    assert as_many([0.92, 0.89, 1.07, 1.46, 0.98])  # four peers: the luck of the order
    assert as_many([0.8, 1.2])
    assert not as_many([1.0, 1.4])
    assert not as_many([0.6, 1.0])
    assert not as_many([])


def test_fedavg_with_as_many_updates_is_fedavg_though_its_bytes_are_as_many_too(tmp_path: Path) -> None:
    cells = [result(tmp_path, method, 5, 0.8, moved=100) for method in ("BrainTorrent", "FedAvg")]
    assert [one.name for one in trained(cells)] == ["BrainTorrent", "FedAvg"]
