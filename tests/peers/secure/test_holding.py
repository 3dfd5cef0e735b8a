"""A member's holding: it holds what was dealt, and takes for right only what it could show to all."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.secure import columns as sizes
from peers.secure.cheats import Crooked
from peers.secure.columns import Columns
from peers.secure.commitment import Leaf
from peers.secure.deal import Deal
from peers.secure.field import LARGE, SMALL, Elements
from peers.secure.holding import Holding
from peers.secure.layout import Layout, committee, packed
from peers.secure.part import Part, read_part
from peers.secure.sharing import pack
from tests.peers.secure.rounds import SIZE, a_round, agreed, context_of, entropy_of, votes

BINDING = context_of(9).binding
DEALER = 2
SEEDED, PLAIN = 3, 7
"""A member that this dealer gives a seed, and one that it gives shares."""
TWO = packed(9, faults=1, coalition=2, field=SMALL)
ALL = {
    "small": TWO,
    "large": packed(12, faults=1, coalition=2, field=LARGE),
    "committee": committee(10, 5, faults=1, coalition=1, field=SMALL),
}
EACH = pytest.mark.parametrize("layout", ALL.values(), ids=list(ALL))
PLACE = pytest.mark.parametrize("place", [SEEDED, PLAIN], ids=["seeded", "plain"])
NUMBERS = 25
Pieces = list[bytes]


@pytest.fixture(autouse=True)
def block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "BLOCK", 5)


def deals_of(layout: Layout, dealers: Sequence[int]) -> dict[int, Deal]:
    """Return deals that have been made."""
    told, found = votes(layout.peers, NUMBERS), {}
    for dealer in dealers:
        secrets = pack(layout.field, layout.field.elements(told[dealer]), layout.packing, filler=1)
        found[dealer] = Deal(BINDING, dealer, Columns(layout, NUMBERS), secrets, entropy_of(dealer))
        list(found[dealer].pieces())
    return found


def pieces_of(deal: Deal, place: int) -> Pieces:
    return [piece[place] for piece in deal.pieces()]


def fed(layout: Layout, place: int, told: dict[int, Pieces]) -> Holding:
    """Return what a member holds to whom came these pieces, in order."""
    holding = Holding(BINDING, place, Columns(layout, NUMBERS), tuple(told))
    for number in range(max(map(len, told.values()))):
        for dealer, pieces in told.items():
            if number < len(pieces):
                holding.feed(dealer, number, pieces[number])
    return holding


def honest(layout: Layout, place: int, dealers: Sequence[int]) -> tuple[dict[int, Deal], Holding]:
    deals = deals_of(layout, dealers)
    return deals, fed(layout, place, {dealer: pieces_of(deal, place) for dealer, deal in deals.items()})


def part_of(layout: Layout, deal: Deal, dealer: int, place: int) -> Part:
    return read_part(
        deal.part(place), Columns(layout, NUMBERS), binding=BINDING, dealer=dealer, place=place,
        committed=deal.leaves[place],
    )  # fmt: skip


def committed_to(pieces: Pieces, place: int) -> bytes:
    return Leaf(BINDING, DEALER, place).feed(b"".join(pieces)).digest()


@EACH
def test_what_was_fed_is_what_was_dealt(layout: Layout) -> None:
    dealers = range(layout.peers)
    for place in range(layout.members):
        deals, holding = honest(layout, place, dealers)
        for dealer, deal in deals.items():
            assert holding.fits(dealer, deal.leaves[place])
            part = part_of(layout, deal, dealer, place)
            assert holding.updates([dealer]).tolist() == [part.update.tolist()]
            assert holding.small([dealer]).tolist() == [part.small.tolist()]


@EACH
def test_a_part_is_given_back_byte_for_byte(layout: Layout) -> None:
    for place in range(layout.members):
        deals, holding = honest(layout, place, range(layout.peers))
        assert [holding.part(dealer) for dealer in deals] == [deal.part(place) for deal in deals.values()]


@EACH
def test_rows_come_in_the_order_that_is_asked_for(layout: Layout) -> None:
    deals, holding = honest(layout, 1, [4, 0, 3])
    parts = {dealer: part_of(layout, deal, dealer, 1) for dealer, deal in deals.items()}
    for asked in ([0, 3, 4], [3], [4, 0], []):
        assert holding.updates(asked).tolist() == [parts[dealer].update.tolist() for dealer in asked]
        assert holding.small(asked).tolist() == [parts[dealer].small.tolist() for dealer in asked]


@EACH
def test_the_share_of_the_sum_is_the_sum_of_the_shares(layout: Layout) -> None:
    deals, holding = honest(layout, 1, range(layout.peers))
    rows = {dealer: part_of(layout, deal, dealer, 1).update.tolist() for dealer, deal in deals.items()}
    for asked in (list(deals), [3, 0], [4]):
        summed = [sum(column) % layout.field.modulus for column in zip(*(rows[one] for one in asked), strict=True)]
        assert holding.total(dict.fromkeys(asked, 1)).tolist() == summed


def test_the_sum_of_nobodys_updates_is_zero() -> None:
    _, holding = honest(TWO, 1, [0])
    assert holding.total({}).tolist() == [0] * Columns(TWO, NUMBERS).update


def test_nothing_fits_before_all_has_come() -> None:
    deal = deals_of(TWO, [DEALER])[DEALER]
    for place in (SEEDED, PLAIN):
        holding = Holding(BINDING, place, Columns(TWO, NUMBERS), [DEALER])
        assert not holding.fits(DEALER, Leaf(BINDING, DEALER, place).digest())
        for number, piece in enumerate(pieces_of(deal, place)):
            assert not holding.fits(DEALER, deal.leaves[place])
            holding.feed(DEALER, number, piece)
        assert holding.fits(DEALER, deal.leaves[place])


@PLACE
def test_a_change_of_any_byte_is_seen(place: int) -> None:
    deal = deals_of(TWO, [DEALER])[DEALER]
    pieces = pieces_of(deal, place)
    for number, piece in enumerate(pieces):
        for at in range(len(piece)):
            changed = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
            holding = fed(TWO, place, {DEALER: [*pieces[:number], changed, *pieces[number + 1 :]]})
            assert not holding.fits(DEALER, deal.leaves[place])


@PLACE
def test_a_piece_that_is_missing_is_seen_though_it_is_empty(place: int) -> None:
    deal = deals_of(TWO, [DEALER])[DEALER]
    pieces = pieces_of(deal, place)
    for missing in range(len(pieces)):
        holding = Holding(BINDING, place, Columns(TWO, NUMBERS), [DEALER])
        for number, piece in enumerate(pieces):
            if number != missing:
                holding.feed(DEALER, number, piece)
        assert not holding.fits(DEALER, deal.leaves[place])


@PLACE
def test_a_piece_that_comes_twice_is_seen_though_it_is_empty(place: int) -> None:
    deal = deals_of(TWO, [DEALER])[DEALER]
    pieces = pieces_of(deal, place)
    for repeated in range(len(pieces)):
        holding = Holding(BINDING, place, Columns(TWO, NUMBERS), [DEALER])
        for number, piece in enumerate(pieces):
            for _ in range(1 + (number == repeated)):
                holding.feed(DEALER, number, piece)
        assert not holding.fits(DEALER, deal.leaves[place])


def test_pieces_in_another_order_are_seen() -> None:
    deal = deals_of(TWO, [DEALER])[DEALER]
    pieces = pieces_of(deal, PLAIN)
    for first in range(len(pieces) - 1):
        swapped = [*pieces[:first], pieces[first + 1], pieces[first], *pieces[first + 2 :]]
        assert not fed(TWO, PLAIN, {DEALER: swapped}).fits(DEALER, deal.leaves[PLAIN])


def test_what_was_dealt_to_another_member_does_not_fit() -> None:
    deal = deals_of(TWO, [DEALER])[DEALER]
    holding = fed(TWO, PLAIN, {DEALER: pieces_of(deal, PLAIN - 1)})
    assert not holding.fits(DEALER, deal.leaves[PLAIN])
    assert not holding.fits(DEALER, deal.leaves[PLAIN - 1])


def test_what_one_dealer_does_leaves_anothers_part_as_it_is() -> None:
    deals = deals_of(TWO, [DEALER, 5])
    told = {dealer: pieces_of(deal, PLAIN) for dealer, deal in deals.items()}
    told[DEALER] = [b"nonsense"] * len(told[DEALER])
    holding = fed(TWO, PLAIN, told)
    assert not holding.fits(DEALER, deals[DEALER].leaves[PLAIN])
    assert holding.fits(5, deals[5].leaves[PLAIN])
    assert holding.part(5) == deals[5].part(PLAIN)


@EACH
def test_a_part_shown_to_all_takes_the_place_of_what_did_not_fit(layout: Layout) -> None:
    dealers = range(layout.peers)
    for place in range(layout.members):
        deals, right = honest(layout, place, dealers)
        told = {dealer: pieces_of(deal, place) for dealer, deal in deals.items()}
        told[DEALER] = [bytes(len(piece)) for piece in told[DEALER]]
        holding = fed(layout, place, told)
        assert not holding.fits(DEALER, deals[DEALER].leaves[place])
        raw = deals[DEALER].part(place)
        holding.replace(DEALER, part_of(layout, deals[DEALER], DEALER, place), raw)
        assert holding.part(DEALER) == raw
        assert holding.updates(dealers).tolist() == right.updates(dealers).tolist()
        assert holding.small(dealers).tolist() == right.small(dealers).tolist()
        assert holding.total(dict.fromkeys(dealers, 1)).tolist() == right.total(dict.fromkeys(dealers, 1)).tolist()


# What a dealer has committed to may be malformed itself. A member that took such a part for right could be made to open
# what fits no other's, and would then have nothing to show: it, and not the dealer, would be named.

Change = Callable[[Pieces], Pieces]
LARGEST = SMALL.modulus.to_bytes(4, "little")


def at(number: int, change: Callable[[bytes], bytes]) -> Change:
    """Return what changes one piece."""

    def changed(pieces: Pieces) -> Pieces:
        place = number % len(pieces)
        return [*pieces[:place], change(pieces[place]), *pieces[place + 1 :]]

    return changed


def moved(number: int, size: int) -> Change:
    """Return what moves the first bytes of a piece to the end of the one before it: what is hashed stays the same."""

    def changed(pieces: Pieces) -> Pieces:
        place = number % len(pieces)
        before, piece = pieces[place - 1], pieces[place]
        return [*pieces[: place - 1], before + piece[:size], piece[size:], *pieces[place + 1 :]]

    return changed


@pytest.mark.parametrize(
    ("place", "change"),
    [
        pytest.param(PLAIN, at(0, lambda salt: salt + b"\0"), id="plain: a salt too long"),
        pytest.param(PLAIN, at(0, lambda salt: salt[1:]), id="plain: a salt too short"),
        pytest.param(PLAIN, at(0, lambda salt: b""), id="plain: no salt"),
        pytest.param(PLAIN, at(0, lambda salt: salt + bytes(32)), id="plain: a seed, too"),
        pytest.param(PLAIN, at(1, lambda block: block[:-1]), id="plain: a block too short"),
        pytest.param(PLAIN, at(1, lambda block: block + bytes(4)), id="plain: a block too long"),
        pytest.param(PLAIN, at(2, lambda block: LARGEST + block[4:]), id="plain: the modulus in a block"),
        pytest.param(PLAIN, moved(1, 4), id="plain: a number with the salt"),
        pytest.param(PLAIN, moved(2, 4), id="plain: a number with the block before it"),
        pytest.param(PLAIN, moved(-1, 4), id="plain: a small number with the last block"),
        pytest.param(PLAIN, at(-1, lambda small: LARGEST + small[4:]), id="plain: the modulus in the small columns"),
        pytest.param(PLAIN, at(-1, lambda small: small + bytes(4)), id="plain: small columns too long"),
        pytest.param(SEEDED, at(0, lambda first: first[1:]), id="seeded: a seed too short"),
        pytest.param(SEEDED, at(0, lambda first: first + b"\0"), id="seeded: a seed too long"),
        pytest.param(SEEDED, at(0, lambda first: first[:32]), id="seeded: no seed"),
        pytest.param(SEEDED, at(1, lambda block: b"\0"), id="seeded: a byte in a block"),
        pytest.param(SEEDED, at(2, lambda block: bytes(20)), id="seeded: a block of shares"),
        pytest.param(SEEDED, moved(-1, 4), id="seeded: a small number in a block"),
        pytest.param(SEEDED, at(-1, lambda small: LARGEST + small[4:]), id="seeded: the modulus in the small columns"),
    ],
)
def test_a_malformed_part_does_not_fit_though_it_was_committed_to(place: int, change: Change) -> None:
    pieces = change(pieces_of(deals_of(TWO, [DEALER])[DEALER], place))
    assert not fed(TWO, place, {DEALER: pieces}).fits(DEALER, committed_to(pieces, place))


def strange(pieces: Pieces, data: st.DataObject) -> Pieces:
    """Return pieces of which some are cut, made longer, emptied or filled."""
    return [
        data.draw(st.sampled_from([piece, piece, piece, piece[:-1], piece + b"\0", b"", piece + bytes(4), bytes(20)]))
        for piece in pieces
    ]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.data(), place=st.sampled_from([SEEDED, PLAIN]))
def test_whatever_fits_can_be_shown_to_all(data: st.DataObject, place: int) -> None:
    columns = Columns(TWO, NUMBERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "BLOCK", 5)
        pieces = strange(pieces_of(deals_of(TWO, [DEALER])[DEALER], place), data)
        committed = committed_to(pieces, place)
        holding = fed(TWO, place, {DEALER: pieces})
        if holding.fits(DEALER, committed):
            shown = holding.part(DEALER)
            part = read_part(shown, columns, binding=BINDING, dealer=DEALER, place=place, committed=committed)
            assert holding.updates([DEALER]).tolist() == [part.update.tolist()]
            assert holding.small([DEALER]).tolist() == [part.small.tolist()]


class Framer(Crooked):
    """Deals one member shares on no polynomial, and commits to a part that the member cannot show."""

    def deal(self, secrets: Elements) -> Deal:
        deal = super().deal(secrets)
        honestly, victim = deal.pieces, (self.me + 1) % self.columns.layout.members

        def pieces() -> Iterator[list[bytes]]:
            made = [list(piece) for piece in honestly()]
            made[1][victim] += b"\0"
            leaf = Leaf(self.context.binding, self.me, victim).feed(b"".join(piece[victim] for piece in made))
            deal.leaves[victim] = leaf.digest()
            yield from made

        deal.pieces = pieces  # type: ignore[method-assign]
        return deal


def test_no_dealer_can_have_an_honest_member_named() -> None:
    cheats = {4: Framer}
    outcome = agreed(a_round(cheats=cheats), cheats)
    assert [culprit.peer for culprit in outcome.ruling.culprits] == [4]
    assert outcome.sum is not None
    assert len(outcome.sum) == SIZE
