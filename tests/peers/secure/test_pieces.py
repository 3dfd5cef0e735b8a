from hypothesis import given
from hypothesis import strategies as st

from peers.secure.pieces import joined, split


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_pieces_that_were_joined_are_split_again(pieces: list[bytes]) -> None:
    assert split(joined(pieces), len(pieces)) == pieces


def test_each_piece_stands_behind_its_length_of_eight_bytes() -> None:
    assert joined([b"abc", b""]) == bytes([0, 0, 0, 0, 0, 0, 0, 3]) + b"abc" + bytes(8)
    assert joined([]) == b""


@given(st.binary(max_size=100), st.integers(0, 10))
def test_anything_is_split_into_as_many_pieces_as_are_asked_for(told: bytes, count: int) -> None:
    pieces = split(told, count)
    assert len(pieces) == count
    assert sum(map(len, pieces)) <= len(told)


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=4), st.integers(1, 8))
def test_a_piece_that_was_cut_off_is_empty_and_those_before_it_are_not(pieces: list[bytes], cut: int) -> None:
    whole = joined(pieces)
    found = split(whole[: -min(cut, len(pieces[-1]))], len(pieces))
    assert found == [*pieces[:-1], b""]


@given(st.lists(st.binary(max_size=9), max_size=4), st.integers(1, 3))
def test_pieces_that_are_missing_are_empty(pieces: list[bytes], more: int) -> None:
    assert split(joined(pieces), len(pieces) + more) == pieces + [b""] * more


def test_a_length_that_is_far_too_large_makes_this_piece_and_those_behind_it_empty() -> None:
    assert split(b"\xff" * 8 + joined([b"abc"]), 2) == [b"", b""]
