"""The Ray runner: the bytes of one process, a client that dies is left out, a round's weights are sent once."""

import asyncio
import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import pytest
import ray
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from common.data import prepare
from common.folder import read_lines
from experiments import ray as runner
from experiments.ray import AHEAD, RayGrid, simulate
from experiments.run import train
from tests.clients.client_fixture import tiny


class StandIn:
    """As much of Ray as the grid uses, in this process: tasks are done when they are waited for, the last one first."""

    exceptions = ray.exceptions

    class Reference:
        numbers = count()

        def __init__(self, thing: Any) -> None:
            self.thing = thing
            self.number = next(StandIn.Reference.numbers)

        def hex(self) -> str:
            return str(self.number)

    def __init__(self, do: Callable[..., Any] | None = None) -> None:
        self.stored: list[Any] = []
        self.do = do or (lambda *given: runner.answer_here(*given, self.get))
        self.options: dict[str, Any] = {}
        self.most, self.now = 0, 0.0
        self.until: dict[int, float] = {}  # when a node answers that does not at once
        self.workers: int | None = None  # how many tasks are worked on at once, in their order; any that is waited for
        self.cancelled: list[StandIn.Reference] = []

    def remote(self, **options: Any) -> Callable[[Any], "StandIn.Function"]:
        self.options = options
        return lambda function: StandIn.Function()

    def put(self, thing: Any) -> "StandIn.Reference":
        self.stored.append(thing)
        return StandIn.Reference(thing)

    def wait(self, references: list[Any], timeout: float | None) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(references))
        begun = references[: self.workers]
        ends = [self.until.get(one.given[1].metadata.dst_node_id, 0.0) for one in begun]
        if min(ends) > self.now:
            assert timeout is not None, "it would wait for ever"
            self.now = min(self.now + timeout, *ends)
        done = [one for one, end in zip(begun, ends, strict=True) if end <= self.now][-1:]
        return done, [one for one in references if one not in done]

    def clock(self) -> float:
        return self.now

    def get(self, reference: Any) -> Any:
        return self.do(*reference.given) if isinstance(reference, StandIn.Task) else reference.thing

    def cancel(self, reference: Any, force: bool) -> None:
        assert force, "who is busy would not hear"
        self.cancelled.append(reference)

    class Task:
        def __init__(self, given: tuple[Any, ...]) -> None:
            self.given = given

    class Function:
        def remote(self, root: str, app: list[Any], *given: Any) -> "StandIn.Task":
            return StandIn.Task((app[0], *deepcopy(given[:1]), given[1], *deepcopy(given[2:])))


@pytest.fixture(autouse=True)
def lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.ray.end_with_parent", lambda: None)


def counting() -> ClientApp:
    """An app whose clients count how often they were asked, and take the arrays out of their message."""
    app = ClientApp()

    @app.train()
    def query(message: Message, context: Context) -> Message:
        weights = message.content["arrays"].pop("weights")
        seen = int(context.state.config_records.get("seen", ConfigRecord({"n": 0}))["n"]) + 1
        context.state["seen"] = ConfigRecord({"n": seen})
        told = {"seen": seen, "partition": context.node_config["partition-id"], "size": len(weights.data)}
        return Message(RecordDict({"told": ConfigRecord(told)}), reply_to=message)

    return app


def messages(nodes: Iterable[int]) -> list[Message]:
    content = RecordDict({"arrays": ArrayRecord({"weights": Array("float32", (1,), "numpy.ndarray", b"1234")})})
    return [Message(content, dst_node_id=node, message_type="train") for node in nodes]


def ask(grid: RayGrid, nodes: list[int], **options: Any) -> list[Message]:
    return list(grid.send_and_receive(messages(nodes), **options))


def test_replies_come_from_who_was_asked_and_client_state_lasts() -> None:
    grid = RayGrid(StandIn(), counting(), 3, workers=1)
    replies = ask(grid, [1, 2, 3])
    assert [reply.metadata.src_node_id for reply in replies] == [2, 3, 1]
    told = [dict(reply.content["told"]) for reply in [*replies, *ask(grid, [3])]]
    assert [(one["partition"], one["seen"]) for one in told] == [(1, 1), (2, 1), (0, 1), (2, 2)]
    assert all(one["size"] == 4 for one in told)


