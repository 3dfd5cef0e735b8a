"""A server's message is read with care: it decides nothing by what it lacks or by what cannot be."""

from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from clients.asked import LARGEST_DESCRIPTION, asked
from common.code import code_digest
from common.data import prepare
from common.errors import UserError
from common.exchange import CONFIG, told
from tests.clients.client_fixture import refusal, request, simulated, tiny

GOOD = dict(told(tiny(), 2, "token", prepare(tiny().data)))


def message(**changes: Any) -> Message:
    """A good message with these keys changed; None leaves one out."""
    record = {**GOOD, **{key.replace("_", "-"): value for key, value in changes.items()}}
    content = RecordDict({CONFIG: ConfigRecord({key: value for key, value in record.items() if value is not None})})
    return Message(content, dst_node_id=1, message_type="query")


@pytest.fixture(autouse=True)
def _grid() -> None:
    simulated()  # Flower lets a message be made only where it thinks that a task runs


def test_what_is_told_is_read() -> None:
    dataset = prepare(tiny().data)
    request = asked(message())
    assert request.experiment == tiny()
    assert (request.round, request.run) == (2, "token")
    assert (request.classes, request.channels, request.image_size) == (dataset.classes, 1, 28)
    assert (list(request.mean), list(request.std)) == (GOOD["mean"], GOOD["std"])
    assert request.counted == 0
    request.check_data(dataset, "a")


def test_an_equal_description_is_read_once_and_another_is_not_taken_for_it() -> None:
    assert asked(message()).experiment is asked(message()).experiment
    other = asked(message(experiment=tiny().change({"seed": 99}).to_toml())).experiment
    assert (other.seed, asked(message()).experiment) == (99, tiny())


def test_it_is_read_which_update_counted_last() -> None:
    assert asked(message(counted=1)).counted == 1


@pytest.mark.parametrize("code", ["0" * 64, "", None])
def test_other_code_is_refused(code: str | None) -> None:
    with pytest.raises(UserError, match=r"this node runs other code than the server: .*; update psreval") as caught:
        asked(message(code=code))
    assert code_digest()[:12] in str(caught.value)


@pytest.mark.parametrize("kind", ["query", "train"])
def test_other_code_is_refused_by_the_client(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    grid, content = simulated(), request(tiny(), kind, 1)
    monkeypatch.setattr("clients.asked.code_digest", lambda: "f" * 64)
    (reply,) = grid.send_and_receive([Message(content, dst_node_id=1, message_type=kind)])
    assert "ffffffffffff here" in refusal(reply.content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server_round": None}, "'server-round' is None"),
        ({"server_round": -1}, "'server-round' is -1"),
        ({"server_round": True}, "'server-round' is True"),
        ({"server_round": 10**10}, "'server-round' is 10000000000"),
        ({"counted": -1}, "'counted' is -1"),
        ({"counted": "1"}, "'counted' is '1'"),
        ({"run": 3}, "'run' is 3"),
        ({"classes": []}, "'classes' is"),
        ({"channels": 0}, "'channels' is 0"),
        ({"image_size": 2.5}, "'image-size' is 2.5"),
        ({"mean": [float("nan")]}, "'mean' is"),
        ({"mean": [0.5, 0.5]}, "do not fit its 1 channels"),
        ({"std": [0.0]}, "do not fit its 1 channels"),
        ({"experiment": "seed = "}, "the server's description is not valid TOML"),
        ({"experiment": "sed = 1"}, "did you mean 'seed'"),
        ({"experiment": "#" * (LARGEST_DESCRIPTION + 1)}, "characters"),
    ],
)
def test_a_message_that_cannot_be_is_a_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        asked(message(**changes))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_message_without_settings_is_a_sentence() -> None:
    with pytest.raises(UserError, match="other code"):
        asked(Message(RecordDict(), dst_node_id=1, message_type="query"))
