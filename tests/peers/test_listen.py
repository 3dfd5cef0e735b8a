"""Answering: bounds on what one peer may ask, whatever it sends; asking as such is in test_dial.py."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from peers.dial import Dialler
from peers.listen import CALLS_PER_PEER
from peers.speech import ACCOUNT, ASK, GREET, INSTANCE
from tests.peers.network_fixture import Stub, stub

GOOD = ((INSTANCE, "1" * 32),)


def channel(dialler: Dialler, name: str = "a") -> Any:
    """The bare gRPC of a way to another peer: what a rogue with a certificate has."""
    return vars(dialler)["_channels"][name]


@contextmanager
def rogue(keys: Path, a: Stub) -> Iterator[Any]:
    with stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        yield channel(dialler)


def code(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as error:
        list(call)
    return error.value.code()  # type: ignore[attr-defined]


def test_questions_at_the_same_time_are_bounded_for_each_peer(keys: Path) -> None:
    inside, out = threading.Semaphore(0), threading.Event()

    def answer(asker: str, question: bytes) -> bytes:
        if question == b"wait":
            inside.release()
            out.wait(60)
        return b"!"

    with stub(keys / "a", answer) as a, rogue(keys, a) as bare, stub(keys / "c") as c:
        waiting = [bare.unary_stream(ASK)(b"wait", metadata=GOOD, timeout=60) for _ in range(CALLS_PER_PEER)]
        for _ in waiting:
            assert inside.acquire(timeout=30)
        assert code(bare.unary_stream(ASK)(b"?", metadata=GOOD, timeout=60)) == grpc.StatusCode.RESOURCE_EXHAUSTED
        with c.dialling({"a": a.address}) as dialler:  # others notice nothing
            assert dialler.ask_all({"a": b"?"}, limit=10, timeout=30) == {"a": b"!"}
        out.set()
        assert [list(call) for call in waiting] == [[b"!"]] * CALLS_PER_PEER
        assert list(bare.unary_stream(ASK)(b"?", metadata=GOOD, timeout=60)) == [b"!"]


@pytest.mark.parametrize("metadata", [(), ((INSTANCE, ""),), ((INSTANCE, "x" * 1000),)])
def test_one_that_does_not_say_which_process_it_is_is_refused(keys: Path, metadata: Any) -> None:
    with stub(keys / "a") as a, rogue(keys, a) as bare:
        assert code(bare.unary_stream(ASK)(b"?", metadata=metadata, timeout=30)) == grpc.StatusCode.PERMISSION_DENIED
        assert "it does not say which process it is" in a.said[0]


def test_there_are_three_methods_and_no_more(keys: Path) -> None:
    with stub(keys / "a") as a, rogue(keys, a) as bare:
        assert list(bare.unary_stream(ASK)(b"?", metadata=GOOD, timeout=30)) == [b"?"]
        assert bare.unary_unary(GREET)(b"?", metadata=GOOD, timeout=30) == b"?"
        assert list(bare.unary_stream(ACCOUNT)(b"", metadata=GOOD, timeout=30)) == []
        call = bare.unary_stream("/psreval.Peers/Else")(b"?", metadata=GOOD, timeout=30)
        assert code(call) == grpc.StatusCode.UNIMPLEMENTED


def test_a_compressed_question_is_not_unpacked(keys: Path) -> None:
    asked: list[bytes] = []

    def answer(asker: str, question: bytes) -> bytes:
        asked.append(question)
        return b""

    with stub(keys / "a", answer) as a, stub(keys / "b") as b:
        target = b.doorstep.dial("a", a.address)
        with grpc.insecure_channel(target, compression=grpc.Compression.Gzip) as bare:
            assert len(gzip.compress(bytes(10_000_000))) < 16_000
            with pytest.raises(grpc.RpcError):
                list(bare.unary_stream(ASK)(bytes(10_000_000), metadata=GOOD, timeout=30))
    assert asked == []


def test_metadata_that_are_too_long_are_refused(keys: Path) -> None:
    with stub(keys / "a") as a, rogue(keys, a) as bare:
        with pytest.raises(grpc.RpcError):
            list(bare.unary_stream(ASK)(b"?", metadata=(*GOOD, ("more", "x" * 100_000)), timeout=30))
        assert list(bare.unary_stream(ASK)(b"?", metadata=GOOD, timeout=30)) == [b"?"]