def test_a_round_s_weights_are_put_into_the_store_once() -> None:
    stand_in = StandIn()
    grid = RayGrid(stand_in, counting(), 5, workers=2)
    ask(grid, [1, 2, 3, 4, 5])
    assert sum(isinstance(thing, ArrayRecord) for thing in stand_in.stored) == 1
    assert sum(isinstance(thing, ClientApp) for thing in stand_in.stored) == 1
    assert stand_in.most == 2 * AHEAD


def test_a_worker_keeps_the_weights_of_one_round() -> None:
    grid = RayGrid(StandIn(), counting(), 2, workers=1)
    for _ in range(3):
        ask(grid, [1, 2])
    assert sum(isinstance(thing, ArrayRecord) for thing in runner._kept.values()) == 1


def test_a_client_whose_worker_dies_has_failed_and_is_not_asked_twice() -> None:
    def die(app: Any, message: Message, arrays: dict[str, Any], context: Context) -> Any:
        if context.node_config["partition-id"] == 0:
            raise ray.exceptions.WorkerCrashedError
        return runner.answer_here(app, message, arrays, context, stand_in.get)

    stand_in = StandIn(die)
    replies = ask(RayGrid(stand_in, counting(), 2, workers=1), [1, 2])
    assert [reply.has_error() for reply in replies] == [False, True]
    assert replies[1].metadata.src_node_id == 1
    assert replies[1].error.reason.startswith("its worker was lost (WorkerCrashedError")
    assert stand_in.options["max_retries"] == 0


def test_a_client_that_raises_has_failed() -> None:
    app = ClientApp()

    @app.train()
    def fail(message: Message, context: Context) -> Message:
        raise ValueError("no disk")

    (reply,) = ask(RayGrid(StandIn(), app, 1, workers=1), [1])
    assert reply.error.reason == "ValueError: no disk"


def test_whoever_is_too_slow_is_ended_and_nobody_s_time_runs_before_it_is_asked() -> None:
    stand_in = StandIn()
    stand_in.until = {1: inf, 3: inf}
    replies = ask(RayGrid(stand_in, counting(), 6, workers=1, clock=stand_in.clock), [1, 2, 3, 4, 5, 6], timeout=10.0)
    assert sorted(reply.metadata.src_node_id for reply in replies) == [2, 4, 5, 6]
    assert [one.given[1].metadata.dst_node_id for one in stand_in.cancelled] == [1, 3]
    assert stand_in.now == 2 * 10.0  # one after the other


@pytest.mark.parametrize("workers", [1, 2])
def test_who_waits_behind_a_slow_client_is_not_ended_with_it(workers: int) -> None:
    stand_in = StandIn()
    stand_in.until, stand_in.workers = {1: inf}, workers
    grid = RayGrid(stand_in, counting(), 6, workers=workers, clock=stand_in.clock)
    replies = ask(grid, [1, 2, 3, 4, 5, 6], timeout=10.0)
    assert sorted(reply.metadata.src_node_id for reply in replies) == [2, 3, 4, 5, 6]
    assert [one.given[1].metadata.dst_node_id for one in stand_in.cancelled] == [1]
    assert stand_in.now == 10.0


def test_a_reply_that_came_in_time_counts_however_long_the_server_took_with_another() -> None:
    stand_in = StandIn()
    grid = RayGrid(stand_in, counting(), 6, workers=3, clock=stand_in.clock)
    came = 0
    for _ in grid.send_and_receive(messages(range(1, 7)), timeout=10.0):
        came += 1
        stand_in.now += 20.0
    assert (came, stand_in.cancelled) == (6, [])


def test_each_client_has_its_own_time() -> None:
    stand_in = StandIn()
    stand_in.until, stand_in.workers = {1: inf, 3: 6.0}, 2
    grid = RayGrid(stand_in, counting(), 4, workers=2, clock=stand_in.clock)
    answered = []
    for reply in grid.send_and_receive(messages([1, 2, 3, 4]), timeout=4.0):
        answered.append(reply.metadata.src_node_id)
        if answered == [2]:
            stand_in.now = 3.0  # client 3 begins now, and is at work when client 1 has had its time
    assert sorted(answered) == [2, 3, 4]
    assert [one.given[1].metadata.dst_node_id for one in stand_in.cancelled] == [1]


