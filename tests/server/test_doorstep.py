"""Real sockets on loopback, against a link with a small doorstep."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from server import doorstep
from server.link import open_link

START = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\n"


@contextlib.contextmanager
def connected(address: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20, source_address=(source, 0)) as connection:
        yield connection


def is_closed(connection: socket.socket) -> bool:
    """Wait for the other side's end; True: it came."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_one_address_holds_so_many_connections_and_others_are_not_punished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorstep, "CONNECTIONS_PER_ADDRESS", 3)
    with open_link("127.0.0.1", 0, 1000) as link, contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(link.address, "127.0.0.2")) for _ in range(3)]
        for connection in held:
            connection.sendall(START)
        assert is_closed(stack.enter_context(connected(link.address, "127.0.0.2")))
        assert httpx.get(f"http://{link.address}/health").status_code == 200
        held[0].close()
        for _ in range(200):  # until the server has noticed
            with connected(link.address, "127.0.0.2") as again:
                again.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    if again.recv(12) == b"HTTP/1.1 200":
                        break
            threading.Event().wait(0.02)
        else:
            pytest.fail("a place that was given back is not there")


def test_a_connection_whose_request_never_comes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorstep, "IDLE", 0.1)
    with open_link("127.0.0.1", 0, 1000) as link, connected(link.address) as silent, connected(link.address) as slow:
        slow.sendall(START)
        assert is_closed(silent)
        assert is_closed(slow)


def test_headers_without_end_are_refused() -> None:
    with open_link("127.0.0.1", 0, 1000) as link, connected(link.address) as endless:
        with contextlib.suppress(ConnectionError):
            endless.sendall(START + b"X-Long: " + b"x" * 1_000_000)
        with contextlib.suppress(ConnectionResetError):
            assert endless.recv(12) == b"HTTP/1.1 400"
