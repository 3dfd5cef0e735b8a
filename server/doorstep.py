"""The doorstep: how many connections one address may hold, and how long one may be held without a request."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_PER_ADDRESS = 1024
"""Connections from one address; a hospital needs ten, and many may share an address. More are closed at once."""
IDLE = 30.0
"""Seconds between two looks at a connection; one without a request in work at both is closed."""


class Doorstep(H11Protocol):
    """uvicorn's protocol for one connection, which alone waits forever for a request that has begun.

    Made of h11 and not of httptools, which takes headers of any length.
    """

    _look: asyncio.TimerHandle | None = None
    _was_idle = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or close it."""
        super().connection_made(transport)
        held = sum(_address(other) == _address(self) for other in self.connections)
        if held > CONNECTIONS_PER_ADDRESS:
            transport.abort()
        else:
            self._look = self.loop.call_later(IDLE, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _close_if_idle(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._was_idle:
            self.transport.abort()
            return
        self._was_idle = idle
        self._look = self.loop.call_later(IDLE, self._close_if_idle)


def _address(connection: object) -> str:
    client = getattr(connection, "client", None)
    return str(client[0]) if client else ""