def test_workers_that_are_stuck_are_ended_at_the_same_time() -> None:
    stand_in = StandIn()
    stand_in.until, stand_in.workers = {1: inf, 2: inf}, 2
    replies = ask(RayGrid(stand_in, counting(), 4, workers=2, clock=stand_in.clock), [1, 2, 3, 4], timeout=10.0)
    assert sorted(reply.metadata.src_node_id for reply in replies) == [3, 4]
    assert stand_in.now == 10.0


def test_without_a_limit_whoever_is_slow_is_waited_for() -> None:
    stand_in = StandIn()
    stand_in.until = {1: inf}
    with pytest.raises(AssertionError, match="for ever"):
        ask(RayGrid(stand_in, counting(), 1, workers=1, clock=stand_in.clock), [1])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ray.exceptions.OutOfMemoryError("the node"), "its worker was ended for lack of memory"),
        (ray.exceptions.RayTaskError("train", "lines", ValueError("no disk")), "ValueError: no disk"),
        (ray.exceptions.ObjectLostError("0" * 56, None, ""), "its worker was lost (ObjectLostError"),
    ],
)
def test_why_a_client_failed_on_ray_is_told(error: Exception, told: str) -> None:
    def fail(*_: Any) -> Any:
        raise error

    (reply,) = ask(RayGrid(StandIn(fail), counting(), 1, workers=1), [1])
    assert reply.error.reason.startswith(told)


def test_a_client_that_is_cancelled_from_inside_has_failed() -> None:
    app = ClientApp()

    @app.train()
    def fail(message: Message, context: Context) -> Message:
        raise asyncio.CancelledError("by itself")

    (reply,) = ask(RayGrid(StandIn(), app, 1, workers=1), [1])
    assert reply.error.reason == "CancelledError: by itself"


def test_what_is_under_way_is_ended_with_the_round() -> None:
    stand_in = StandIn()
    grid = RayGrid(stand_in, counting(), 4, workers=2)
    messages = [Message(RecordDict({"arrays": ArrayRecord()}), dst_node_id=1, message_type="train") for _ in range(4)]
    replies = grid.send_and_receive(messages)
    next(replies)
    replies.close()
    assert len(stand_in.cancelled) == 3


MORTAL = """
import os
import ray
from clients.honest import Honest

class Mortal(Honest):
    def train(self, model, records):
        if ray.is_initialized():
            os._exit(1)
        raise ValueError
"""


@pytest.mark.processes
def test_ray_goes_on_without_a_client_that_kills_its_worker_and_gives_the_others_bytes(tmp_path: Path) -> None:
    (tmp_path / "mortal.py").write_text(MORTAL)
    third = {"name": "c", "strategy": f"{tmp_path / 'mortal.py'}:Mortal"}
    made = tiny(clients=[*tiny().model_dump(exclude_none=True)["clients"], third], federation__rounds=2)
    lines = []
    for how in ("ray", "inprocess"):
        folder = train(made, prepare(made.data), tmp_path / how, how)
        lines.append([line["clients"] for line in read_lines(folder.rounds)])
    there, here = lines
    assert [[client["status"] for client in line] for line in there] == [["accepted", "accepted", "refused"]] * 2
    assert "its worker was lost" in there[0][2]["reason"]
    assert [line[:2] for line in there] == [line[:2] for line in here]
    assert not ray.is_initialized()


@pytest.mark.processes
def test_what_the_server_s_work_raises_is_raised_and_ray_is_gone(tmp_path: Path) -> None:
    def work(grid: Any) -> None:
        assert grid.get_node_ids() == [1, 2]
        raise json.JSONDecodeError("a mistake", "", 0)

    with pytest.raises(json.JSONDecodeError):
        simulate(counting(), 2, work)
    assert not ray.is_initialized()
