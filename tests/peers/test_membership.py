"""Greetings: who is there, who belongs to another run, who may leave."""

import threading
from pathlib import Path
from typing import cast

import pytest

from common.errors import UserError
from peers.agreement import Agreement, agreement, decode_greeting, encode_greeting
from peers.dial import Dialler
from peers.membership import AT_MOST, MINUTE, Membership, greeting
from peers.neighbours import Unreachable
from tests.peers.network_fixture import nobody, stub
from tests.peers.test_agreement import IMAGES
from tests.peers.toy_fixture import toy
from tests.waiting import until

MINE = agreement(toy(), IMAGES)
OTHER = agreement(toy().change({"seed": 2}), IMAGES)


def quiet(_: str) -> None:
    """Say nothing."""


def test_two_peers_of_one_run_find_each_other_and_say_so_once(keys: Path) -> None:
    said: dict[str, list[str]] = {"a": [], "b": []}
    a, b = Membership(MINE, said["a"].append), Membership(MINE, said["b"].append)
    with (
        stub(keys / "a", greet=a.greet) as at_a,
        stub(keys / "b", greet=b.greet) as at_b,
        at_b.dialling({"a": at_a.address, "c": nobody()}) as dialler,
    ):
        b.join(dialler)
        for _ in range(3):
            b.greet_all(dialler)
    assert at_b.address
    assert said["a"] == ["b is there"]
    assert said["b"][0] == "a is there"
    assert len(said["b"]) == 2
    assert said["b"][1].startswith("c cannot be reached: 127.0.0.1:")


def test_both_sides_are_told_in_what_their_agreements_differ(keys: Path) -> None:
    said: dict[str, list[str]] = {"a": [], "b": []}
    a, b = Membership(MINE, said["a"].append), Membership(OTHER, said["b"].append)
    with (
        stub(keys / "a", greet=a.greet) as at_a,
        stub(keys / "b") as at_b,
        at_b.dialling({"a": at_a.address}) as dialler,
    ):
        b.join(dialler)
    assert said == {
        "a": ["b takes part in another run: seed (here 1, there 2)"],
        "b": ["a takes part in another run: seed (here 2, there 1)"],
    }


def test_who_changes_without_end_does_not_fill_the_log_and_nothing_stays_untold() -> None:
    """A peer with a certificate may greet with another agreement each time, or come and go."""
    now, said = [0.0], list[str]()
    membership = Membership(MINE, said.append, clock=lambda: now[0])
    for number in range(1000):
        membership.greet("liar", encode_greeting(MINE | {"seed": str(number)}, False))
        membership.greet("liar", encode_greeting(MINE, False))
    assert len(said) == AT_MOST
    membership.greet("b", encode_greeting(MINE, False))
    assert said[AT_MOST:] == ["b is there"]
    membership.greet("liar", encode_greeting(OTHER, False))
    now[0] = MINUTE
    for _ in range(3):
        membership.greet("liar", encode_greeting(OTHER, False))
    assert said[AT_MOST + 1 :] == ["liar takes part in another run: seed (here 1, there 2)"]


def test_nonsense_for_an_answer_is_told(keys: Path) -> None:
    said: list[str] = []
    b = Membership(MINE, said.append)
    with (
        stub(keys / "a", greet=lambda *_: b"nonsense") as a,
        stub(keys / "b") as at_b,
        at_b.dialling({"a": a.address}) as dialler,
    ):
        b.join(dialler)
    assert said == ["a is refused: its greeting is not what a peer says"]


def test_a_second_process_gives_up_when_all_say_that_it_is_one(keys: Path) -> None:
    with (
        stub(keys / "a") as a,
        stub(keys / "b") as first,
        stub(keys / "b") as second,
        first.dialling({"a": a.address}) as mine,
        second.dialling({"a": a.address, "c": nobody()}) as its,
    ):
        Membership(MINE, quiet).join(mine)
        with pytest.raises(UserError, match=r"another process with the identity 'b' is connected.*end the other"):
            Membership(MINE, quiet).join(its, patience=0.3)
        assert any(line.startswith("refused 'b' at 127.0.0.1:") for line in a.said)


def test_a_second_process_that_somebody_accepts_goes_on(keys: Path) -> None:
    """Or else one peer that lies could send another home."""
    with (
        stub(keys / "a") as a,
        stub(keys / "c") as c,
        stub(keys / "b") as first,
        stub(keys / "b") as second,
        first.dialling({"a": a.address}) as mine,
        second.dialling({"a": a.address, "c": c.address}) as its,
    ):
        Membership(MINE, quiet).join(mine)
        Membership(MINE, quiet).join(its, patience=0.0)


