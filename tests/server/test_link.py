"""Real sockets on loopback; nodes are threads that use the connection of real ones."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.supercore.corestate import in_memory_corestate

from clients.connection import Connection, LostError, connect, own_key
from common.errors import UserError
from server.checks import reply_limit
from server.link import Certificates, Link, open_link
from tests.waiting import until

LIMIT = 4_000_000
Work = Callable[[Message], Message]


def echo(message: Message) -> Message:
    """A node that sends back what it got."""
    return Message(message.content, reply_to=message)


def content(size: int = 1000, value: float = 1.0) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({"w": Array(np.full(size, value, dtype=np.float32))})})


def ask(link: Link, *nodes: int, timeout: float = 20.0, size: int = 1000) -> list[Message]:
    messages = [Message(content(size), dst_node_id=node, message_type="train") for node in nodes]
    return link.grid.send_and_receive(messages, timeout=timeout)


@contextlib.contextmanager
def node(link: Link, key: Path, work: Work = echo) -> Iterator[int]:
    """A node that answers until the block ends; yields its id."""
    stopped = threading.Event()
    joined: list[int] = []

    def serve(connection: Connection) -> None:
        while not stopped.is_set():
            message = connection.receive()
            if message is None:
                stopped.wait(0.02)
                continue
            with contextlib.suppress(LostError):
                connection.send(work(message))

    def live() -> None:
        with contextlib.suppress(LostError), connect(link.address, own_key(key), None) as connection:
            joined.append(connection.node_id)
            serve(connection)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    until(lambda: joined, "a node joins")
    try:
        yield joined[0]
    finally:
        stopped.set()
        thread.join()


def test_messages_go_to_nodes_and_their_replies_come_back(tmp_path: Path) -> None:
    with open_link("127.0.0.1", 0, LIMIT) as link, node(link, tmp_path / "a") as a, node(link, tmp_path / "b") as b:
        assert link.grid.get_node_ids() == sorted([a, b])
        replies = ask(link, a, b)
        assert {reply.metadata.src_node_id for reply in replies} == {a, b}
        for reply in replies:
            assert np.array_equal(reply.content.array_records["arrays"]["w"].numpy(), np.ones(1000, np.float32))
        assert link.identities is None


def test_a_node_that_leaves_is_no_longer_there_and_gives_an_error_at_once(tmp_path: Path) -> None:
    with open_link("127.0.0.1", 0, LIMIT) as link:
        with node(link, tmp_path / "a") as a:
            pass
        assert link.grid.get_node_ids() == []
        (reply,) = ask(link, a, timeout=20)
        assert reply.has_error()
        assert reply.metadata.src_node_id == a


def test_a_node_keeps_its_id_over_a_restart(tmp_path: Path) -> None:
    with open_link("127.0.0.1", 0, LIMIT) as link:
        with node(link, tmp_path / "a") as before:
            pass
        with node(link, tmp_path / "a") as after:
            assert after == before


def test_a_second_node_with_a_connected_ones_key_is_not_admitted(tmp_path: Path) -> None:
    with (
        open_link("127.0.0.1", 0, LIMIT) as link,
        node(link, tmp_path / "a"),
        pytest.raises(LostError),
        connect(link.address, own_key(tmp_path / "a"), None),
    ):
        pass


def test_a_reply_that_is_too_large_gives_an_error_and_the_others_come(tmp_path: Path) -> None:
    huge = content(LIMIT, 0.5)
    huge["arrays"]["w"] = Array(np.random.default_rng(0).random(LIMIT).astype(np.float32))  # type: ignore[index]
    with (
        open_link("127.0.0.1", 0, LIMIT) as link,
        node(link, tmp_path / "a") as a,
        node(link, tmp_path / "b", lambda message: Message(huge, reply_to=message)) as b,
    ):
        replies = {reply.metadata.src_node_id: reply for reply in ask(link, a, b)}
        assert not replies[a].has_error()
        assert "more than" in replies[b].error.reason
        again = {reply.metadata.src_node_id: reply for reply in ask(link, a, b)}  # and it ends nothing
        assert not again[a].has_error()
        assert again[b].has_error()


@pytest.mark.parametrize("parameters", [1_000, 12_000_000])
def test_an_honest_reply_of_any_models_size_passes_the_door_twice(tmp_path: Path, parameters: int) -> None:
    limit = reply_limit({"w": torch.zeros(parameters)})
    weights = np.random.default_rng(0).random(parameters).astype(np.float32)
    update = RecordDict({"arrays": ArrayRecord({"w": Array(weights)})})
    with (
        open_link("127.0.0.1", 0, limit) as link,
        node(link, tmp_path / "a", lambda message: Message(update, reply_to=message)) as a,
    ):
        for _ in range(2):
            (reply,) = ask(link, a, timeout=120)
            assert not reply.has_error(), reply.error.reason
            assert np.array_equal(reply.content.array_records["arrays"]["w"].numpy(), weights)


def test_a_small_upload_that_expands_is_refused(tmp_path: Path) -> None:
    # Flower sends equal pieces of 5 MiB once: an array of zeros of any size crosses the wire as one piece.
    bomb = RecordDict({"arrays": ArrayRecord({"w": Array(np.zeros(30_000_000, np.float32))})})
    with (
        open_link("127.0.0.1", 0, 20_000_000) as link,
        node(link, tmp_path / "a", lambda message: Message(bomb, reply_to=message)) as a,
    ):
        (reply,) = ask(link, a)
        assert reply.has_error()
        assert "would take 13" in reply.error.reason


def test_who_is_silent_costs_the_timeout_and_a_late_reply_is_dropped(tmp_path: Path) -> None:
    gate = threading.Event()

    def slow(message: Message) -> Message:
        gate.wait(20)
        return echo(message)

    with open_link("127.0.0.1", 0, LIMIT) as link, node(link, tmp_path / "a", slow) as a:
        assert ask(link, a, timeout=0.3) == []
        gate.set()
        (reply,) = ask(link, a)
        assert not reply.has_error()


def test_an_error_reply_is_passed_on(tmp_path: Path) -> None:
    def fail(message: Message) -> Message:
        return Message(Error(2, "out of memory"), reply_to=message)

    with open_link("127.0.0.1", 0, LIMIT) as link, node(link, tmp_path / "a", fail) as a:
        (reply,) = ask(link, a)
        assert reply.error.reason == "out of memory"


def test_at_the_end_nodes_are_told(tmp_path: Path) -> None:
    heard: list[str] = []

    def listen(message: Message) -> Message:
        heard.append(message.metadata.message_type)
        return Message(RecordDict({"client": ConfigRecord({})}), reply_to=message)

    with contextlib.ExitStack() as stack:
        with open_link("127.0.0.1", 0, LIMIT) as link:
            stack.enter_context(node(link, tmp_path / "a", listen))
        assert heard == ["query.end"]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{link.address}/health")


def test_a_taken_port_is_one_sentence() -> None:
    with open_link("127.0.0.1", 0, LIMIT) as link:
        port = int(link.address.rpartition(":")[2])
        with (
            pytest.raises(UserError, match=rf"--port {port}: cannot be listened on .* --port"),
            open_link("127.0.0.1", port, LIMIT),
        ):
            pass


def test_two_links_live_side_by_side(tmp_path: Path) -> None:
    with open_link("127.0.0.1", 0, LIMIT) as one, node(one, tmp_path / "a") as a:
        with open_link("127.0.0.1", 0, LIMIT) as other, node(other, tmp_path / "b") as b:
            assert ask(other, b)
            assert other.grid.get_node_ids() == [b]
        assert one.grid.get_node_ids() == [a]
        assert ask(one, a)


def test_nothing_but_the_fleet_api_answers() -> None:
    with open_link("127.0.0.1", 0, LIMIT) as link:
        assert httpx.get(f"http://{link.address}/health").status_code == 200
        assert httpx.get(f"http://{link.address}/docs").status_code == 404
        assert httpx.post(f"http://{link.address}/v1/control/start-run", content=b"").status_code == 404
        assert httpx.post(f"http://{link.address}/v1/fleet/pull-messages", content=b"x").status_code >= 400


def test_certificates_that_are_missing_or_wrong_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no server\.crt; `psreval certificates`"):
        Certificates.load(tmp_path)
    (tmp_path / "server.crt").write_text("no")
    (tmp_path / "server.key").write_text("no")
    with pytest.raises(UserError, match=r"server\.crt and server\.key"):
        Certificates.load(tmp_path)


def test_after_an_error_nodes_are_not_told_that_the_run_is_over(tmp_path: Path) -> None:
    heard: list[str] = []

    def listen(message: Message) -> Message:
        heard.append(message.metadata.message_type)
        return Message(RecordDict(), reply_to=message)

    def interrupted() -> None:
        with open_link("127.0.0.1", 0, LIMIT) as link:
            stack.enter_context(node(link, tmp_path / "a", listen))
            raise KeyboardInterrupt

    with contextlib.ExitStack() as stack, pytest.raises(KeyboardInterrupt):
        interrupted()
    assert heard == []  # the run can be resumed, and the node shall still be there


def test_a_pause_of_hours_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = in_memory_corestate.now
    with open_link("127.0.0.1", 0, LIMIT) as link:
        monkeypatch.setattr(in_memory_corestate, "now", lambda: now() + timedelta(hours=5))
        with node(link, tmp_path / "a") as a:
            (reply,) = ask(link, a)
            assert not reply.has_error()
