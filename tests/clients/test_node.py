"""The node's own work, with a connection and a ClientApp that do as a test says; tests/integration has real ones."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients import node as module
from clients.connection import LostError
from clients.node import Node, apologise, serve_one

ME = 77


class Scripted:
    """A connection: gives these messages, None where there is none yet; keeps what is sent."""

    node_id = ME

    def __init__(self, *messages: Message | None, fails: bool = False) -> None:
        self.messages, self.sent, self.fails = list(messages), list[Message](), fails

    def receive(self) -> Message | None:
        return self.messages.pop(0)

    def send(self, reply: Message, seconds: float = 0.0) -> None:
        if self.fails:
            raise LostError("is gone")
        self.sent.append(reply)


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 5, 1, 1
    yield
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1


def message(kind: str = "train") -> Message:
    made = Message(RecordDict(), dst_node_id=ME, message_type=kind)
    made.metadata.__dict__["_message_id"] = made.object_id
    return made


def made(folder: Path) -> tuple[Node, list[str]]:
    told: list[str] = []
    return Node(folder / "hospital.toml", folder / "in-work", told.append), told


def with_app(patch: pytest.MonkeyPatch, work: Callable[[Message, Context], Message]) -> None:
    patch.setattr(module, "app", work)
    patch.setattr(module, "POLL", 0.0)


def test_a_message_is_answered_by_this_checkouts_app_as_the_hospital(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Context] = []

    def app(asked: Message, context: Context) -> Message:
        seen.append(context)
        assert (tmp_path / "in-work").exists()
        return Message(RecordDict(), reply_to=asked)

    with_app(monkeypatch, app)
    node, _ = made(tmp_path)
    connection = Scripted(None, message(), message())
    assert serve_one(node, connection)  # type: ignore[arg-type]
    assert serve_one(node, connection)  # type: ignore[arg-type]
    assert len(connection.sent) == 2
    assert seen[0] is seen[1]  # one context for all messages of a run
    assert seen[0].node_config == {"hospital": str(tmp_path / "hospital.toml")}
    assert not (tmp_path / "in-work").exists()


def test_an_app_that_fails_gives_an_error_reply_without_the_exceptions_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def app(asked: Message, context: Context) -> Message:
        raise ValueError("patient 42")

    with_app(monkeypatch, app)
    node, _ = made(tmp_path)
    connection = Scripted(message())
    assert serve_one(node, connection)  # type: ignore[arg-type]
    assert connection.sent[0].error.reason == "ValueError"


def test_the_end_of_the_run_ends_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_app(monkeypatch, lambda asked, context: Message(RecordDict(), reply_to=asked))
    node, _ = made(tmp_path)
    assert not serve_one(node, Scripted(message("query.end")))  # type: ignore[arg-type]
    assert not serve_one(node, Scripted(message("query.end"), fails=True))  # type: ignore[arg-type]


def test_work_that_died_with_its_process_is_reported_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def app(asked: Message, context: Context) -> Message:
        raise KeyboardInterrupt  # the process ends here

    with_app(monkeypatch, app)
    node, _ = made(tmp_path)
    asked = message()
    with pytest.raises(KeyboardInterrupt):
        serve_one(node, Scripted(asked))  # type: ignore[arg-type]
    connection = Scripted()
    again, told = made(tmp_path)
    apologise(again, connection)  # type: ignore[arg-type]
    assert "ended while it worked" in connection.sent[0].error.reason
    assert connection.sent[0].metadata.reply_to_message_id == asked.metadata.message_id
    assert "ended while it worked" in told[0]
    apologise(again, connection)  # type: ignore[arg-type]
    assert len(connection.sent) == 1  # once


def test_a_note_that_is_damaged_or_of_another_node_is_dropped(tmp_path: Path) -> None:
    node, _ = made(tmp_path)
    (tmp_path / "in-work").write_bytes(b"\xff\xff\xff")
    connection = Scripted()
    apologise(node, connection)  # type: ignore[arg-type]
    assert connection.sent == []
    assert not (tmp_path / "in-work").exists()


def test_a_reply_that_a_broken_connection_kept_is_sent_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def app(asked: Message, context: Context) -> Message:
        reply = Message(RecordDict(), reply_to=asked)
        reply.metadata.__dict__["_src_node_id"] = ME
        return reply

    with_app(monkeypatch, app)
    node, _ = made(tmp_path)
    with pytest.raises(LostError):
        serve_one(node, Scripted(message(), fails=True))  # type: ignore[arg-type]
    again = Scripted()
    apologise(node, again)  # type: ignore[arg-type]
    assert [reply.has_error() for reply in again.sent] == [False]
    apologise(node, again)  # type: ignore[arg-type]
    assert len(again.sent) == 1


def test_a_hospital_hears_from_its_own_node_why_it_takes_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def app(asked: Message, context: Context) -> Message:
        refusal = ConfigRecord({"refusal": "its images are 64 pixels wide"})
        return Message(RecordDict({"client": refusal}), reply_to=asked)

    with_app(monkeypatch, app)
    node, told = made(tmp_path)
    connection = Scripted(message("query"), message("query"))
    serve_one(node, connection)  # type: ignore[arg-type]
    serve_one(node, connection)  # type: ignore[arg-type]
    assert told == ["takes no part: its images are 64 pixels wide"]  # once
    assert (node.refusal, node.updates) == ("its images are 64 pixels wide", 0)


def test_updates_are_counted_and_a_refusal_that_is_over_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_app(monkeypatch, lambda asked, context: Message(RecordDict(), reply_to=asked))
    node, _ = made(tmp_path)
    node.refusal = "not yet"
    connection = Scripted(message("query"), message("train"), message("train"))
    for _ in range(3):
        serve_one(node, connection)  # type: ignore[arg-type]
    assert (node.refusal, node.updates) == ("", 2)
