"""The doorstep: where a peer's connections begin and end as TLS, so that each refusal has a reason and an address.

gRPC's own TLS hides why a handshake failed. So handshakes happen here: Python's ``ssl`` accepts or refuses a
certificate, ``peers.credentials`` says whose it is, and what comes over the connection then goes on to gRPC through a
socket in a folder that is this process's alone, and back. The same the other way round for a peer that is dialled.
"""

import asyncio
import contextlib
import itertools
import shutil
import socket
import ssl
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import UserError
from peers.credentials import Credentials
from peers.refusals import Refusals
from peers.wire import RefusedError

HANDSHAKE_SECONDS = 10.0
"""Seconds that a handshake may take."""
HANDSHAKES, HANDSHAKES_PER_HOST = 256, 32
"""Handshakes at once; further connections are closed at once."""
CONNECTIONS_PER_PEER = 8
"""Connections that one peer may hold; it needs one, and another while it is started again."""
CONNECT_SECONDS = 5.0
"""Seconds that a connection to another peer may take to begin."""

_PIECE = 2**18
_HUNG_UP = "it hung up after the handshake; it may not accept this peer's certificate, and its log says why"


@dataclass(frozen=True)
class Caller:
    """Who is behind a connection that was accepted.

    Attributes:
        name: as its certificate says, which has been checked.
        address: ``host:port`` it came from.
    """

    name: str
    address: str