def test_a_peer_that_is_started_again_joins_at_once(keys: Path) -> None:
    with stub(keys / "a") as a:
        for _ in range(3):
            with stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
                Membership(MINE, quiet).join(dialler)


def test_nobody_leaves_before_the_others_need_it_no_more(keys: Path) -> None:
    a, b = Membership(MINE, quiet), Membership(MINE, quiet)
    gone = threading.Event()
    with (
        stub(keys / "a", greet=a.greet) as at_a,
        stub(keys / "b", greet=b.greet) as at_b,
        at_a.dialling({"b": at_b.address}) as from_a,
        at_b.dialling({"a": at_a.address}) as from_b,
    ):

        def leave() -> None:
            b.leave(from_b, 60, lambda seconds: gone.wait(seconds) and False)
            gone.set()

        thread = threading.Thread(target=leave)
        thread.start()
        until(lambda: decode_greeting(b.greet("a", encode_greeting(MINE, False)))[1], "b would like to leave")
        a.greet_all(from_a)
        assert not gone.wait(0.5)
        a.leave(from_a, 60, lambda seconds: gone.wait(seconds) and False)
        assert gone.wait(30)
        thread.join()


def test_who_is_left_out_is_not_waited_for_to_leave(keys: Path) -> None:
    a, b = Membership(MINE, quiet), Membership(MINE, quiet)
    waited: list[float] = []
    with (
        stub(keys / "a", greet=a.greet) as at_a,
        stub(keys / "b", greet=b.greet),
        stub(keys / "c") as at_c,
        at_c.dialling({"a": at_a.address}) as dialler,
    ):
        Membership(MINE, quiet).leave(dialler, 60, lambda seconds: bool(waited.append(seconds)) or True, left_out=["a"])
        assert waited == []
        Membership(MINE, quiet).leave(dialler, 60, lambda seconds: bool(waited.append(seconds)) or True)
        assert len(waited) == 1


def test_nobody_waits_longer_to_leave_than_its_patience(keys: Path) -> None:
    a, b = Membership(MINE, quiet), Membership(MINE, quiet)
    with (
        stub(keys / "a", greet=a.greet) as at_a,
        stub(keys / "b") as at_b,
        at_b.dialling({"a": at_a.address}) as dialler,
    ):
        b.leave(dialler, 0.5, lambda seconds: False)


def waits_to_leave(*heard: tuple[Agreement, bool]) -> bool:
    """Whether a peer that has heard these greetings of a waits when it would leave; a is there, and needs it."""
    membership = Membership(MINE, quiet)
    for agreed, leaving in heard:
        membership.greet("a", encode_greeting(agreed, leaving))
    waits: list[float] = []

    class There:
        def greet_all(self, greeting: bytes, timeout: float) -> dict[str, bytes | Unreachable]:
            return {"a": encode_greeting(*heard[-1])}

    def sleep(seconds: float) -> bool:
        waits.append(seconds)
        return True

    membership.leave(cast("Dialler", There()), 60, sleep)
    return bool(waits)


def test_who_took_part_in_another_run_and_was_mended_is_waited_for_at_the_end() -> None:
    assert not waits_to_leave((OTHER, False))
    assert waits_to_leave((OTHER, False), (MINE, False))
    assert waits_to_leave((OTHER, True), (MINE, False))  # it was that other run which it left
    assert not waits_to_leave((MINE, False), (OTHER, False))


def test_who_needed_nobody_once_is_never_waited_for_again() -> None:
    """An answer from before may come later."""
    assert not waits_to_leave((MINE, True), (MINE, False))
    assert not waits_to_leave((OTHER, False), (MINE, True), (MINE, False))


def test_greetings_go_on_until_the_block_ends(keys: Path) -> None:
    heard: list[str] = []

    def greet(asker: str, text: bytes) -> bytes:
        heard.append(asker)
        return text

    with stub(keys / "a", greet=greet) as a, stub(keys / "b") as b, b.dialling({"a": a.address}) as dialler:
        with greeting(Membership(MINE, quiet), dialler, beat=0.01):
            until(lambda: len(heard) >= 3, "three greetings")
        count = len(heard)
    assert len(heard) == count
