"""A deal: what goes to a member is what was committed to, on polynomials of the degrees that all rely on.

The oracle is Lagrange's formula in whole numbers of Python.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from peers.secure import columns as sizes
from peers.secure.columns import Columns
from peers.secure.commitment import Leaf
from peers.secure.deal import Deal
from peers.secure.field import LARGE, SMALL, Elements, Field
from peers.secure.layout import Layout, committee, packed
from peers.secure.sharing import pack
from peers.secure.stream import Stream
from tests.peers.secure.rounds import NINE, context_of, entropy_of, votes

BINDING = context_of(9).binding
DEALER = 4
SIZE = 25
ALL = {
    "one secret": NINE,
    "the least": packed(3, faults=0, coalition=1, field=SMALL),
    "two secrets": packed(9, faults=1, coalition=2, field=SMALL),
    "three secrets, large": packed(12, faults=1, coalition=2, field=LARGE),
    "committee": committee(10, 5, faults=1, coalition=1, field=SMALL),
}


@pytest.fixture(params=ALL.values(), ids=list(ALL))
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found


@pytest.fixture(autouse=True, params=[10_000, 4], ids=["one block", "blocks of 4"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(sizes, "BLOCK", size)
    return size


def secrets_of(layout: Layout, seed: int = 0) -> Elements:
    return pack(layout.field, layout.field.elements(votes(1, SIZE, seed)[0]), layout.packing, filler=1)


def deal_of(layout: Layout, seed: int = 0, secrets: Elements | None = None) -> Deal:
    dealt = secrets_of(layout) if secrets is None else secrets
    return Deal(BINDING, DEALER, Columns(layout, SIZE), dealt, entropy_of(DEALER, seed))


def lagrange(prime: int, known: Mapping[int, int], at: int) -> int:
    """Return the value at a point of the polynomial through known ones."""
    total = 0
    for here, value in known.items():
        for other in known:
            if other != here:
                value = value * (at - other) * pow(here - other, -1, prime) % prime
        total += value
    return total % prime


def continued(prime: int, column: Sequence[int], degree: int, points: Sequence[int]) -> list[int]:
    """Return the values at some points of the polynomial of a degree through the first members' shares."""
    known = {place + 1: int(column[place]) for place in range(degree + 1)}
    return [lagrange(prime, known, point) for point in points]


def numbers(field: Field, raw: bytes) -> list[int]:
    size = 4 if field is SMALL else 8
    return [int.from_bytes(raw[start : start + size], "little") for start in range(0, len(raw), size)]


def rows(layout: Layout, deal: Deal) -> list[list[int]]:
    """Return each member's shares of the update, from what goes to it."""
    columns, field, pieces = Columns(layout, SIZE), layout.field, list(deal.pieces())
    found = []
    for place in range(layout.members):
        if place in columns.seeded(DEALER):
            found.append([int(value) for value in Stream(field, pieces[0][place][32:], "update").draw(columns.update)])
        else:
            found.append(numbers(field, b"".join(piece[place] for piece in pieces[1:-1])))
    return found


def test_a_members_pieces_together_are_its_part_and_hash_to_its_leaf(layout: Layout) -> None:
    deal = deal_of(layout)
    before = [deal.part(place) for place in range(layout.members)]
    pieces = list(deal.pieces())
    assert len(deal.leaves) == layout.members
    for place in range(layout.members):
        whole = b"".join(piece[place] for piece in pieces)
        assert whole == before[place] == deal.part(place)
        assert Leaf(BINDING, DEALER, place).feed(whole).digest() == deal.leaves[place]


