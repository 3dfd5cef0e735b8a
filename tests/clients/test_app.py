"""The ClientApp: it introduces itself, keeps its ledger over restarts, and answers a mistake with its sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message, RecordDict

from clients.hospital import Hospital, write_hospital
from clients.place import STATE_VARIABLE
from common.config import Experiment
from common.data import prepare
from common.exchange import END, arrays_of, from_record
from common.folder import read_json
from common.privacy import Ledger
from experiments.inprocess import InProcessGrid
from server.federation import initial_model
from tests.clients.client_fixture import (
    FOLDED,
    FOLDING,
    PRIVATE,
    ask,
    deliver,
    hospitals,
    join,
    refusal,
    request,
    simulated,
    tiny,
)


def entries(reply: RecordDict) -> list[int]:
    return [entry.round for entry in Ledger.from_json(str(reply["client"]["ledger"])).entries]


def kept(state: Path, name: str = "ledger.json") -> Any:
    """What client a has kept of its only run."""
    (file,) = (state / "a").glob(f"*/{name}")
    return read_json(file)


def weights(reply: RecordDict) -> dict[str, bytes]:
    return {name: array.data for name, array in reply["arrays"].items()}


def test_a_client_says_who_it_is() -> None:
    about = ask(simulated(), tiny(), "query", node=2, round_number=0)["client"]
    assert dict(about) == {
        "name": "b",
        "records": 20,
        "strategy": "label-flipper",
        "honest": False,
        "private": False,
    }


def test_a_private_client_says_what_it_plans_to_spend_a_round() -> None:
    made = tiny(**PRIVATE)
    (about, trained) = (reply["client"] for reply in join(simulated(), made, [1]))
    (entry,) = Ledger.from_json(str(trained["ledger"])).entries
    assert (about["private"], about["accountant"], about["delta"]) == (True, "rdp", 1e-3)
    assert (about["noise_multiplier"], about["sampling_rate"]) == (entry.noise_multiplier, entry.sampling_rate)
    assert about["steps_per_round"] == entry.steps == 3


def test_training_answers_with_weights_metrics_a_ledger_and_whose_question_it_answers() -> None:
    reply = deliver(simulated(), request(tiny(), "train", 2, run="token"), "train")
    assert isinstance(reply["arrays"], ArrayRecord)
    assert reply["metrics"]["num-examples"] == 20
    assert (reply["client"]["round"], reply["client"]["run"]) == (2, "token")
    assert entries(reply) == []


def test_a_run_s_end_is_taken_note_of() -> None:
    (reply,) = simulated().send_and_receive([Message(RecordDict(), dst_node_id=1, message_type=f"query.{END}")])
    assert not reply.has_error()
    assert dict(reply.content) == {}


def test_the_ledger_outlives_a_restart_in_flower_s_state_and_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    made = tiny(**PRIVATE)
    assert entries(join(simulated(), made, [1, 2])[-1]) == [1, 2]
    assert len(kept(tmp_path)["entries"]) == 2
    assert entries(join(simulated(), made, [3])[-1]) == [1, 2, 3]
    monkeypatch.delenv(STATE_VARIABLE)
    grid = simulated()
    join(grid, made, [1])
    assert entries(ask(grid, made, "train", round_number=2)) == [1, 2]


def test_two_runs_in_one_state_folder_have_a_ledger_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    join(simulated(), tiny(**PRIVATE), [1])
    for changed in ({"seed": 2}, {"privacy__epsilon": 3.0}, {"federation__rounds": 9}):
        assert entries(join(simulated(), tiny(**PRIVATE | changed), [1])[-1]) == [1]
    assert len(list((tmp_path / "a").glob("*/ledger.json"))) == 4


def own_strategy(folder: Path, body: str) -> Experiment:
    """Client a's strategy is Honest with ``body``."""
    (folder / "mine.py").write_text(f"from clients.honest import Honest\nclass Mine(Honest):\n    {body}\n")
    return tiny(clients=[{"name": "a", "strategy": f"{folder}/mine.py:Mine"}, {"name": "b"}], **PRIVATE)


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
    _, reply = join(simulated(), own_strategy(tmp_path, body), [1])
    assert refusal(reply) == f"strategy Mine.send raised {kind}; the client's own log tells more"
    assert [entry["round"] for entry in kept(tmp_path / "state")["entries"]] == [1]


