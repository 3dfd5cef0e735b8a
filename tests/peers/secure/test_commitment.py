"""Commitments: a hash for each member, of nothing but its part, and of where the part belongs."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from peers.secure.commitment import DIGEST_BYTES, Leaf, decode, encode
from peers.secure.labels import LEAF
from tests.peers.secure.rounds import context_of

BINDING = context_of(9).binding
PIECES = st.lists(st.binary(max_size=20), max_size=6)


@given(pieces=PIECES)
def test_a_leaf_is_the_hash_of_all_pieces_however_they_were_cut(pieces: list[bytes]) -> None:
    leaf = Leaf(BINDING, 3, 7)
    for piece in pieces:
        assert leaf.feed(piece) is leaf
    whole = LEAF + BINDING + bytes([0, 0, 0, 3]) + bytes([0, 0, 0, 7]) + b"".join(pieces)
    assert leaf.digest() == hashlib.sha256(whole).digest()
    assert Leaf(BINDING, 3, 7).feed(b"".join(pieces)).digest() == leaf.digest()


def test_the_same_part_has_another_leaf_in_another_place() -> None:
    bindings = [context_of(9, number).binding for number in (1, 2, 256)]
    numbers = (0, 1, 2, 256, 65536)
    leaves = {
        Leaf(binding, dealer, place).feed(b"part").digest()
        for binding in bindings for dealer in numbers for place in numbers
    }  # fmt: skip
    assert len(leaves) == len(bindings) * len(numbers) ** 2


def test_a_leaf_can_be_read_while_it_is_fed() -> None:
    leaf = Leaf(BINDING, 0, 0).feed(b"a")
    first = leaf.digest()
    assert leaf.digest() == first
    assert leaf.feed(b"b").digest() == Leaf(BINDING, 0, 0).feed(b"ab").digest() != first


@given(leaves=st.lists(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES), max_size=12))
def test_a_commitment_is_read_as_it_was_written_and_has_32_bytes_a_member(leaves: list[bytes]) -> None:
    body = encode(leaves)
    assert decode(body) == tuple(leaves)
    assert len(body) == 32 * len(leaves)
