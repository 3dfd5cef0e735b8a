"""Asking over the network, both ends in this process."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers.dial import Dialler
from peers.neighbours import Unreachable
from peers.speech import PIECE
from peers.wire import RefusedError
from tests.peers.network_fixture import nobody, stub
from tests.waiting import until


def ask(dialler: Dialler, name: str, question: bytes = b"?", limit: int = 10**7, timeout: float = 20.0) -> object:
    return dialler.ask_all({name: question}, limit=limit, timeout=timeout)[name]


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 5 * PIECE + 17])
def test_an_answer_comes_whole_whatever_its_length(keys: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)

    def answer(asker: str, question: bytes) -> bytes:
        assert (asker, question) == ("b", b"?")
        return content[:size]

    with stub(keys / "a", answer) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        assert ask(dialler, "a", limit=size) == content[:size]


def test_answers_are_told_apart_by_name_and_come_at_the_same_time(keys: Path) -> None:
    together = threading.Barrier(2)

    def answer(asker: str, question: bytes) -> bytes:
        together.wait(timeout=30)  # passes only if both are asked before either has answered
        return asker.encode() + question

    with (
        stub(keys / "a", answer) as a,
        stub(keys / "b", answer) as b,
        stub(keys / "c") as c,
        c.dialling({"a": a.address, "b": b.address}) as dialler,
    ):
        found = dialler.ask_all({"a": b"1", "b": b"2", "d": b"3"}, limit=100, timeout=20)
    assert found == {"a": b"c1", "b": b"c2", "d": Unreachable("no address of it is known")}


def test_an_answer_above_the_limit_is_an_offence_and_is_not_kept(keys: Path) -> None:
    with stub(keys / "a", lambda *_: bytes(10**6)) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        assert ask(dialler, "a", limit=10**6 - 1) == Unreachable("its answer has more than 999999 bytes", offence=True)
        assert ask(dialler, "a", limit=10**6) == bytes(10**6)


def test_letters_come_one_after_the_other_while_the_answer_goes_on(keys: Path) -> None:
    heard = threading.Semaphore(0)

    def letters(asker: str, question: bytes) -> Iterator[bytes]:
        for number in range(3):
            yield asker.encode() + question + b"%d" % number
            heard.acquire(timeout=30)  # the next is made only when this one has come

    with stub(keys / "a", letters=letters) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        found = []
        for piece in dialler.letters("a", b"?", 30):
            found.append(piece)
            heard.release()
        assert found == [b"b?0", b"b?1", b"b?2"]
        assert list(dialler.letters("c", b"?", 30)) == [Unreachable("no address of it is known")]


def test_an_answer_of_letters_that_breaks_off_says_why(keys: Path) -> None:
    def letters(asker: str, question: bytes) -> Iterator[bytes]:
        yield b"1"
        if question == b"refuse":
            raise RefusedError("it asks too much")
        raise RuntimeError("a secret")

    def unwilling(asker: str, question: bytes) -> Iterator[bytes]:
        raise RefusedError("it asks the wrong thing")

    with stub(keys / "a", letters=letters) as a, stub(keys / "c", letters=unwilling) as c, stub(keys / "b") as b:
        with b.dialling({"a": a.address, "c": c.address, "d": nobody()}) as dialler:
            first, why = dialler.letters("a", b"refuse", 30)
            assert (first, why) == (b"1", Unreachable("it refused: it asks too much"))
            _, defect = dialler.letters("a", b"?", 30)
            assert defect == Unreachable("it failed (internal: RuntimeError)")
            assert list(dialler.letters("c", b"?", 30)) == [Unreachable("it refused: it asks the wrong thing")]
            (away,) = dialler.letters("d", b"?", 30)
            assert isinstance(away, Unreachable)
        assert any("it asks too much" in line for line in a.said)


def test_whoever_needs_no_more_letters_hangs_up_and_the_other_side_notices(keys: Path) -> None:
    gone = threading.Event()

    def letters(asker: str, question: bytes) -> Iterator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            gone.set()

    with stub(keys / "a", letters=letters) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        asked = dialler.letters("a", b"?", 600)
        assert next(asked) == b"more"
        asked.close()
        assert gone.wait(30)


def test_who_has_no_letters_is_asked_in_vain(keys: Path) -> None:
    with stub(keys / "a") as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        (found,) = dialler.letters("a", b"?", 30)
        assert isinstance(found, Unreachable)
        assert "unimplemented" in found.reason


def test_nobody_there_is_known_at_once_and_somebody_who_comes_is_found(keys: Path) -> None:
    address = nobody()
    with stub(keys / "b") as b, b.dialling({"a": address}) as dialler:
        found = ask(dialler, "a")
        assert isinstance(found, Unreachable)
        assert address in found.reason
        assert not found.offence
        with stub(keys / "a", port=int(address.rpartition(":")[2])):
            until(lambda: ask(dialler, "a") == b"?", "it is found")


def test_a_peer_that_is_started_again_is_found_again(keys: Path) -> None:
    with stub(keys / "b") as b:
        with stub(keys / "a") as a:
            address = a.address
            with b.dialling({"a": address}) as dialler:
                assert ask(dialler, "a") == b"?"
        with b.dialling({"a": address}) as dialler, stub(keys / "a", port=int(address.rpartition(":")[2])):
            until(lambda: ask(dialler, "a") == b"?", "it is found")


@pytest.mark.parametrize("delay", [float("inf"), 3600.0])
def test_a_silent_peer_is_waited_for_no_longer_than_the_timeout(keys: Path, delay: float) -> None:
    with stub(keys / "a", delay=delay) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        assert ask(dialler, "a", timeout=0.5) == Unreachable("no answer within 0.5 s")


def test_a_slow_peers_answer_is_used_if_it_comes_in_time(keys: Path) -> None:
    with stub(keys / "a", delay=0.3) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        assert ask(dialler, "a") == b"?"


def test_what_another_peer_refuses_is_told_here_and_logged_there(keys: Path) -> None:
    def answer(asker: str, question: bytes) -> bytes:
        raise RefusedError("the question belongs to another run")

    with stub(keys / "a", answer) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        assert ask(dialler, "a") == Unreachable("it refused: the question belongs to another run")
        (said,) = a.said
        assert said.startswith("refused 'b' at 127.0.0.1:")
        assert said.endswith(": the question belongs to another run")


def test_a_defect_of_another_peer_tells_nothing_of_its_inside(keys: Path) -> None:
    def answer(asker: str, question: bytes) -> bytes:
        raise ValueError("a secret")

    with stub(keys / "a", answer) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        found = ask(dialler, "a")
        assert isinstance(found, Unreachable)
        assert "secret" not in found.reason


def test_a_question_that_is_too_long_is_refused_before_it_is_read(keys: Path) -> None:
    with stub(keys / "a", lambda *_: b"!") as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        found = ask(dialler, "a", bytes(10**6))
        assert isinstance(found, Unreachable)
        assert ask(dialler, "a") == b"!"
