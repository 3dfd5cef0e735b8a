"""The front door of a server that listens: which paths there are, how large a request may be, how often one may join.

Flower's SuperLink accepts any amount from anyone. This ASGI layer and ``server.allowance`` stand around its Fleet API.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FLEET = "/v1/fleet/"
"""Where Flower's nodes knock; beside it there is only ``/health``."""
REQUEST_LIMIT = 8 * 2**20
"""Bytes of one request; Flower cuts arrays into pieces of 5 MiB."""
JOINS_PER_MINUTE = 300
"""Registrations and activations that one address may make a minute; a flood of reconnects is refused."""
BODY_SECONDS = 300.0
"""Seconds that a request may take to come whole: a piece of 5 MiB over a line of 140 kbit/s."""
ADDRESSES_LIMIT = 10_000
"""Addresses that are remembered; the oldest is forgotten first."""

_JOINING = (FLEET + "register-node", FLEET + "activate-node")


class FrontDoor:
    """Refuses other paths (404), large requests (413) and floods of joins (429), before anything is read or parsed.

    Args:
        app: what is behind.
        request_limit: bytes that one request may have.
        joins_per_minute: registrations and activations that one address may make.
        body_seconds: that a request may take to come whole.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        app: ASGIApp,
        request_limit: int = REQUEST_LIMIT,
        joins_per_minute: int = JOINS_PER_MINUTE,
        body_seconds: float = BODY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._limit = request_limit
        self._joins = joins_per_minute
        self._seconds = body_seconds
        self._clock = clock
        self._since: OrderedDict[str, list[float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path != "/health" and not path.startswith(FLEET):
            await _answer(send, 404)
        elif path in _JOINING and self._is_flood(str((scope.get("client") or ("unknown",))[0])):
            await _answer(send, 429)
        elif _announced(scope) > self._limit:
            await _answer(send, 413)
        else:
            await self._app(scope, self._counted(receive), send)

    def _is_flood(self, address: str) -> bool:
        now = self._clock()
        recent = [moment for moment in self._since.get(address, []) if now - moment < 60.0]
        flood = len(recent) >= self._joins
        if not flood:
            recent.append(now)
        self._since[address] = recent
        self._since.move_to_end(address)
        while len(self._since) > ADDRESSES_LIMIT:
            self._since.popitem(last=False)
        return flood

    def _counted(self, receive: Receive) -> Receive:
        """Count what really comes, and when: a request need not announce its length, or ever end."""
        seen, whole = 0, False
        deadline = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal seen, whole
            try:
                async with asyncio.timeout_at(None if whole else deadline):
                    message = await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > self._limit:
                # As if the sender had hung up: what is behind reads no further.
                return {"type": "http.disconnect"}
            return message

        return counted


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 2**63
    return 0


async def _answer(send: Send, status: int) -> None:
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
