"""The columns of a deal: enough of each kind, none used for two things, and seeds in turn."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.secure import columns as sizes
from peers.secure.ball import Ball
from peers.secure.broadcast import Outgoing
from peers.secure.cheats import CHEATS, Halves
from peers.secure.columns import Columns
from peers.secure.field import LARGE, SMALL
from peers.secure.layout import Layout, committee, packed
from peers.secure.party import Player, play
from peers.secure.simulation import simulate
from peers.secure.terms import Terms
from tests.peers.secure.rounds import NINE, context_of, entropy_of, keys_of, votes

ALL = [
    NINE,
    packed(3, faults=0, coalition=1, field=SMALL),
    packed(12, faults=1, coalition=2, field=LARGE),
    packed(100, faults=20, coalition=20, field=SMALL),
    packed(100, faults=3, coalition=5, field=LARGE),
    committee(10, 5, faults=1, coalition=1, field=SMALL),
]
LAYOUT = st.sampled_from(ALL)
SIZE = st.integers(1, 500)


@given(layout=LAYOUT, size=SIZE)
def test_the_update_fits_and_leaves_no_column_empty(layout: Layout, size: int) -> None:
    columns = Columns(layout, size)
    assert (columns.update - 1) * layout.packing < size <= columns.update * layout.packing


@pytest.mark.parametrize("layout", ALL)
def test_a_part_of_a_beacon_has_128_bits_and_no_column_more(layout: Layout) -> None:
    secrets = Columns(layout, 1).beacon * layout.packing
    assert layout.field.modulus**secrets >= 2**128
    assert (secrets - layout.packing) * (layout.field.bits - 1) < 128


@given(layout=LAYOUT, size=SIZE)
def test_every_small_column_is_for_one_thing(layout: Layout, size: int) -> None:
    columns = Columns(layout, size)
    places = range(columns.small)
    kinds = [*columns.beacons, columns.degree_masks, columns.zero_masks]
    assert [place for kind in kinds for place in places[kind]] == list(places)
    assert [len(places[kind]) for kind in kinds] == [columns.beacon] * 2 + [layout.repetitions] * 2


@given(layout=LAYOUT, size=SIZE)
def test_all_small_columns_but_the_zero_masks_are_straight(layout: Layout, size: int) -> None:
    columns = Columns(layout, size)
    places = range(columns.small)
    assert [*places[columns.straight], *places[columns.zero_masks]] == list(places)


@given(layout=LAYOUT, size=SIZE)
def test_a_member_opens_as_many_numbers_as_there_are_masks(layout: Layout, size: int) -> None:
    columns = Columns(layout, size)
    masks = range(columns.small)
    assert columns.scalars == len(masks[columns.degree_masks]) + len(masks[columns.zero_masks])


@given(layout=LAYOUT, size=SIZE, bound=st.integers(1, 2**20), projections=st.integers(1, 200), distances=st.booleans())
def test_in_a_ball_there_are_columns_for_its_bits_its_projections_sums_and_distances(
    layout: Layout, size: int, bound: int, projections: int, distances: bool
) -> None:
    """One behind the other, after those that any deal has."""
    columns = Columns(layout, size, Terms(Ball(bound, 2**27, projections, 3), distances=distances))
    places = range(columns.small)
    bare = Columns(layout, size)
    assert (columns.update, columns.zero_masks, columns.straight) == (bare.update, bare.zero_masks, bare.straight)
    kinds = [columns.slack, columns.projection_masks, columns.sum_masks, columns.distance_masks]
    assert [place for kind in kinds for place in places[kind]] == list(range(bare.small, columns.small))
    bits = len(bin(bound**2)) - 2
    assert [len(places[kind]) for kind in kinds] == [
        math.ceil(bits / layout.packing), projections, layout.repetitions, layout.peers if distances else 0,
    ]  # fmt: skip


@given(layout=LAYOUT, size=SIZE, projections=st.integers(1, 200))
def test_in_a_ball_a_member_opens_degrees_zeros_sums_and_projections(
    layout: Layout, size: int, projections: int
) -> None:
    columns = Columns(layout, size, Terms(Ball(256, 2**27, projections, 3), distances=True))
    told = range(columns.scalars)
    kinds = [slice(0, layout.repetitions), columns.opened_zeros, columns.opened_sums, columns.opened_projections]
    assert [place for kind in kinds for place in told[kind]] == list(told)
    assert [len(told[kind]) for kind in kinds] == [*[layout.repetitions] * 3, projections]


@given(layout=LAYOUT, size=SIZE)
def test_of_signs_a_member_opens_no_sums_and_no_projections(layout: Layout, size: int) -> None:
    columns = Columns(layout, size)
    told = range(columns.scalars)
    assert list(told[columns.opened_zeros]) == list(range(layout.repetitions, 2 * layout.repetitions))
    assert not told[columns.opened_sums]
    assert not told[columns.opened_projections]


@given(layout=LAYOUT, size=SIZE, block=st.integers(1, 60))
def test_blocks_follow_each_other_through_the_update(layout: Layout, size: int, block: int) -> None:
    columns = Columns(layout, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "BLOCK", block)
        blocks = columns.blocks()
        assert columns.pieces == len(blocks) + 2
    lengths = [len(range(columns.update)[here]) for here in blocks]
    assert [place for here in blocks for place in range(here.start, here.stop)] == list(range(columns.update))
    assert all(length == block for length in lengths[:-1])
    assert 0 < lengths[-1] <= block


@given(layout=LAYOUT, dealer=st.integers(0, 99))
def test_so_many_members_as_may_pool_what_they_see_get_seeds(layout: Layout, dealer: int) -> None:
    seeded = Columns(layout, 1).seeded(dealer % layout.peers)
    assert len(set(seeded)) == len(seeded) == layout.coalition
    assert set(seeded) <= set(range(layout.members))
    assert list(seeded) == sorted(seeded)


@pytest.mark.parametrize("layout", [layout for layout in ALL if layout.members == layout.peers])
def test_every_member_gets_equally_many_seeds_and_none_from_itself(layout: Layout) -> None:
    columns = Columns(layout, 1)
    given_to = Counter(place for dealer in range(layout.peers) for place in columns.seeded(dealer))
    assert given_to == dict.fromkeys(range(layout.members), layout.coalition)
    assert all(dealer not in columns.seeded(dealer) for dealer in range(layout.peers))


@given(layout=LAYOUT, size=SIZE)
def test_bytes_are_counted_by_the_formula(layout: Layout, size: int) -> None:
    columns, element = Columns(layout, size), 4 if layout.field is SMALL else 8
    assert columns.small_bytes == element * columns.small
    assert columns.part_bytes == 32 + max(32, element * columns.update) + columns.small_bytes


@pytest.mark.parametrize(
    "cheat", [None, *CHEATS.values(), Halves], ids=lambda cheat: getattr(cheat, "__name__", "nobody")
)
@pytest.mark.parametrize("size", [1, 400, 30_000])
def test_no_letter_is_longer_than_the_longest(cheat: type[Player] | None, size: int) -> None:
    columns, found = Columns(NINE, size), [0]
    keys, context, told = keys_of(9), context_of(9), votes(9, size)

    def listen(exchange: int, sender: int, outgoing: Outgoing) -> Outgoing:
        found[0] = max([found[0], *map(len, outgoing.values())])
        return outgoing

    cheats = {} if cheat is None else {2: cheat, 6: cheat}
    simulate(
        {
            peer: play(
                peer, keys[peer], context, columns, tuple(range(9)), SMALL.elements(told[peer]), entropy_of(peer),
                cheats.get(peer),
            )
            for peer in range(9)
        },
        listen,
    )  # fmt: skip
    assert found[0] <= columns.longest_letter - 2**20 * (size > 1000)
