"""Asking other peers over the network: the transport of real processes, as ``peers.neighbours`` describes it."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc

from peers.agreement import GREETING_LIMIT
from peers.doorstep import Doorstep
from peers.members import Members
from peers.neighbours import Unreachable, too_late, too_long
from peers.speech import ACCOUNT, ASK, GREET, INSTANCE, LETTERS, PIECE, settings
from peers.wire import RefusedError, short

_Answer = TypeVar("_Answer")


class Dialler:
    """The way from one peer to the others; ``open_dialler`` makes one. May be used from several threads.

    Args:
        doorstep: which shakes hands with whoever answers.
        members: which process speaks for each of them.
        addresses: peer → ``host:port``.
    """

    def __init__(self, doorstep: Doorstep, members: Members, addresses: Mapping[str, str]) -> None:
        self._doorstep = doorstep
        self._members = members
        self._pool = ThreadPoolExecutor(max(2 * len(addresses), 1), thread_name_prefix="dial")
        self._channels = {
            name: grpc.insecure_channel(doorstep.dial(name, address), options=settings(max(PIECE, GREETING_LIMIT)))
            for name, address in addresses.items()
        }  # not insecure: what the channel leads to is the doorstep, which speaks TLS

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        """Ask peers at the same time; see ``peers.neighbours.Neighbours``."""

        def ask(name: str, question: bytes) -> bytes | Unreachable:
            return self._ask(ASK, name, question, limit, timeout)

        return self._all(questions, ask)

    def letters(self, name: str, question: bytes, timeout: float) -> Generator[bytes | Unreachable, None, None]:
        """Ask one peer for its letters, in the thread that calls, and yield each piece as it comes, of ``PIECE`` bytes.

        It ends when the peer says no more, when it is closed, or with an ``Unreachable``; after ``timeout`` seconds at
        most, whoever is asked.
        """
        if name not in self._channels:
            yield Unreachable("no address of it is known")
            return
        call = self._channels[name].unary_stream(LETTERS)(question, timeout=timeout, metadata=self._metadata())
        try:
            for number, piece in enumerate(call):
                if number == 0:
                    self._admit(name, call)
                yield piece
        except (RefusedError, grpc.RpcError, ValueError) as error:
            yield self._trouble(name, error, timeout)
        finally:
            call.cancel()

    def accounts(self, *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        """Ask all others at the same time what they tell of their turns; the rest as for ``ask_all``."""

        def ask(name: str, nothing: bytes) -> bytes | Unreachable:
            return self._ask(ACCOUNT, name, nothing, limit, timeout)

        return self._all(dict.fromkeys(self._channels, b""), ask)

    def greet_all(self, greeting: bytes, timeout: float) -> dict[str, bytes | Unreachable]:
        """Greet all others at the same time; return what each answered, by name."""

        def greet(name: str, greeting: bytes) -> bytes | Unreachable:
            call = self._channels[name].unary_unary(GREET).future(greeting, timeout=timeout, metadata=self._metadata())
            return self._guarded(name, call, call.result, timeout)

        return self._all(dict.fromkeys(self._channels, greeting), greet)

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels.values():
            channel.close()  # ends calls that still wait
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _all(
        self, questions: Mapping[str, bytes], ask: Callable[[str, bytes], bytes | Unreachable]
    ) -> dict[str, bytes | Unreachable]:
        known = {
            name: self._pool.submit(ask, name, question)
            for name, question in questions.items()
            if name in self._channels
        }
        return {
            name: known[name].result() if name in known else Unreachable("no address of it is known")
            for name in questions
        }

    def _ask(self, method: str, name: str, question: bytes, limit: int, timeout: float) -> bytes | Unreachable:
        call = self._channels[name].unary_stream(method)(question, timeout=timeout, metadata=self._metadata())

        def read() -> bytes | Unreachable:
            pieces, size = [], 0
            for piece in call:
                size += len(piece)
                if size > limit:
                    call.cancel()
                    return Unreachable(too_long(limit), offence=True)
                if not piece:  # costs nothing to send, and something to keep
                    call.cancel()
                    return Unreachable("its answer comes in pieces of nothing", offence=True)
                pieces.append(piece)
            return b"".join(pieces)

        return self._guarded(name, call, read, timeout)

    def _guarded(
        self, name: str, call: Any, read: Callable[[], bytes | Unreachable], timeout: float
    ) -> bytes | Unreachable:
        try:
            answer = read()
            self._admit(name, call)
            return answer
        except (RefusedError, grpc.RpcError, ValueError) as error:
            return self._trouble(name, error, timeout)

    def _admit(self, name: str, call: Any) -> None:
        """Take note of which process answers. Raises RefusedError: not the one that speaks for this peer."""
        spoken = dict(call.initial_metadata() or ())
        self._members.admit(name, str(spoken.get(INSTANCE, "")), self._doorstep.tunnel(name) or "")

    def _trouble(self, name: str, error: Exception, timeout: float) -> Unreachable:
        if isinstance(error, RefusedError):
            return Unreachable(str(error))
        if isinstance(error, grpc.RpcError):
            return self._reason(name, error, timeout)
        return Unreachable("this peer is ending")  # the channel was closed meanwhile

    def _reason(self, name: str, error: Any, timeout: float) -> Unreachable:
        code, details = error.code(), short(str(error.details() or ""))
        trouble = self._doorstep.trouble(name)
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED and details.find("larger than max") >= 0:
            return Unreachable(f"a piece of its answer has more than {PIECE} bytes", offence=True)
        if trouble and code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return Unreachable(trouble)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unreachable(too_late(timeout))
        if code == grpc.StatusCode.UNAVAILABLE:
            return Unreachable("the connection to it broke")
        if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT):
            return Unreachable(f"it refused: {details}")
        return Unreachable(f"it failed ({code.name.lower().replace('_', ' ')}: {details})")

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((INSTANCE, self._members.instance),)


@contextlib.contextmanager
def open_dialler(doorstep: Doorstep, members: Members, addresses: Mapping[str, str]) -> Iterator[Dialler]:
    """Have a way to the others until the block ends."""
    dialler = Dialler(doorstep, members, addresses)
    try:
        yield dialler
    finally:
        dialler.close()
