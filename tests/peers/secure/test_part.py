"""A member's part: read as it was dealt, and refused if one byte of it is another, or belongs elsewhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure.columns import Columns
from peers.secure.commitment import Leaf
from peers.secure.deal import Deal
from peers.secure.field import LARGE, SMALL
from peers.secure.layout import Layout, packed
from peers.secure.part import Part, read_part, read_update
from peers.secure.sharing import pack
from peers.secure.stream import Stream
from tests.peers.secure.rounds import context_of, entropy_of, votes

BINDING = context_of(9).binding
DEALER, SIZE = 2, 11
SEEDED, PLAIN = 3, 7
"""A member that this dealer gives a seed, and one that it gives shares."""
LAYOUTS = [packed(9, faults=1, coalition=2, field=field) for field in (SMALL, LARGE)]
BOTH = pytest.mark.parametrize("layout", LAYOUTS, ids=["small", "large"])


def deal_of(layout: Layout) -> Deal:
    """Return a deal that has been made."""
    secrets = pack(layout.field, layout.field.elements(votes(1, SIZE)[0]), layout.packing, filler=1)
    deal = Deal(BINDING, DEALER, Columns(layout, SIZE), secrets, entropy_of(DEALER))
    list(deal.pieces())
    return deal


def committed_to(raw: bytes, place: int) -> bytes:
    return Leaf(BINDING, DEALER, place).feed(raw).digest()


def read(layout: Layout, raw: bytes, place: int, committed: bytes | None = None) -> Part:
    """Read a part that its dealer has committed to, unless another commitment is given."""
    hashed = committed_to(raw, place) if committed is None else committed
    return read_part(raw, Columns(layout, SIZE), binding=BINDING, dealer=DEALER, place=place, committed=hashed)


@BOTH
def test_a_part_is_read_as_it_was_dealt(layout: Layout) -> None:
    columns, deal, element = Columns(layout, SIZE), deal_of(layout), layout.field.dtype.itemsize
    for place in range(layout.members):
        raw = deal.part(place)
        part = read(layout, raw, place, deal.leaves[place])
        assert part.small.tolist() == deal.small[place].tolist()
        if place in columns.seeded(DEALER):
            assert part.update.tolist() == Stream(layout.field, raw[32:64], "update").draw(columns.update).tolist()
        else:
            told = raw[32 : 32 + element * columns.update]
            numbers = [int.from_bytes(told[at : at + element], "little") for at in range(0, len(told), element)]
            assert part.update.tolist() == numbers


@BOTH
@pytest.mark.parametrize("place", [SEEDED, PLAIN])
def test_a_part_in_which_any_byte_is_another_is_refused(layout: Layout, place: int) -> None:
    deal = deal_of(layout)
    raw = deal.part(place)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(ValueError, match="not what was committed to"):
            read(layout, changed, place, deal.leaves[place])


@BOTH
def test_anothers_part_is_refused(layout: Layout) -> None:
    columns, deal = Columns(layout, SIZE), deal_of(layout)
    raw, leaf = deal.part(PLAIN), deal.leaves[PLAIN]
    for binding, dealer, place in (
        (context_of(9, 2).binding, DEALER, PLAIN),
        (BINDING, DEALER + 1, PLAIN),
        (BINDING, DEALER, PLAIN - 1),
    ):
        with pytest.raises(ValueError, match="not what was committed to"):
            read_part(raw, columns, binding=binding, dealer=dealer, place=place, committed=leaf)


@BOTH
@pytest.mark.parametrize("place", [SEEDED, PLAIN])
def test_a_part_of_any_other_length_is_refused_though_it_was_committed_to(layout: Layout, place: int) -> None:
    right = deal_of(layout).part(place)
    for size in range(2 * len(right)):
        raw = bytes(size)
        if size == len(right):
            read(layout, raw, place)
        else:
            with pytest.raises(ValueError):
                read(layout, raw, place)


@BOTH
def test_a_number_that_is_none_is_refused_though_it_was_committed_to(layout: Layout) -> None:
    columns, element = Columns(layout, SIZE), layout.field.dtype.itemsize
    raw = deal_of(layout).part(PLAIN)
    for at in range(columns.update + columns.small):
        start = 32 + at * element
        for wrong in (layout.field.modulus, 2 ** (8 * element) - 1):
            with pytest.raises(ValueError, match="not below the modulus"):
                read(layout, raw[:start] + wrong.to_bytes(element, "little") + raw[start + element :], PLAIN)
        largest = (layout.field.modulus - 1).to_bytes(element, "little")
        read(layout, raw[:start] + largest + raw[start + element :], PLAIN)


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=250), place=st.sampled_from([SEEDED, PLAIN]))
def test_nothing_that_is_shown_raises_anything_else(raw: bytes, place: int) -> None:
    for committed in (None, bytes(32)):
        try:
            read(LAYOUTS[0], raw, place, committed)
        except ValueError:
            continue


@BOTH
@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(layout: Layout, size: int) -> None:
    with pytest.raises(ValueError, match="a seed has 32 bytes"):
        read_update(bytes(size), Columns(layout, SIZE), seeded=True)
