"""The ClientApp: it introduces itself, keeps its ledger over restarts, and answers a mistake with its sentence."""

from pathlib import Path

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from clients.app import STATE_VARIABLE, app, rehearse_client
from common.config import Experiment, parse
from common.data import partition, prepare
from common.errors import UserError
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


PRIVATE = {"privacy__enabled": True, "privacy__accountant": "rdp", "privacy__delta": 1e-3}


def own_strategy(folder: Path, body: str) -> Experiment:
    """Client a's strategy is Honest with ``body``."""
    (folder / "mine.py").write_text(f"from clients.honest import Honest\nclass Mine(Honest):\n    {body}\n")
    return experiment(clients=[{"name": "a", "strategy": f"{folder}/mine.py:Mine"}, {"name": "b"}], **PRIVATE)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("def send(self, update, received): raise ValueError(str(update))", "ValueError"),
        ("def send(self, update, received): raise SystemExit", "SystemExit"),
    ],
)
def test_a_round_that_trained_and_sent_nothing_is_in_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, kind: str
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    made = own_strategy(tmp_path, body)
    reply = ask(InProcessGrid(app, 2), made, "train")["client"]
    assert reply["refusal"] == f"strategy Mine.send raised {kind}; the private client's own log tells more"
    assert [entry["round"] for entry in read_json(tmp_path / "state" / "a" / "ledger.json")["entries"]] == [1]


def test_an_interrupted_round_is_in_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    made = own_strategy(tmp_path, "def send(self, update, received): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        ask(InProcessGrid(app, 2), made, "train")
    assert len(read_json(tmp_path / "state" / "a" / "ledger.json")["entries"]) == 1


@pytest.mark.parametrize(("kind", "round_number"), [("train", 2), ("query", 1)])
def test_a_private_client_whose_ledger_is_lost_takes_no_part(kind: str, round_number: int) -> None:
    reply = ask(InProcessGrid(app, 2), experiment(**PRIVATE), kind, round_number=round_number)["client"]
    assert "its privacy ledger is missing after round 1, so what it has spent is unknown; restore it" in str(
        reply["refusal"]
    )
    assert "refusal" not in ask(InProcessGrid(app, 2), experiment(), kind, round_number=round_number).get("client", {})


def test_a_client_that_was_introduced_at_the_start_may_train_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, grid = experiment(**PRIVATE), InProcessGrid(app, 2)
    assert "name" in ask(grid, made, "query", round_number=0)["client"]
    assert "arrays" in ask(grid, made, "train", round_number=3)
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    ask(InProcessGrid(app, 2), made, "query", round_number=0)
    assert read_json(tmp_path / "a" / "ledger.json")["entries"] == []
    restarted = InProcessGrid(app, 2)
    assert "name" in ask(restarted, made, "query", round_number=2)["client"]
    reply = ask(restarted, made, "train", round_number=3)
    assert [entry.round for entry in Ledger.from_json(str(reply["client"]["ledger"])).entries] == [3]


def test_an_introduction_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    made = experiment(**PRIVATE)
    ask(InProcessGrid(app, 2), made, "train")
    ask(InProcessGrid(app, 2), made, "query", round_number=0)
    assert len(read_json(tmp_path / "a" / "ledger.json")["entries"]) == 1


def rehearsed(made: Experiment, model: torch.nn.Module | None = None) -> None:
    dataset = prepare(made.data)
    shares = partition(dataset.train.labels, len(made.roster()), made.data)
    model = initial_model(made, dataset) if model is None else model
    for number, client in enumerate(made.roster()):
        rehearse_client(made, client, number, dataset, shares[number], model)


@pytest.mark.parametrize(
    "client",
    [
        {"adversarial_training": {"attack": "torchattacks:CW", "eps": 1.0}},
        {"strategy": "data-poisoner", "options": {"attack": "square"}},
    ],
)
def test_a_good_client_passes_its_rehearsal(client: dict) -> None:
    rehearsed(experiment(clients=[client, {}], **PRIVATE))


def test_a_class_that_there_is_none_of_is_refused_before_the_first_round() -> None:
    flipper = {"strategy": "label-flipper", "options": {"labels": "target:9"}}
    with pytest.raises(UserError, match="class number from 0 to"):
        rehearsed(experiment(clients=[{}, flipper], **PRIVATE))


def test_a_rehearsal_leaves_a_strategy_of_one_s_own_to_its_rounds(tmp_path: Path) -> None:
    rehearsed(own_strategy(tmp_path, "def prepare(self, records, model): raise ValueError"))


def test_batch_norm_is_refused_in_rehearsal_for_private_clients_alone() -> None:
    made = experiment(**PRIVATE)
    mixing = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Linear(28 * 28, 3))
    with pytest.raises(UserError, match="BatchNorm2d"):
        rehearsed(made, mixing)
    rehearsed(made.change({"privacy.enabled": False, "clients.1.strategy": "honest"}), mixing)


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
