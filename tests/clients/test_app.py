"""The ClientApp: it introduces itself, keeps its ledger over restarts, and answers a mistake with its sentence."""

from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from clients.app import STATE_VARIABLE, app
from common.config import Experiment, parse
from common.data import prepare
from common.exchange import arrays_of, to_record
from common.folder import read_json
from common.privacy import Ledger
from experiments.inprocess import InProcessGrid
from server.federation import initial_model


def experiment(**changes: object) -> Experiment:
    tree = {
        "data": {"image_size": 28, "train_records": 40, "public_records": 24, "test_records": 24},
        "model": {"width": 4},
        "training": {"batch_size": 8},
        "clients": [{"name": "a"}, {"name": "b", "strategy": "label-flipper"}],
    }
    return parse(tree, "test").change({key.replace("__", "."): value for key, value in changes.items()})


def ask(grid: InProcessGrid, made: Experiment, kind: str, node: int = 1, round_number: int = 1) -> RecordDict:
    content = RecordDict({"config": ConfigRecord({"experiment": made.to_toml(), "server-round": round_number})})
    if kind == "train":
        content["arrays"] = to_record(arrays_of(initial_model(made, prepare(made.data))))
    (reply,) = grid.send_and_receive([Message(content, dst_node_id=node, message_type=kind)])
    return reply.content


def test_a_client_says_who_it_is() -> None:
    about = ask(InProcessGrid(app, 2), experiment(), "query", node=2)["client"]
    assert (about["name"], about["number"], about["records"]) == ("b", 1, 20)
    assert (about["strategy"], about["honest"], about["private"]) == ("label-flipper", False, False)


def test_training_answers_with_weights_metrics_and_a_ledger() -> None:
    reply = ask(InProcessGrid(app, 2), experiment(), "train")
    assert isinstance(reply["arrays"], ArrayRecord)
    assert reply["metrics"]["num-examples"] == 20
    assert Ledger.from_json(str(reply["client"]["ledger"])).entries == ()


def test_the_ledger_outlives_a_restart_in_flower_s_state_and_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    made = experiment(privacy__enabled=True, privacy__accountant="rdp", privacy__delta=1e-3)
    grid = InProcessGrid(app, 2)
    ask(grid, made, "train", round_number=1)
    again = ask(grid, made, "train", round_number=2)
    assert [entry.round for entry in Ledger.from_json(str(again["client"]["ledger"])).entries] == [1, 2]
    assert len(read_json(tmp_path / "a" / "ledger.json")["entries"]) == 2
    restarted = ask(InProcessGrid(app, 2), made, "train", round_number=3)
    assert [entry.round for entry in Ledger.from_json(str(restarted["client"]["ledger"])).entries] == [1, 2, 3]


def test_without_its_ledger_a_private_client_does_not_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "ledger.json").write_text('{"version": 1, "entr')
    made = experiment(privacy__enabled=True, privacy__accountant="rdp", privacy__delta=1e-3)
    assert "ledger is damaged" in str(ask(InProcessGrid(app, 2), made, "train")["client"]["refusal"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clients": [{"strategy": "honets"}, {}]}, "did you mean 'honest'"),
        ({"privacy__enabled": True, "privacy__epsilon": 1e-9, "privacy__delta": 1e-9}, "privacy.epsilon"),
        ({"data__source": "npz:/nowhere.npz"}, "/nowhere.npz"),
    ],
)
def test_a_mistake_is_answered_with_its_sentence(changes: dict, words: str) -> None:
    reply = ask(InProcessGrid(app, 2), experiment(**changes), "query")
    assert words in str(reply["client"]["refusal"])


def test_a_partition_number_beyond_the_roster_is_refused() -> None:
    reply = ask(InProcessGrid(app, 5), experiment(), "query", node=5)
    assert "partition-id = 4" in str(reply["client"]["refusal"])
