"""Answering other peers over the network: whoever the doorstep has let in asks, and gets its answer in pieces."""

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from peers.agreement import GREETING_LIMIT
from peers.doorstep import Caller, Doorstep
from peers.members import Members
from peers.refusals import Refusals
from peers.speech import ACCOUNT, ASK, GREET, INSTANCE, LETTERS, PIECE, settings
from peers.wire import QUESTION_LIMIT, RefusedError

CALLS_PER_PEER = 4
"""Questions of one peer that are answered at the same time; further ones are refused."""
GOODBYE = 2.0
"""Seconds that answers which are on their way are given when this peer ends."""
_Found = TypeVar("_Found")


@dataclass
class Answering:
    """What this peer answers; each may be called from several threads, and may raise RefusedError.

    Attributes:
        answer: (asker, question) → answer.
        greet: (asker, greeting) → greeting.
        account: () → what it tells of its turns.
        letters: (asker, question) → the pieces of what is there for it, of at most ``PIECE`` bytes; None: nobody asks.
        delay: seconds that each answer is held back; infinite: none is ever given.
    """

    answer: Callable[[str, bytes], bytes]
    greet: Callable[[str, bytes], bytes] = lambda asker, greeting: greeting
    account: Callable[[], bytes] = bytes
    letters: Callable[[str, bytes], Iterator[bytes]] | None = None
    delay: float = 0.0


@contextlib.contextmanager
def listen(
    doorstep: Doorstep,
    host: str,
    port: int,
    answering: Answering,
    members: Members,
    refusals: Refusals,
    peers: int,
) -> Iterator[str]:
    """Answer other peers until the block ends; yield the address, ``host:port``.

    Args:
        doorstep: which lets them in.
        host, port: where to listen; port 0 takes a free one.
        answering: what to answer.
        members: which process speaks for each of them.
        refusals: where to tell whom nothing was answered.
        peers: how many others there are.

    Raises:
        UserError: the address cannot be listened on.
    """
    pool = ThreadPoolExecutor(CALLS_PER_PEER * max(peers, 1) + 2, thread_name_prefix="listen")
    server = grpc.server(pool, options=settings(max(QUESTION_LIMIT, GREETING_LIMIT)))
    over = threading.Event()
    server.add_generic_rpc_handlers((_Door(doorstep, answering, members, refusals, over),))
    server.add_insecure_port(f"unix:{doorstep.inside}")  # not insecure: nobody but the doorstep can reach it
    server.start()
    try:
        yield doorstep.listen(host, port)
    finally:
        over.set()
        server.stop(GOODBYE).wait()
        pool.shutdown(wait=False, cancel_futures=True)


class _Door(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The methods, for bytes."""

    def __init__(
        self, doorstep: Doorstep, answering: Answering, members: Members, refusals: Refusals, over: threading.Event
    ) -> None:
        self._doorstep = doorstep
        self._answering = answering
        self._members = members
        self._refusals = refusals
        self._over = over
        self._busy: Counter[str] = Counter()
        self._lock = threading.Lock()

    def service(self, details: Any) -> Any:
        """Return the handler of a method, None if there is no such."""
        if details.method == ASK:
            return grpc.unary_stream_rpc_method_handler(self._ask)
        if details.method == ACCOUNT:
            return grpc.unary_stream_rpc_method_handler(self._account)
        if details.method == GREET:
            return grpc.unary_unary_rpc_method_handler(self._greet)
        if details.method == LETTERS and self._answering.letters is not None:
            return grpc.unary_stream_rpc_method_handler(self._letters)
        return None

    def _ask(self, question: bytes, context: Any) -> Iterator[bytes]:
        with self._admitted(context) as caller:
            self._hold_back(context)
            yield from _pieces(self._called(self._answering.answer, caller, question, context))

    def _account(self, nothing: bytes, context: Any) -> Iterator[bytes]:
        with self._admitted(context) as caller:
            self._hold_back(context)
            yield from _pieces(self._called(lambda asker, _: self._answering.account(), caller, nothing, context))

    def _letters(self, question: bytes, context: Any) -> Iterator[bytes]:
        assert self._answering.letters is not None
        with self._admitted(context) as caller:
            pieces = self._called(self._answering.letters, caller, question, context)
            while context.is_active() and not self._over.is_set():
                piece = self._called(lambda *_: next(pieces, None), caller, question, context)
                if piece is None:
                    return
                yield piece

    def _greet(self, greeting: bytes, context: Any) -> bytes:
        with self._admitted(context) as caller:
            return self._called(self._answering.greet, caller, greeting, context)

    @contextlib.contextmanager
    def _admitted(self, context: Any) -> Iterator[Caller]:
        """Let one call of a peer in; what goes wrong is told to it in a sentence that holds no secret."""
        connection = context.peer()
        caller = self._doorstep.caller(connection)
        if caller is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is closed")
            raise AssertionError("abort raises")
        who = f"'{caller.name}' at {caller.address}"
        with self._lock:
            full = self._busy[caller.name] >= CALLS_PER_PEER
            self._busy[caller.name] += not full
        if full:
            self._refusals.tell(who, f"more than {CALLS_PER_PEER} questions at once")
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {CALLS_PER_PEER} questions at once")
        try:
            context.send_initial_metadata(((INSTANCE, self._members.instance),))
            try:
                self._members.admit(caller.name, _instance(context.invocation_metadata()), connection)
            except RefusedError as refused:
                self._refusals.tell(who, str(refused))
                context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refused))
            yield caller
        finally:
            with self._lock:
                self._busy[caller.name] -= 1

    def _called(self, function: Callable[[str, bytes], _Found], caller: Caller, content: bytes, context: Any) -> _Found:
        who = f"'{caller.name}' at {caller.address}"
        try:
            return function(caller.name, content)
        except RefusedError as refused:
            self._refusals.tell(who, str(refused))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        except Exception as error:  # gRPC would send its text, which may quote anything
            self._refusals.tell(who, f"this peer failed on its question ({type(error).__name__}: {error})")
            context.abort(grpc.StatusCode.INTERNAL, type(error).__name__)
        raise AssertionError("abort raises")

    def _hold_back(self, context: Any) -> None:
        """Be as late as a peer that misbehaves in this way; an honest one is not."""
        delay = self._answering.delay
        if delay <= 0:
            return
        gone = threading.Event()
        if not context.add_callback(gone.set):
            return
        left = delay if math.isfinite(delay) else None
        while not gone.is_set() and not self._over.is_set() and (left is None or left > 0):
            gone.wait(0.2 if left is None else min(left, 0.2))
            left = None if left is None else left - 0.2
        if gone.is_set() or self._over.is_set():
            context.abort(grpc.StatusCode.CANCELLED, "nobody waits any more")


def _instance(metadata: Sequence[tuple[str, Any]]) -> str:
    return next((str(value) for key, value in metadata if key == INSTANCE), "")


def _pieces(answer: bytes) -> Iterator[bytes]:
    for start in range(0, len(answer), PIECE):
        yield answer[start : start + PIECE]
