import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request, Response
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree
from flwr.proto.node_pb2 import Node
from hypothesis import given
from hypothesis import strategies as st

from server.allowance import ANNOUNCEMENTS, Allowance, AllowanceLayer
from server.front_door import FLEET


def test_a_node_that_was_sent_nothing_may_send_nothing() -> None:
    allowance = Allowance(100)
    assert not allowance.spend(7, 1)


@given(st.integers(1, 1000), st.lists(st.integers(0, 400), max_size=20))
def test_a_node_sends_a_reply_twice_and_no_more(reply: int, sizes: list[int]) -> None:
    allowance, limit = Allowance(reply), 2 * reply
    allowance.grant(1)
    sent = 0
    for size in sizes:
        passed = allowance.spend(1, size)
        sent += size
        assert passed == (sent <= limit)
        if not passed:
            assert allowance.is_exceeded(1)
            assert not allowance.spend(1, 0)  # what follows is of no use any more
            break
        assert not allowance.is_exceeded(1)


def test_the_next_message_grants_the_limit_anew_and_only_to_its_node() -> None:
    allowance = Allowance(10)
    allowance.grant(1)
    allowance.grant(2)
    assert not allowance.spend(1, 21)
    assert allowance.spend(2, 20)
    allowance.grant(1)
    assert not allowance.is_exceeded(1)
    assert allowance.spend(1, 20)


def reply(**changes: Any) -> PushMessagesRequest:
    """A node's announcement of its reply, but for the changes."""
    told = {"node": 7, "src": 7, "reply_to": "asked", "root": "reply", "messages": 1} | changes
    metadata = Metadata(message_id="reply", src_node_id=told["src"], reply_to_message_id=told["reply_to"])
    return PushMessagesRequest(
        node=Node(node_id=told["node"]),
        messages_list=[Message(metadata=metadata)] * told["messages"],
        message_object_trees=[ObjectTree(object_id=told["root"])],
    )


def answer(request: PushMessagesRequest, allowance: Allowance) -> int:
    """The status with which the layer answers, 200 if it lets the request pass."""
    layer = AllowanceLayer(lambda *_: None)  # type: ignore[arg-type]
    scope = {"type": "http", "path": FLEET + "push-messages", "headers": [], "app": SimpleNamespace()}
    scope["app"].state = SimpleNamespace(allowance=allowance)
    asked = Request(scope)
    asked.state.protobuf_request = request

    async def behind(_: Request) -> Response:
        return Response(status_code=200)

    return asyncio.run(layer.dispatch(asked, behind)).status_code


def test_a_nodes_own_reply_passes() -> None:
    allowance = Allowance(10_000)
    allowance.grant(7)
    assert answer(reply(), allowance) == 200


@pytest.mark.parametrize(
    "changes",
    [{"src": 8}, {"src": 1, "reply_to": ""}, {"reply_to": ""}, {"root": "another"}, {"messages": 2}, {"messages": 0}],
    ids=str,
)
def test_nobody_answers_for_another_or_gives_orders(changes: dict[str, Any]) -> None:
    allowance = Allowance(10_000)
    allowance.grant(7)
    assert answer(reply(**changes), allowance) == 403


def test_a_node_announces_no_more_than_so_many_replies_for_one_message() -> None:
    allowance = Allowance(1_000_000)
    allowance.grant(7)
    answers = [answer(reply(), allowance) for _ in range(ANNOUNCEMENTS + 1)]
    assert answers == [200] * ANNOUNCEMENTS + [413]