def folding(folder: Path, **changes: Any) -> Experiment:
    """A federation whose model DP-SGD refuses."""
    (folder / "rows.py").write_text(FOLDING)
    return tiny(model={"name": f"{folder}/rows.py:build"}, **PRIVATE | changes)


def first_round(grid: InProcessGrid, made: Experiment) -> RecordDict:
    arrays = arrays_of(initial_model(made, prepare(made.data)))
    return ask(grid, made, "train", arrays=arrays)


def nodes(folder: Path, made: Experiment, kind: str) -> InProcessGrid:
    """Client a: in a simulation, or as a hospital with a file of its own."""
    if kind == "simulated":
        return simulated()
    hospital = Hospital.of(made, made.roster()[0], share=(0, 2), state=folder / "state")
    write_hospital(folder / "hospital.toml", hospital)
    return hospitals(folder / "hospital.toml")


@pytest.mark.parametrize("kind", ["simulated", "hospital"])
def test_why_a_private_client_s_model_is_refused_is_told_and_nothing_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    made = folding(tmp_path)
    grid = nodes(tmp_path, made, kind)
    join(grid, made)
    assert refusal(first_round(grid, made)).startswith(FOLDED)
    assert list((tmp_path / "state").rglob("introduction.json"))
    assert [read_json(file)["entries"] for file in (tmp_path / "state").rglob("ledger.json")] == [[]]


@pytest.mark.parametrize("kind", ["simulated", "hospital"])
def test_a_strategy_s_own_words_stay_where_the_model_is_at_no_fault(tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine.py").write_text(
        "from clients.honest import Honest\nfrom common.errors import UserError\n"
        "class Mine(Honest):\n"
        "    def train(self, model, records): raise UserError(f'saw {records.labels.tolist()}')\n"
    )
    made = tiny(clients=[{"name": "a", "strategy": f"{tmp_path}/mine.py:Mine"}, {"name": "b"}], **PRIVATE)
    _, reply = join(nodes(tmp_path, made, kind), made, [1])
    assert refusal(reply) == "strategy Mine.train raised UserError; the client's own log tells more"


def test_a_strategy_of_one_s_own_that_fails_by_itself_is_not_told_to_be_the_model_s_fault(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from clients.honest import Honest\nclass Mine(Honest):\n    def train(self, model, records): raise KeyError\n"
    )
    made = folding(tmp_path, clients=[{"name": "a", "strategy": f"{tmp_path}/mine.py:Mine"}, {"name": "b"}])
    grid = simulated()
    join(grid, made)
    assert refusal(first_round(grid, made)) == "strategy Mine.train raised KeyError; the client's own log tells more"


@pytest.mark.parametrize(
    ("private", "words"), [(True, "privacy.enabled: the model cannot be trained by DP-SGD"), (False, "")]
)
def test_a_hospital_tells_what_a_rehearsal_found_against_the_model(tmp_path: Path, private: bool, words: str) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, channels, classes):\n"
        "        super().__init__()\n"
        "        self.cells, self.last = nn.LSTM(28, 4, batch_first=True), nn.Linear(4, classes)\n"
        "    def forward(self, images):\n"
        "        return self.last(self.cells(images[:, 0])[0][:, -1])\n"
        "def build(channels, classes): return Net(channels, classes)\n"
    )
    made = tiny(model={"name": f"{tmp_path}/net.py:build"}, **PRIVATE | {"privacy__enabled": private})
    (reply,) = join(nodes(tmp_path, made, "hospital"), made)
    assert str(reply["client"].get("refusal", "")).startswith(words)
    assert ("refusal" in reply["client"]) is private


