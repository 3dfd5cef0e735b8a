"""Who is heard: whose turn it is, who is silent, who cheats, and when too much is wrong to go on."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.ball import Ball
from peers.secure.broadcast import Board
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.field import SMALL
from peers.secure.hearing import AbortedError, Culprit, Hearing
from peers.secure.labels import HEAD
from peers.secure.layout import committee, packed
from peers.secure.messages import Message
from peers.secure.opening import Opened
from peers.secure.terms import SIGNS, Terms
from tests.peers.secure.rounds import NINE, SIZE, context_of

MEMBERS = tuple(range(9))
TWO_THINGS = "said different things to different peers"


def hearing(members: tuple[int, ...] = MEMBERS, terms: Terms = SIGNS, size: int = SIZE) -> Hearing:
    return Hearing(context_of(9), Columns(NINE, size, terms), members)


def board(said: dict[int, bytes], twice: tuple[int, ...] = ()) -> Board:
    both = {peer: (Message(peer, b"a", b""), Message(peer, b"b", b"")) for peer in twice}
    return Board({peer: Message(peer, body, b"") for peer, body in said.items()}, both)


# --- the head


def test_the_head_is_of_all_that_was_agreed_on_before() -> None:
    """Sizes, members, keys, terms: peers of whom one has another of these do not understand each other."""
    context, nine = context_of(9), Columns(NINE, SIZE)
    other_layout = packed(9, faults=1, coalition=2, field=SMALL)
    fewer = Context(context.run, 1, {peer: context.keys[peer] for peer in range(8)})
    swapped = Context(context.run, 1, {peer: context.keys[8 - peer] for peer in range(9)})
    reference = np.ones(SIZE, np.uint64)
    heads = [
        Hearing(*given).head
        for given in (
            (context, nine, MEMBERS),
            (context_of(9, number=2), nine, MEMBERS),
            (Context(bytes(32), 1, context.keys), nine, MEMBERS),
            (fewer, nine, MEMBERS),
            (swapped, nine, MEMBERS),
            (context, nine, tuple(reversed(MEMBERS))),
            (context, Columns(NINE, SIZE + 1), MEMBERS),
            (context, Columns(other_layout, SIZE), MEMBERS),
            (context, Columns(NINE, SIZE, Terms(Ball(9, 9, 9, 9))), MEMBERS),
            (context, Columns(NINE, SIZE, Terms(Ball(9, 9, 9, 8))), MEMBERS),
            (context, Columns(NINE, SIZE, Terms(Ball(9, 9, 9, 9), distances=True)), MEMBERS),
            (context, Columns(NINE, SIZE, Terms(Ball(9, 9, 9, 9), reference)), MEMBERS),
            (context, Columns(NINE, SIZE, Terms(Ball(9, 9, 9, 9), 2 * reference)), MEMBERS),
        )
    ]
    assert len(set(heads)) == len(heads)
    assert Hearing(context_of(9), Columns(NINE, SIZE), MEMBERS).head == heads[0]


def test_each_phase_links_what_every_peer_said_said_twice_or_did_not_say() -> None:
    here = hearing()
    before = here.head
    here.said("keys", board({peer: b"%d" % peer for peer in range(7)}, twice=(7,)), range(9), None)
    told = [hashlib.sha256(b"%d" % peer).digest() for peer in range(7)]
    link = hashlib.sha256(HEAD + before + b"keys" + b"".join(told) + b"\xff" * 32 + bytes(32))
    assert here.head == link.digest()


# --- who is heard


def test_those_whose_turn_it_is_are_heard_and_no_others() -> None:
    here = hearing()
    assert here.said("answers", board({0: b"no", 3: b"yes", 5: b""}), [3, 5], None) == {3: b"yes", 5: b""}
    assert not here.silent
    assert not here.culprits


def test_who_says_nothing_is_silent_since_the_first_time() -> None:
    here = hearing()
    here.said("keys", board({0: b"x"}), [0, 1], None)
    here.said("checks", board({}), [0, 1], None)
    assert here.silent == {1: "keys", 0: "checks"}
    assert here.active == list(range(2, 9))


def test_who_says_another_number_of_bytes_is_a_culprit() -> None:
    here = hearing()
    assert here.said("sums", board({0: b"123", 1: b"12", 2: b""}), [0, 1, 2], 3) == {0: b"123"}
    assert here.culprits == [
        Culprit(1, "sums", "said 2 bytes instead of 3"), Culprit(2, "sums", "said 0 bytes instead of 3"),
    ]  # fmt: skip


@pytest.mark.parametrize("turn", [[0, 4], [0]])
def test_who_says_two_things_is_a_culprit_whether_it_is_its_turn_or_not(turn: list[int]) -> None:
    here = hearing()
    assert here.said("answers", board({0: b"x"}, twice=(4,)), turn, None) == {0: b"x"}
    assert here.culprits == [Culprit(4, "answers", TWO_THINGS)]


def test_a_culprit_is_not_heard_again_and_is_one_only_once() -> None:
    here = hearing()
    here.convict(2, "keys", "did this")
    here.convict(2, "checks", "did that")
    assert here.said("checks", board({2: b"x", 3: b"x"}), [2, 3], None) == {3: b"x"}
    assert here.culprits == [Culprit(2, "keys", "did this")]


def test_only_numbers_below_the_prime_are_numbers() -> None:
    here = hearing()
    told = {0: SMALL.to_bytes(SMALL.elements(np.arange(3))), 1: b"\xff" * 12, 2: bytes(11)}
    told |= {peer: bytes(12) for peer in range(3, 9)}
    found = here.numbers("checks", board(told), 3)
    assert {place: row.tolist() for place, row in found.items()} == {0: [0, 1, 2]} | {
        place: [0, 0, 0] for place in range(3, 9)
    }
    assert [(culprit.peer, culprit.reason.split("(")[0]) for culprit in here.culprits] == [
        (2, "said 11 bytes instead of 12"), (1, "opened what is no number "),
    ]  # fmt: skip


def test_numbers_are_by_the_members_places() -> None:
    layout = committee(10, 5, faults=1, coalition=1, field=SMALL)
    here = Hearing(context_of(10), Columns(layout, SIZE), (1, 3, 4, 7, 9))
    found = here.numbers("checks", board({peer: SMALL.to_bytes(SMALL.elements(np.array([peer]))) for peer in
                                          range(10)}), 1)  # fmt: skip
    assert {place: int(row[0]) for place, row in found.items()} == {0: 1, 1: 3, 2: 4, 3: 7, 4: 9}


# --- who counts


@settings(max_examples=40)
@given(silent=st.sets(st.integers(0, 8), max_size=4), caught=st.sets(st.integers(0, 8), max_size=4))
def test_each_that_is_silent_or_caught_counts_half_of_a_liar(silent: set[int], caught: set[int]) -> None:
    here = hearing()
    here.silent = dict.fromkeys(silent, "keys")
    for peer in caught:
        here.convict(peer, "keys", "cheated")
    out = silent | caught
    assert here.active == here.active_peers() == [peer for peer in range(9) if peer not in out]
    assert here.liars() == max(0, (4 - len(out)) // 2)
    if len(out) > 4:
        with pytest.raises(AbortedError, match=r"were silent or cheated, and 4 such are withstood at most"):
            here.check_bound()
    else:
        here.check_bound()


def test_a_phase_in_which_too_many_are_silent_ends_the_round() -> None:
    with pytest.raises(AbortedError, match=r"^peers 4, 5, 6, 7, 8 were silent or cheated"):
        hearing().said("keys", board(dict.fromkeys(range(4), b"x")), range(9), None)


def test_culprits_updates_are_left_out_when_all_is_settled_and_not_before() -> None:
    here = hearing()
    here.convict(3, "checks", "cheated")
    assert here.dealers == list(range(9))
    here.settle()
    assert here.dealers == [0, 1, 2, 4, 5, 6, 7, 8]


def test_of_a_silent_dealer_the_update_is_left_out_and_nobody_is_blamed() -> None:
    here = hearing()
    here.silent[3] = "complaints"
    here.drop(3, "answers", "showed nothing")
    here.drop(4, "answers", "showed nothing")
    assert here.dealers == [0, 1, 2, 4, 5, 6, 7, 8]
    assert here.culprits == [Culprit(4, "answers", "showed nothing")]


@pytest.mark.parametrize(("unread", "most", "ends"), [(2, None, False), (3, None, True), (0, 0, False), (1, 0, True)])
def test_more_unread_dealers_than_may_cheat_end_the_round(unread: int, most: int | None, ends: bool) -> None:
    fine = Opened(np.zeros((1, 1), np.uint32), frozenset())
    told = [None] * unread + [fine] * (9 - unread)
    if ends:
        with pytest.raises(AbortedError, match="cannot be read: more members lie than are withstood"):
            hearing().check_unread(told, most)
    else:
        hearing().check_unread(told, most)


def test_nobody_s_values_are_opened_as_nothing() -> None:
    assert hearing().opened({}, 2, 3, dealers=2) == [None, None]
