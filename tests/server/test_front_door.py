import asyncio
from typing import Any

import pytest

from server.front_door import FLEET, FrontDoor


async def behind(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole request, then says 200; a sender that hung up gets nothing."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


def knock(
    door: FrontDoor, path: str, *parts: bytes, length: int | None = None, address: str = "10.0.0.1"
) -> int | None:
    """Return the status of the answer, None if there was none."""
    parts = parts or (b"",)
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    answers: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "path": path, "headers": headers, "client": (address, 1)}
    asyncio.run(door(scope, receive, send))
    return answers[0]["status"] if answers else None


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/control/start-run", "/v1/runtime/push-messages", "/v1/fleet"])
def test_there_is_nothing_but_the_fleet_api_and_health(path: str) -> None:
    assert knock(FrontDoor(behind), path) == 404


@pytest.mark.parametrize("path", ["/health", FLEET + "pull-messages", FLEET + "activate-node"])
def test_nodes_come_in(path: str) -> None:
    assert knock(FrontDoor(behind), path) == 200


def test_a_large_request_is_refused_by_what_it_announces() -> None:
    door = FrontDoor(behind, request_limit=100)
    assert knock(door, FLEET + "push-object", length=100) == 200
    assert knock(door, FLEET + "push-object", length=101) == 413
    headers = [(b"content-length", b"-5")]
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    asyncio.run(door({"type": "http", "path": FLEET + "push-object", "headers": headers}, None, send))  # type: ignore[arg-type]
    assert answers[0]["status"] == 413


def test_a_large_request_is_refused_by_what_comes() -> None:
    door = FrontDoor(behind, request_limit=100)
    assert knock(door, FLEET + "push-object", b"a" * 60, b"b" * 40) == 200
    assert knock(door, FLEET + "push-object", b"a" * 60, b"b" * 41, b"c") is None
    assert knock(door, FLEET + "push-object", b"a" * 60, b"b" * 41, length=10) is None


def test_a_flood_of_joins_is_refused_until_a_minute_has_passed() -> None:
    now = [0.0]
    door = FrontDoor(behind, joins_per_minute=3, clock=lambda: now[0])
    assert [knock(door, FLEET + "register-node") for _ in range(4)] == [200, 200, 200, 429]
    assert knock(door, FLEET + "activate-node") == 429
    assert knock(door, FLEET + "register-node", address="10.0.0.2") == 200  # another is not punished
    assert knock(door, FLEET + "pull-messages") == 200  # who has joined goes on
    now[0] = 61.0
    assert knock(door, FLEET + "register-node") == 200


def test_a_request_that_never_ends_is_given_up() -> None:
    door = FrontDoor(behind, body_seconds=0.05)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "path": FLEET + "push-object", "headers": [], "client": ("10.0.0.1", 1)}
    asyncio.run(asyncio.wait_for(door(scope, receive, send), 20))