@pytest.mark.parametrize(
    "body",
    [
        "def send(self, update, received): raise KeyboardInterrupt",
        "def train(self, model, records):\n        super().train(model, records)\n        raise KeyboardInterrupt",
    ],
)
def test_an_interrupted_round_is_in_the_ledger_as_soon_as_it_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    made = own_strategy(tmp_path, body)
    with pytest.raises(KeyboardInterrupt):
        join(simulated(), made, [1])
    assert len(kept(tmp_path / "state")["entries"]) == 1


def test_a_repeated_round_is_the_same_update_and_costs_nothing_but_other_weights_do() -> None:
    made, grid = tiny(**PRIVATE), simulated()
    _, first = join(grid, made, [1])
    again = ask(grid, made, "train")
    assert weights(again) == weights(first)
    assert entries(again) == [1]
    moved = {name: array + 0.1 for name, array in from_record(first["arrays"]).items()}
    assert entries(ask(grid, made, "train", arrays=moved)) == [1, 1]


def test_a_private_client_trains_for_nobody_that_it_was_not_introduced_to() -> None:
    assert "has not introduced itself to this run" in refusal(ask(simulated(), tiny(**PRIVATE), "train"))
    assert "arrays" in ask(simulated(), tiny(), "train")


def test_a_newcomer_may_join_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    made, grid = tiny(**PRIVATE), simulated()
    assert "name" in ask(grid, made, "query", round_number=2)["client"]
    assert entries(ask(grid, made, "train", round_number=3)) == [3]


def test_a_client_whose_ledger_is_lost_takes_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    made = tiny(**PRIVATE)
    join(simulated(), made, [1])
    (file,) = (tmp_path / "a").glob("*/ledger.json")
    for damage, words in ((file.unlink, "its privacy ledger is lost"), (lambda: file.write_text("{"), "is damaged")):
        damage()
        assert words in refusal(ask(simulated(), made, "query", round_number=1))
        assert words in refusal(ask(simulated(), made, "train", round_number=2))


def test_a_damaged_introduction_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    made = tiny(**PRIVATE)
    join(simulated(), made)
    (file,) = (tmp_path / "a").glob("*/introduction.json")
    for text in ("{", "[]", '{"plan": {}, "rounds": 1}', '{"plan": null}'):
        file.write_text(text)
        assert "what this client planned for the run cannot be read" in refusal(ask(simulated(), made, "query"))


def test_an_introduction_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    made = tiny(**PRIVATE)
    join(simulated(), made, [1])
    before = kept(tmp_path, "introduction.json")
    ask(simulated(), made, "query", round_number=0)
    assert len(kept(tmp_path)["entries"]) == 1
    assert kept(tmp_path, "introduction.json") == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clients": [{"strategy": "honets"}, {}]}, "did you mean 'honest'"),
        ({"privacy__enabled": True, "privacy__epsilon": 1e-9, "privacy__delta": 1e-9}, "privacy.epsilon"),
        ({"data__source": "npz:/nowhere.npz"}, "/nowhere.npz"),
    ],
)
def test_a_mistake_is_answered_with_its_sentence(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(ask(simulated(), tiny(**changes), "query", round_number=0))


def test_weights_of_another_model_are_a_sentence() -> None:
    arrays = {"weight": torch.zeros(3)}
    assert "not those of its model" in refusal(ask(simulated(), tiny(), "train", arrays=arrays))
    content = request(tiny(), "train", 1)
    del content["arrays"]
    assert "no record 'arrays'" in refusal(deliver(simulated(), content, "train"))
    assert "rounds count from 1" in refusal(ask(simulated(), tiny(), "train", round_number=0))


def test_a_failure_of_a_simulated_client_is_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr("clients.app.place_of", fail)
    grid: InProcessGrid = simulated()
    message = Message(request(tiny(), "query", 0), dst_node_id=1, message_type="query")
    (reply,) = grid.send_and_receive([message])
    assert reply.error.reason == "KeyError: 'no such thing'"