def test_there_is_a_piece_for_each_member_in_each_exchange(layout: Layout, block: int) -> None:
    columns, pieces = Columns(layout, SIZE), list(deal_of(layout).pieces())
    assert len(pieces) == columns.pieces == 2 + -(-columns.update // block)
    assert all(len(piece) == layout.members for piece in pieces)


def test_pieces_are_the_same_when_they_are_made_again(layout: Layout) -> None:
    deal = deal_of(layout)
    first, leaves = list(deal.pieces()), list(deal.leaves)
    assert list(deal.pieces()) == first
    assert deal.leaves == leaves


def test_blocks_change_nothing_of_what_is_dealt(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for size in (1, 4, 10_000):
        monkeypatch.setattr(sizes, "BLOCK", size)
        deal = deal_of(layout)
        list(deal.pieces())
        found.append(deal.leaves)
    assert found[0] == found[1] == found[2]


def test_there_are_no_leaves_before_all_is_made(layout: Layout) -> None:
    deal = deal_of(layout)
    pieces = deal.pieces()
    for _ in range(Columns(layout, SIZE).pieces - 1):
        next(pieces)
        assert not deal.leaves
    next(pieces)  # the last: who has sent it can commit
    assert len(deal.leaves) == layout.members


def test_shares_are_on_polynomials_of_degree_d_with_the_secrets_at_the_slots(layout: Layout) -> None:
    prime, degree = layout.field.modulus, layout.coalition + layout.packing - 1
    secrets, shares = secrets_of(layout), rows(layout, deal_of(layout))
    members, ends = range(1, layout.members + 1), range(-1, -layout.packing - 1, -1)
    assert all(len(row) == secrets.shape[1] for row in shares)
    for number, column in enumerate(zip(*shares, strict=True)):
        assert continued(prime, column, degree, members) == list(column)
        assert continued(prime, column, degree, ends) == secrets[:, number].tolist()


def test_fewer_shares_do_not_determine_a_column(layout: Layout) -> None:
    prime, degree = layout.field.modulus, layout.coalition + layout.packing - 1
    for column in zip(*rows(layout, deal_of(layout)), strict=True):
        assert continued(prime, column, degree - 1, [degree + 1]) != [column[degree]]


def test_straight_small_columns_have_degree_d(layout: Layout) -> None:
    prime, degree = layout.field.modulus, layout.coalition + layout.packing - 1
    columns, small = Columns(layout, SIZE), deal_of(layout).small
    assert small.shape == (layout.members, columns.small)
    for column in small[:, columns.straight].T.tolist():
        assert continued(prime, column, degree, range(1, layout.members + 1)) == column
        assert continued(prime, column, degree - 1, [degree + 1]) != [column[degree]]


def test_zero_masks_vanish_at_the_slots_and_have_degree_2d(layout: Layout) -> None:
    prime, degree = layout.field.modulus, 2 * (layout.coalition + layout.packing - 1)
    columns, small = Columns(layout, SIZE), deal_of(layout).small
    for column in small[:, columns.zero_masks].T.tolist():
        assert continued(prime, column, degree, range(1, layout.members + 1)) == column
        assert not any(continued(prime, column, degree, range(-1, -layout.packing - 1, -1)))
        assert continued(prime, column, degree - 1, [degree + 1]) != [column[degree]]


def test_no_two_small_columns_are_the_same(layout: Layout) -> None:
    deals = [deal_of(layout, seed).small for seed in range(3)]
    columns = np.concatenate(deals, axis=1).T.tolist()
    assert len({tuple(column) for column in columns}) == len(columns)


def test_seeded_members_get_32_bytes_and_the_others_their_shares(layout: Layout, block: int) -> None:
    columns, pieces = Columns(layout, SIZE), list(deal_of(layout).pieces())
    element = layout.field.dtype.itemsize
    for place in range(layout.members):
        seeded = place in columns.seeded(DEALER)
        shares = [0 if seeded else element * (here.stop - here.start) for here in columns.blocks()]
        expected = [32 + 32 * seeded, *shares, element * columns.small]
        assert [len(piece[place]) for piece in pieces] == expected
    assert sum(len(piece) == 64 for piece in pieces[0]) == layout.coalition


def test_no_part_is_longer_than_was_said(layout: Layout) -> None:
    deal = deal_of(layout)
    assert max(len(deal.part(place)) for place in range(layout.members)) == Columns(layout, SIZE).part_bytes


def test_what_seeded_members_get_does_not_depend_on_the_update(layout: Layout) -> None:
    one, other = deal_of(layout), deal_of(layout, secrets=secrets_of(layout, 1))
    for place in range(layout.members):
        assert (one.part(place) == other.part(place)) == (place in Columns(layout, SIZE).seeded(DEALER))


def test_other_randomness_gives_every_member_other_shares(layout: Layout) -> None:
    one, other = (np.array(rows(layout, deal_of(layout, seed))) for seed in (0, 1))
    assert (one != other).all()


def test_each_randomness_has_a_purpose_of_its_own_and_is_drawn_at_once(layout: Layout) -> None:
    asked = []

    def entropy(purpose: str) -> bytes:
        asked.append(purpose)
        return entropy_of(DEALER)(purpose)

    deal = Deal(BINDING, DEALER, Columns(layout, SIZE), secrets_of(layout), entropy)
    assert len(set(asked)) == len(asked) == layout.coalition + layout.members + 1
    list(deal.pieces())
    deal.part(0)
    assert len(asked) == layout.coalition + layout.members + 1


def test_every_member_has_a_salt_of_its_own(layout: Layout) -> None:
    salts = {piece[:32] for piece in next(deal_of(layout).pieces())}
    assert len(salts) == layout.members