class Doorstep:
    """All TLS connections of one peer, in a thread of their own; ``open_doorstep`` makes one."""

    def __init__(self, credentials: Credentials, refusals: Refusals) -> None:
        self._credentials = credentials
        self._refusals = refusals
        self._home = Path(tempfile.mkdtemp(prefix="psreval-"))  # for its owner only
        self._numbers = itertools.count(1)
        self._callers: dict[str, Caller] = {}
        self._tunnels: dict[str, str] = {}
        self._trouble: dict[str, str] = {}
        self._handshakes: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="doorstep", daemon=True)
        self._thread.start()

    @property
    def inside(self) -> str:
        """The socket behind the doorstep, on which gRPC is to listen before ``listen`` is called."""
        return str(self._home / "inside")

    def listen(self, host: str, port: int) -> str:
        """Accept connections and return the address, ``host:port``; port 0 takes a free one.

        Raises:
            UserError: the address is taken or is not this machine's.
        """
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind((host, port))
            listener.listen(512)
        except (OSError, OverflowError) as error:
            listener.close()
            raise UserError(
                f"peer.listen = '{host}:{port}': cannot be listened on ({getattr(error, 'strerror', '') or error}); "
                "is another peer running there?"
            ) from None
        self._loop.call_soon_threadsafe(self._start, self._accept(listener, self._credentials.listening()))
        return f"{host}:{listener.getsockname()[1]}"

    def dial(self, name: str, address: str) -> str:
        """Return a socket, as gRPC names it, through which ``name`` is reached at ``address``; nothing is sent yet."""
        path = str(self._home / f"to-{next(self._numbers)}")
        host, _, port = address.rpartition(":")
        carry = partial(self._carry, name, host.strip("[]"), int(port), self._credentials.dialling())
        asyncio.run_coroutine_threadsafe(asyncio.start_unix_server(carry, path, limit=_PIECE), self._loop).result()
        return f"unix:{path}"

    def caller(self, connection: str) -> Caller | None:
        """Return who is behind a connection, as gRPC names it; None: it is closed."""
        return self._callers.get(_number(connection))

    def is_open(self, connection: str) -> bool:
        """Tell whether a connection, accepted or dialled, has not been closed."""
        number = _number(connection)
        return number in self._callers or number in self._tunnels.values()

    def tunnel(self, name: str) -> str | None:
        """Return the connection that was dialled to a peer, None if there is none now."""
        return self._tunnels.get(name)

    def trouble(self, name: str) -> str:
        """Return why a peer could not be reached last; empty: it could."""
        return self._trouble.get(name, "")

    def close(self) -> None:
        """Close everything."""
        with contextlib.suppress(RuntimeError):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        shutil.rmtree(self._home, ignore_errors=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self) -> None:
        mine = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        with listener:
            while True:
                try:
                    connection, where = await self._loop.sock_accept(listener)
                except OSError:  # no more files, or gone before it was accepted
                    await asyncio.sleep(0.1)
                    continue
                host, address = str(where[0]), f"{where[0]}:{where[1]}"
                if self._handshakes[host] >= HANDSHAKES_PER_HOST or self._handshakes.total() >= HANDSHAKES:
                    self._refusals.tell(host, "too many connections at once that have not shown who they are")
                    connection.close()
                else:
                    self._handshakes[host] += 1
                    self._start(self._admit(connection, host, address, context))

    async def _admit(self, connection: socket.socket, host: str, address: str, context: ssl.SSLContext) -> None:
        reader = asyncio.StreamReader(limit=_PIECE)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, EOFError) as error:  # TLS errors are among them
            connection.close()
            self._refusals.tell(host, _why(error))
            return
        finally:
            self._handshakes[host] -= 1
            self._handshakes += Counter()  # forgets whom it counts no more
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        try:
            name = self._credentials.who(_shown(transport))
            if sum(caller.name == name for caller in self._callers.values()) >= CONNECTIONS_PER_PEER:
                raise RefusedError(f"'{name}' holds {CONNECTIONS_PER_PEER} connections already")
        except RefusedError as error:
            transport.abort()
            self._refusals.tell(host, str(error))
            return
        number = f"from-{next(self._numbers)}"
        inner = socket.socket(socket.AF_UNIX)
        inner.setblocking(False)
        inner.bind(str(self._home / number))  # the name by which gRPC knows this connection
        self._callers[number] = Caller(name, address)
        try:
            await self._loop.sock_connect(inner, self.inside)
            await _splice((reader, writer), await asyncio.open_unix_connection(sock=inner, limit=_PIECE))
        except OSError:
            pass
        finally:
            del self._callers[number]
            (self._home / number).unlink(missing_ok=True)
            inner.close()
            writer.close()

    async def _carry(
        self,
        name: str,
        host: str,
        port: int,
        context: ssl.SSLContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Connect to a peer, now that gRPC wants to."""
        number = f"tunnel-{next(self._numbers)}"
        try:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    far = await asyncio.open_connection(host, port, ssl=context, limit=_PIECE)
            except TimeoutError:
                self._trouble[name] = f"no connection to {host}:{port} within {CONNECT_SECONDS:g} s"
                return
            except (OSError, EOFError) as error:
                self._trouble[name] = f"{host}:{port}: {_why(error)}"
                return
            try:
                found = self._credentials.who(_shown(far[1].transport))
                if found != name:
                    raise RefusedError(f"'{found}' answers there")
            except RefusedError as error:
                self._trouble[name] = f"{host}:{port}: {error}"
                self._refusals.tell(f"'{name}' at {host}:{port}", str(error))
                far[1].transport.abort()
                return
            self._trouble[name] = ""

            def heard() -> None:
                self._tunnels[name] = number

            await _splice((reader, writer), far, heard)
            if self._tunnels.get(name) != number:
                self._trouble[name] = _HUNG_UP
        except (OSError, asyncio.CancelledError):  # Python 3.11 logs it as an error where such a task was cancelled
            pass
        finally:
            if self._tunnels.get(name) == number:
                del self._tunnels[name]
            writer.transport.abort()


@contextlib.contextmanager
def open_doorstep(credentials: Credentials, refusals: Refusals) -> Iterator[Doorstep]:
    """Have a doorstep until the block ends."""
    doorstep = Doorstep(credentials, refusals)
    try:
        yield doorstep
    finally:
        doorstep.close()


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _splice(near: _Stream, far: _Stream, heard: Callable[[], None] = lambda: None) -> None:
    """Carry bytes both ways until one side ends; then end both. ``heard`` is called when the first come from afar."""
    ways = [asyncio.create_task(_carry_bytes(near[0], far[1], lambda: None))]
    ways.append(asyncio.create_task(_carry_bytes(far[0], near[1], heard)))
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for _, writer in (near, far):
            writer.close()


async def _carry_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: Callable[[], None]) -> None:
    piece = await reader.read(_PIECE)
    if piece:
        first()
    while piece:
        writer.write(piece)
        await writer.drain()  # or a slow reader would have us hold all that a fast writer sends
        piece = await reader.read(_PIECE)


def _shown(transport: asyncio.BaseTransport) -> bytes | None:
    found: bytes | None = transport.get_extra_info("ssl_object").getpeercert(True)
    return found


def _number(connection: str) -> str:
    return connection.rpartition("/")[2]


def _why(error: Exception) -> str:
    """Say in words why a handshake or a connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = {"unable to get local issuer certificate": "it is not signed by the authority that this peer knows"}
        return f"its certificate is refused: {known.get(error.verify_message, error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "it showed no certificate"
        return f"no TLS handshake ({str(error.reason or 'it ended').replace('_', ' ').lower()})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, ConnectionAbortedError):
        return f"it did not end its handshake within {HANDSHAKE_SECONDS:g} s"
    if isinstance(error, (ConnectionResetError, EOFError)):
        return "it hung up during the handshake"
    return str(getattr(error, "strerror", "") or error)
