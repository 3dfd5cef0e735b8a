"""Letters that wait to be taken: whose they are, how long they are kept, and what no question can do."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.secure.mailbox import AT_ONCE, GONE, LETTER, NOT_YET, NOTHING, PART, Mailbox, Wanted, decode_wanted
from peers.speech import PIECE
from peers.wire import QUESTION_LIMIT, RefusedError

RUN = bytes(range(32))
NUMBERS = {"a": 0, "b": 1, "c": 2}


def mailbox(wait: float = 0.0) -> Mailbox:
    return Mailbox(RUN, NUMBERS, wait)


def ask(box: Mailbox, asker: str, round_: int, exchange: int) -> bytes:
    """The first piece of the answer."""
    return next(box.letters(asker, Wanted(RUN, round_, exchange).encode()))


def test_each_gets_its_own_and_who_has_none_is_told_so() -> None:
    box = mailbox()
    box.put(1, 0, {0: b"for a", 1: b""})
    assert ask(box, "a", 1, 0) == LETTER + b"for a"
    assert ask(box, "b", 1, 0) == LETTER
    assert ask(box, "c", 1, 0) == NOTHING


def test_what_is_not_there_yet_is_not_there_yet() -> None:
    box = mailbox()
    assert ask(box, "a", 1, 0) == NOT_YET
    box.put(1, 0, {0: b"0"})
    assert ask(box, "a", 1, 1) == NOT_YET
    assert ask(box, "a", 2, 0) == NOT_YET


def test_a_question_waits_for_its_letter() -> None:
    box, found = mailbox(wait=60.0), list[bytes]()
    thread = threading.Thread(target=lambda: found.append(ask(box, "a", 1, 0)))
    thread.start()
    box.put(1, 0, {0: b"at last"})
    thread.join(30)
    assert found == [LETTER + b"at last"]


def test_one_question_is_answered_by_many_letters_but_not_by_all() -> None:
    """What follows is asked for anew, which says that these were taken."""
    box = mailbox()
    for exchange in range(100):
        box.put(1, exchange, {0: b"%d" % exchange} if exchange % 2 else {})
    pieces = list(box.letters("a", Wanted(RUN, 1, 3).encode()))
    assert pieces == [LETTER + b"%d" % exchange if exchange % 2 else NOTHING for exchange in range(3, 3 + AT_ONCE)]


def test_an_answer_ends_where_its_round_does() -> None:
    box = mailbox()
    box.put(1, 0, {0: b"0"})
    box.leave(1)
    assert list(box.letters("a", Wanted(RUN, 1, 0).encode())) == [LETTER + b"0", GONE]


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 2 * (PIECE - 1), 3 * PIECE + 5])
def test_a_long_letter_comes_in_pieces_that_fit(size: int) -> None:
    box, content = mailbox(), bytes(range(251)) * (size // 251 + 1)
    box.put(1, 0, {0: content[:size]})
    box.leave(1)
    *pieces, gone = box.letters("a", Wanted(RUN, 1, 0).encode())
    assert gone == GONE
    assert [piece[:1] for piece in pieces] == [PART] * (len(pieces) - 1) + [LETTER]
    assert b"".join(piece[1:] for piece in pieces) == content[:size]
    assert all(len(piece) <= PIECE for piece in pieces)
    assert all(len(piece) > 1 for piece in pieces[:-1])


def test_who_leaves_a_round_says_so_to_all_who_wait_and_what_it_put_can_still_be_taken() -> None:
    box, found = mailbox(wait=60.0), list[bytes]()
    box.put(1, 0, {0: b"0"})
    thread = threading.Thread(target=lambda: found.append(ask(box, "b", 1, 1)))
    thread.start()
    box.leave(1)
    thread.join(30)
    assert found == [GONE]
    assert ask(box, "a", 1, 0) == LETTER + b"0"
    assert ask(box, "a", 1, 1) == GONE


def test_a_letter_can_be_taken_again_until_the_next_one_is_asked_for() -> None:
    """An answer may be lost on its way."""
    box = mailbox()
    for exchange in range(3):
        box.put(1, exchange, {0: b"%d" % exchange, 1: b"x"})
    assert ask(box, "a", 1, 0) == ask(box, "a", 1, 0) == LETTER + b"0"
    assert ask(box, "a", 1, 2) == LETTER + b"2"
    assert ask(box, "a", 1, 0) == NOTHING  # dropped
    assert ask(box, "b", 1, 0) == LETTER + b"x"  # not another's


def test_who_is_behind_gets_what_it_missed_until_two_rounds_have_passed() -> None:
    box = mailbox()
    for round_ in (1, 2):
        box.put(round_, 0, {0: b"%d" % round_})
        box.leave(round_)
    assert ask(box, "a", 1, 0) == LETTER + b"1"
    box.put(3, 0, {})
    assert ask(box, "b", 1, 0) == GONE
    assert ask(box, "b", 2, 1) == GONE
    assert ask(box, "b", 2, 0) == NOTHING


def test_letters_that_nobody_takes_are_kept_for_two_rounds_and_no_longer() -> None:
    box = mailbox()
    for round_ in range(1, 20):
        for exchange in range(5):
            box.put(round_, exchange, {0: bytes(10), 1: bytes(10)})
        box.leave(round_)
        assert box.kept() <= 2 * 5 * 2 * 10
    for exchange in range(1, 6):
        ask(box, "a", 19, exchange)
    assert box.kept() == 2 * 5 * 10  # b's


def test_asking_for_a_later_round_says_that_all_before_was_taken() -> None:
    box = mailbox()
    box.put(1, 0, {0: bytes(10), 1: bytes(10)})
    ask(box, "a", 2, 0)
    assert box.kept() == 10


def test_strangers_and_other_runs_are_refused() -> None:
    box = mailbox()
    box.put(1, 0, {0: b"secret"})
    with pytest.raises(RefusedError, match="it is no peer of this run"):
        ask(box, "mallory", 1, 0)
    with pytest.raises(RefusedError, match="another run"):
        box.letters("a", Wanted(bytes(32), 1, 0).encode())


@given(st.binary(max_size=100))
def test_nothing_else_is_a_question(question: bytes) -> None:
    for raw in (question, b"mail" + question):
        if len(raw) != 48 or not raw.startswith(b"mail"):
            with pytest.raises(RefusedError, match="not one for a mailbox"):
                decode_wanted(raw)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_a_question_says_what_it_asks_in_few_bytes(round_: int, exchange: int) -> None:
    wanted = Wanted(RUN, round_, exchange)
    assert decode_wanted(wanted.encode()) == wanted
    assert len(wanted.encode()) < QUESTION_LIMIT


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_no_question_keeps_or_drops_what_is_anothers(round_: int, exchange: int) -> None:
    box = mailbox()
    box.put(1, 0, {0: b"a's", 1: b"b's"})
    ask(box, "b", round_, exchange)
    assert ask(box, "a", 1, 0) == LETTER + b"a's"
