"""The in-process grid, and the private parts of Flower that it stands on."""

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from experiments.inprocess import InProcessGrid


def app_that(answer: str | Exception) -> ClientApp:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        if isinstance(answer, Exception):
            raise answer
        seen = int(context.state.config_records.get("seen", ConfigRecord({"n": 0}))["n"]) + 1
        context.state["seen"] = ConfigRecord({"n": seen})
        told = ConfigRecord({"answer": answer, "seen": seen, "partition": context.node_config["partition-id"]})
        return Message(RecordDict({"told": told}), reply_to=message)

    return app


def ask(grid: InProcessGrid, nodes: list[int]) -> list[Message]:
    messages = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in nodes]
    return list(grid.send_and_receive(messages))


def test_it_is_a_flower_grid() -> None:
    grid = InProcessGrid(app_that("yes"), 3)
    assert isinstance(grid, Grid)
    assert grid.get_node_ids() == [1, 2, 3]


def test_replies_come_from_who_was_asked_and_client_state_lasts() -> None:
    grid = InProcessGrid(app_that("yes"), 2)
    first, second = ask(grid, [2, 1])
    assert [first.metadata.src_node_id, second.metadata.src_node_id] == [2, 1]
    assert first.content["told"]["partition"] == 1
    (again,) = ask(grid, [2])
    assert again.content["told"]["seen"] == 2
    assert ask(grid, [1])[0].content["told"]["seen"] == 2


def test_a_client_that_fails_is_an_error_reply() -> None:
    (reply,) = ask(InProcessGrid(app_that(RuntimeError("no disk")), 1), [1])
    assert reply.has_error()
    assert reply.error.reason == "RuntimeError: no disk"


def test_ctrl_c_is_not_swallowed() -> None:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(InProcessGrid(app, 1), [1])


def test_a_node_says_that_it_is_in_this_process_and_what_it_is_configured_with() -> None:
    app, seen = ClientApp(), []

    @app.query()
    def query(message: Message, context: Context) -> Message:
        seen.append(dict(context.node_config))
        return Message(RecordDict(), reply_to=message)

    ask(InProcessGrid(app, 2), [2])
    ask(InProcessGrid(app, 2, [{"hospital": "a.toml"}, {"hospital": "b.toml"}]), [1])
    simulated = {"num-partitions": 2, "in-process": True}
    assert seen == [{"partition-id": 1, **simulated}, {"partition-id": 0, "hospital": "a.toml", **simulated}]


def test_a_message_is_delivered_when_its_reply_is_wanted() -> None:
    app, asked = ClientApp(), []

    @app.query()
    def query(message: Message, context: Context) -> Message:
        asked.append(message.metadata.dst_node_id)
        return Message(RecordDict(), reply_to=message)

    messages = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in (1, 2)]
    replies = iter(InProcessGrid(app, 2).send_and_receive(messages))
    first = next(replies)
    assert asked == [1]
    identities = [message.metadata.message_id for message in messages]  # all have theirs by now
    assert first.metadata.reply_to_message_id == identities[0]
    assert [reply.metadata.reply_to_message_id for reply in replies] == identities[1:]
    assert asked == [1, 2]
