"""The checks: what is allowed passes for sure and shows nothing else, and what is not is seen.

Oracles are Lagrange's formula and sums of products, in whole numbers of Python.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from peers.secure import checks
from peers.secure.challenge import Challenge
from peers.secure.checks import fingerprint, scalars
from peers.secure.columns import Columns
from peers.secure.deal import Deal
from peers.secure.decoding import decode
from peers.secure.field import LARGE, SMALL, Elements, Field
from peers.secure.layout import Layout, committee, packed
from peers.secure.lengths import scalars_in_ball
from peers.secure.part import read_part
from peers.secure.sharing import pack, share
from peers.secure.stream import Stream
from peers.secure.terms import Terms
from tests.peers.secure import balls
from tests.peers.secure.rounds import NINE, context_of, entropy_of, votes

BINDING = context_of(9).binding
SIZE = 11
SMALL_TWO, LARGE_TWO = (packed(9, faults=1, coalition=2, field=field) for field in (SMALL, LARGE))
ALL = {
    "small": SMALL_TWO,
    "large": LARGE_TWO,
    "one secret": NINE,
    "three secrets": packed(12, faults=1, coalition=2, field=SMALL),
    "committee": committee(10, 5, faults=1, coalition=1, field=SMALL),
}
EACH = pytest.mark.parametrize("layout", ALL.values(), ids=list(ALL))
BOTH = pytest.mark.parametrize("layout", [SMALL_TWO, LARGE_TWO], ids=["small", "large"])
BEACON = st.binary(min_size=32, max_size=32)


def lagrange(prime: int, known: Mapping[int, int], at: int) -> int:
    """Return the value at a point of the polynomial through known ones."""
    total = 0
    for here, value in known.items():
        for other in known:
            if other != here:
                value = value * (at - other) * pow(here - other, -1, prime) % prime
        total += value
    return total % prime


def lies_on(layout: Layout, values: Elements, degree: int) -> bool:
    """Tell whether all members' values are one polynomial's of at most a degree."""
    known = {place + 1: int(values[place]) for place in range(degree + 1)}
    return all(
        lagrange(layout.field.modulus, known, place + 1) == int(values[place]) for place in range(layout.members)
    )


def at_slots(layout: Layout, values: Elements, degree: int) -> list[int]:
    """Return the secrets of the polynomial through the first members' values."""
    known = {place + 1: int(values[place]) for place in range(degree + 1)}
    return [lagrange(layout.field.modulus, known, -slot) for slot in range(1, layout.packing + 1)]


def beacon_of(seed: int) -> bytes:
    return hashlib.sha256(b"beacon %d" % seed).digest()


def packed_up(layout: Layout, update: NDArray[np.int64]) -> Elements:
    return pack(layout.field, layout.field.elements(update), layout.packing, filler=1)


def dealt(layout: Layout, updates: NDArray[np.int64], seed: int = 0) -> tuple[Elements, Elements]:
    """Return members' shares of deals, [members, dealers, columns]: of the updates, and of the rest."""
    columns = Columns(layout, updates.shape[1])
    shares, rest = [], []
    for dealer, update in enumerate(updates):
        deal = Deal(BINDING, dealer, columns, packed_up(layout, update), entropy_of(dealer, seed))
        list(deal.pieces())
        parts = [
            read_part(
                deal.part(place), columns, binding=BINDING, dealer=dealer, place=place, committed=deal.leaves[place]
            )
            for place in range(layout.members)
        ]
        shares.append(np.stack([part.update for part in parts]))
        rest.append(np.stack([part.small for part in parts]))
    return np.stack(shares, axis=1), np.stack(rest, axis=1)


def told(layout: Layout, challenge: Challenge, update: Elements, small: Elements, size: int = SIZE) -> Elements:
    """Return what all members open, [members, dealers, 2, repetitions]: of the degree, of the squares."""
    columns = Columns(layout, size)
    rows = [scalars(columns, challenge, update[place], small[place]) for place in range(layout.members)]
    return np.stack(rows).reshape(layout.members, update.shape[1], 2, layout.repetitions)


def random_elements(field: Field, *shape: int, seed: int = 0) -> Elements:
    return Stream(field, beacon_of(seed), "test").draw(*shape)


# Completeness


@EACH
def test_what_is_opened_of_honest_deals_is_of_degree_d_and_vanishes_at_degree_2d(layout: Layout) -> None:
    challenge = Challenge.drawn(Columns(layout, SIZE), beacon_of(0))
    opened = told(layout, challenge, *dealt(layout, votes(3, SIZE)))
    for dealer in range(3):
        for time in range(layout.repetitions):
            assert lies_on(layout, opened[:, dealer, 0, time], layout.degree)
            assert lies_on(layout, opened[:, dealer, 1, time], 2 * layout.degree)
            assert not any(at_slots(layout, opened[:, dealer, 1, time], 2 * layout.degree))


@settings(max_examples=25, deadline=None)
@given(layout=st.sampled_from([SMALL_TWO, LARGE_TWO]), beacon=BEACON, seed=st.integers(0, 2**32))
def test_no_challenge_refuses_what_is_allowed(layout: Layout, beacon: bytes, seed: int) -> None:
    challenge = Challenge.drawn(Columns(layout, SIZE), beacon)
    opened = told(layout, challenge, *dealt(layout, votes(1, SIZE, seed), seed))
    for time in range(layout.repetitions):
        assert lies_on(layout, opened[:, 0, 0, time], layout.degree)
        assert lies_on(layout, opened[:, 0, 1, time], 2 * layout.degree)
        assert not any(at_slots(layout, opened[:, 0, 1, time], 2 * layout.degree))


@BOTH
@pytest.mark.parametrize("block", [1 << 16, 6, 1], ids=["one block", "blocks of 2", "blocks of 1"])
def test_scalars_are_the_sums_that_are_written_down(
    layout: Layout, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_BLOCK", block)
    columns, field, prime = Columns(layout, SIZE), layout.field, layout.field.modulus
    challenge = Challenge.drawn(columns, beacon_of(1))
    update, small = random_elements(field, 3, columns.update), random_elements(field, 3, columns.small, seed=1)
    found = scalars(columns, challenge, update, small)
    assert found.shape == (3, columns.scalars)
    for dealer in range(3):
        shares, rest = update[dealer].tolist(), small[dealer].tolist()
        expected = []
        for time in range(layout.repetitions):
            straight = [*challenge.degree[time].tolist(), *challenge.beacon[time].tolist(), 1]
            terms = [*shares, *rest[columns.beacons[1]], rest[columns.degree_masks][time]]
            expected.append(sum(one * other for one, other in zip(straight, terms, strict=True)) % prime)
        for time in range(layout.repetitions):
            squares = [r * (value**2 - 1) for r, value in zip(challenge.squares[time].tolist(), shares, strict=True)]
            expected.append((sum(squares) + rest[columns.zero_masks][time]) % prime)
        assert found[dealer].tolist() == expected


@BOTH
def test_each_dealer_is_checked_as_if_it_were_alone(layout: Layout) -> None:
    columns = Columns(layout, SIZE)
    challenge = Challenge.drawn(columns, beacon_of(2))
    update, small = (shares[4] for shares in dealt(layout, votes(5, SIZE)))
    alone = [scalars(columns, challenge, update[[one]], small[[one]])[0].tolist() for one in range(5)]
    assert scalars(columns, challenge, update, small).tolist() == alone
    assert scalars(columns, challenge, update[:0], small[:0]).shape == (0, columns.scalars)


@settings(max_examples=25, deadline=None)
@given(
    layout=st.sampled_from([SMALL_TWO, LARGE_TWO]), factors=st.tuples(st.integers(0, 2**61), st.integers(0, 2**61)),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_scalars_are_linear_in_the_coefficients(layout: Layout, factors: tuple[int, int], seed: int) -> None:
    columns, field = Columns(layout, SIZE), layout.field
    one, other = (Challenge.drawn(columns, beacon_of(number)) for number in (seed, seed + 1))
    by = [field.elements(factor % field.modulus) for factor in factors]

    def combined(left: Elements, right: Elements) -> Elements:
        return field.add(field.multiply(left, by[0]), field.multiply(right, by[1]))

    both = Challenge(
        combined(one.degree, other.degree), combined(one.beacon, other.beacon), combined(one.squares, other.squares)
    )
    update, small = random_elements(field, 2, columns.update), random_elements(field, 2, columns.small, seed=1)
    small[:, columns.degree_masks.start : columns.zero_masks.stop] = 0
    apart = [scalars(columns, challenge, update, small) for challenge in (one, other)]
    assert scalars(columns, both, update, small).tolist() == combined(*apart).tolist()


# The challenge


@EACH
def test_a_challenge_follows_from_its_beacon_and_no_two_of_its_rows_are_the_same(layout: Layout) -> None:
    columns = Columns(layout, SIZE)
    drawn = [Challenge.drawn(columns, beacon_of(seed)) for seed in (0, 0, 1)]
    assert drawn[0].degree.shape == drawn[0].squares.shape == (layout.repetitions, columns.update)
    assert drawn[0].beacon.shape == (layout.repetitions, columns.beacon)
    rows = [[*one.degree.tolist(), *one.squares.tolist(), *one.beacon.tolist()] for one in drawn]
    assert rows[0] == rows[1]
    different = [tuple(row[: columns.beacon]) for row in (*rows[0], *rows[2])]
    assert len(set(different)) == len(different)


# Soundness


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from([SMALL_TWO, LARGE_TWO]), value=st.integers(-(2**60) + 1, 2**60 - 1),
    place=st.integers(0, SIZE - 1), beacon=BEACON,
)  # fmt: skip
def test_a_number_that_is_not_allowed_is_seen_in_its_slot(
    layout: Layout, value: int, place: int, beacon: bytes
) -> None:
    """In closed form: r_b (x² − 1) in the slot of the number, 0 in the others."""
    prime = layout.field.modulus
    update = votes(1, SIZE)
    update[0, place] = value
    challenge = Challenge.drawn(Columns(layout, SIZE), beacon)
    opened = told(layout, challenge, *dealt(layout, update))
    allowed = value % prime in (1, prime - 1)
    for time in range(layout.repetitions):
        column, slot = divmod(place, layout.packing)
        expected = [0] * layout.packing
        expected[slot] = int(challenge.squares[time, column]) * (value**2 - 1) % prime
        assert at_slots(layout, opened[:, 0, 1, time], 2 * layout.degree) == expected
        assert any(expected) != allowed


@BOTH
def test_each_of_many_draws_sees_each_number_that_is_not_allowed(layout: Layout) -> None:
    wrong = [0, 2, -2, 3, layout.field.modulus // 2, 2 ** ((layout.field.bits + 1) // 2)]
    updates = votes(len(wrong), SIZE)
    updates[:, 5] = wrong
    shares = dealt(layout, updates)
    for seed in range(20):
        opened = told(layout, Challenge.drawn(Columns(layout, SIZE), beacon_of(seed)), *shares)
        for dealer in range(len(wrong)):
            for time in range(layout.repetitions):
                assert any(at_slots(layout, opened[:, dealer, 1, time], 2 * layout.degree))


@BOTH
@pytest.mark.parametrize("places", [(0, 2), (0, 1), (4, 10)])
def test_numbers_whose_squares_make_up_for_each_other_are_seen(layout: Layout, places: tuple[int, int]) -> None:
    """0² + (√2)² is 1² + 1²: 2 is a square modulo both primes."""
    root = 2 ** ((layout.field.bits + 1) // 2)
    assert root**2 % layout.field.modulus == 2
    update = votes(1, SIZE)
    update[0, list(places)] = (0, root)
    opened = told(layout, Challenge.drawn(Columns(layout, SIZE), beacon_of(0)), *dealt(layout, update))
    for time in range(layout.repetitions):
        assert any(at_slots(layout, opened[:, 0, 1, time], 2 * layout.degree))


@BOTH
@pytest.mark.parametrize(
    ("kind", "seen"), [("update", (0, 1)), ("beacon", (0,)), ("degree mask", (0,)), ("zero mask", (1,))]
)
def test_a_share_off_the_polynomial_is_found(layout: Layout, kind: str, seen: tuple[int, ...]) -> None:
    columns, field, liar = Columns(layout, SIZE), layout.field, 6
    update, small = dealt(layout, votes(2, SIZE))
    places = {
        "beacon": columns.beacons[1].start, "degree mask": columns.degree_masks.start,
        "zero mask": columns.zero_masks.start,
    }  # fmt: skip
    shares, place = (update, 3) if kind == "update" else (small, places[kind])
    shares[liar, 1, place] = field.add(shares[liar, 1, place : place + 1], field.elements(np.array([1])))[0]
    opened = told(layout, Challenge.drawn(columns, beacon_of(0)), update, small)
    for dealer in range(2):
        for which, degree in enumerate((layout.degree, 2 * layout.degree)):
            values = opened[:, dealer, which, 0].tolist()
            wrong = decode(field, range(1, layout.members + 1), values, degree).wrong
            assert wrong == ((liar,) if dealer == 1 and which in seen else ())


@BOTH
@pytest.mark.parametrize("column", [0, 5, "beacon"])
def test_a_degree_that_is_too_high_is_seen_though_the_secrets_are_right(layout: Layout, column: int | str) -> None:
    columns, field = Columns(layout, SIZE), layout.field
    update, small = dealt(layout, votes(1, SIZE))
    shares, at = (small, columns.beacons[1].start) if column == "beacon" else (update, int(column))
    for place in range(layout.members):
        point = place + 1
        higher = point**layout.coalition  # times this, of degree k: zero at the slots
        for slot in range(1, layout.packing + 1):
            higher *= point + slot
        shares[place, 0, at] = (int(shares[place, 0, at]) + higher) % field.modulus
    assert at_slots(layout, shares[:, 0, at], layout.degree + 1) == at_slots(
        layout, dealt(layout, votes(1, SIZE))[column == "beacon"][:, 0, at], layout.degree
    )
    opened = told(layout, Challenge.drawn(columns, beacon_of(0)), update, small)
    for time in range(layout.repetitions):
        assert not lies_on(layout, opened[:, 0, 0, time], layout.degree)
        assert lies_on(layout, opened[:, 0, 0, time], layout.degree + 1)


@BOTH
def test_a_mask_that_does_not_vanish_hides_no_wrong_number(layout: Layout) -> None:
    """It was fixed before the coefficients were drawn: what it makes up for under one challenge shows under another."""
    columns, field = Columns(layout, SIZE), layout.field
    update = votes(1, SIZE)
    update[0, 4] = 3
    shares, small = dealt(layout, update)
    foreseen = told(layout, Challenge.drawn(columns, beacon_of(0)), shares, small)[:, :, 1]
    small[:, :, columns.zero_masks] = field.subtract(small[:, :, columns.zero_masks], foreseen)
    for seed in range(20):
        opened = told(layout, Challenge.drawn(columns, beacon_of(seed)), shares, small)
        for time in range(layout.repetitions):
            assert any(at_slots(layout, opened[:, 0, 1, time], 2 * layout.degree)) == (seed != 0)


# What the checks show of an update


@BOTH
@pytest.mark.parametrize("coalition", [(0, 1), (3, 7), (8, 2)])
def test_a_coalition_sees_of_one_update_what_it_could_have_seen_of_any_other(
    layout: Layout, coalition: tuple[int, ...]
) -> None:
    """Its shares, those of the masks, and all that is opened: to each mask there is one that makes it the other's."""
    columns, field = Columns(layout, SIZE), layout.field
    challenge = Challenge.drawn(columns, beacon_of(0))
    random = random_elements(field, layout.coalition, columns.update)
    one, other, false = (
        share(field, packed_up(layout, update), random, layout.members, coalition)[:, None]
        for update in (*votes(2, SIZE), np.full(SIZE, 2))
    )
    small = Deal(BINDING, 0, columns, packed_up(layout, votes(1, SIZE)[0]), entropy_of(0)).small[:, None]
    opened = told(layout, challenge, one, small)
    for update in (other, false):
        assert (one[list(coalition)] == update[list(coalition)]).all()
        bare = small.copy()
        bare[:, :, columns.degree_masks.start : columns.zero_masks.stop] = 0
        needed = field.subtract(opened, told(layout, challenge, update, bare)).reshape(layout.members, 1, -1)
        masks = small.copy()
        masks[:, :, columns.degree_masks.start : columns.zero_masks.stop] = needed
        assert (told(layout, challenge, update, masks) == opened).all()
        assert (masks[list(coalition)] == small[list(coalition)]).all()
        for time in range(layout.repetitions):
            degree_mask = masks[:, 0, columns.degree_masks.start + time]
            zero_mask = masks[:, 0, columns.zero_masks.start + time]
            assert lies_on(layout, degree_mask, layout.degree)
            assert lies_on(layout, zero_mask, 2 * layout.degree)
            assert any(at_slots(layout, zero_mask, 2 * layout.degree)) == (update is false)


@BOTH
def test_what_is_opened_is_uniform_whatever_the_update(layout: Layout) -> None:
    """χ² of 16 equal parts of the field: 15 on average, above 50 once in a hundred thousand times."""
    columns, draws = Columns(layout, SIZE), 800
    challenge = Challenge.drawn(columns, beacon_of(0))
    masks = np.stack([
        Deal(BINDING, 0, columns, packed_up(layout, votes(1, SIZE)[0]), entropy_of(0, seed)).small
        for seed in range(draws)
    ], axis=1)  # fmt: skip
    random = random_elements(layout.field, layout.coalition, columns.update)
    for update in (np.ones(SIZE, np.int64), votes(1, SIZE)[0]):
        fixed = share(layout.field, packed_up(layout, update), random, layout.members, range(layout.coalition))
        opened = told(layout, challenge, np.repeat(fixed[:, None], draws, axis=1), masks)
        parts = (opened >> (layout.field.bits - 4)).reshape(layout.members, draws, -1)
        counts = np.stack([(parts == part).sum(axis=1) for part in range(16)])
        assert counts.sum(axis=0).min() == draws
        assert float(((counts - draws / 16) ** 2 / (draws / 16)).sum(axis=0).max()) < 50


def test_without_masks_what_is_opened_tells_updates_apart() -> None:
    """The ablation: the same randomness and no masks, and the share that nobody was given shows the update."""
    layout = SMALL_TWO
    columns = Columns(layout, SIZE)
    challenge = Challenge.drawn(columns, beacon_of(0))
    random = random_elements(layout.field, layout.coalition, columns.update)
    empty = layout.field.zeros(layout.members, 1, columns.small)
    one, other = (
        told(layout, challenge, share(layout.field, packed_up(layout, update), random, layout.members, (0, 1))[:, None],
             empty)
        for update in votes(2, SIZE)
    )  # fmt: skip
    assert (one[[0, 1]] == other[[0, 1]]).all()
    assert (one[2:] != other[2:]).all()


# Updates in a ball (their sums and projections: ``test_lengths``)


@pytest.fixture(params=balls.ALL.values(), ids=list(balls.ALL))
def bounded(request: pytest.FixtureRequest) -> Columns:
    """Return the columns of deals with distances, so that there are all kinds."""
    layout: Layout = request.param
    return balls.columns_of(layout, terms=Terms(balls.ball_of(layout), distances=True))


def test_in_a_ball_scalars_are_those_of_the_degree_and_of_lengths_in_order(bounded: Columns) -> None:
    """Of the degree, over the update, the second beacon and the slack, by whole numbers of Python."""
    layout, challenge = bounded.layout, balls.challenge_of(bounded)
    update, small = random_elements(LARGE, 3, bounded.update), random_elements(LARGE, 3, bounded.small, seed=1)
    found = scalars(bounded, challenge, update, small, place=1)
    assert found.shape == (3, bounded.scalars)
    lengths = np.concatenate(scalars_in_ball(bounded, challenge, update, small, 1)).T
    assert found[:, layout.repetitions :].tolist() == lengths.tolist()
    assert challenge.slack is not None
    for dealer in range(3):
        rest = small[dealer].tolist()
        terms = [*update[dealer].tolist(), *rest[bounded.beacons[1]], *rest[bounded.slack], 1]
        for time in range(layout.repetitions):
            rows = (one[time].tolist() for one in (challenge.degree, challenge.beacon, challenge.slack))
            factors = [*(one for row in rows for one in row), rest[bounded.degree_masks][time]]
            assert int(found[dealer, time]) == _dot(factors, terms) % LARGE.modulus


def test_refused_projections_are_zeros_and_nothing_else_is(bounded: Columns) -> None:
    challenge = balls.challenge_of(bounded)
    update, small = random_elements(LARGE, 3, bounded.update), random_elements(LARGE, 3, bounded.small, seed=1)
    whole = scalars(bounded, challenge, update, small, place=2)
    refused = (
        np.random.default_rng(0).random((3, bounded.opened_projections.stop - bounded.opened_projections.start)) < 0.3
    )
    told = scalars(bounded, challenge, update, small, place=2, refused=refused)
    start = bounded.opened_projections.start
    assert (told[:, :start] == whole[:, :start]).all()
    assert (told[:, start:] == np.where(refused, np.uint64(0), whole[:, start:])).all()
    assert (whole[:, start:] != 0).all()


def test_in_a_ball_each_dealer_is_checked_as_if_it_were_alone(bounded: Columns) -> None:
    challenge = balls.challenge_of(bounded)
    update, small = random_elements(LARGE, 5, bounded.update), random_elements(LARGE, 5, bounded.small, seed=1)
    alone = [scalars(bounded, challenge, update[[one]], small[[one]], 3)[0].tolist() for one in range(5)]
    assert scalars(bounded, challenge, update, small, 3).tolist() == alone
    assert scalars(bounded, challenge, update[:0], small[:0], 3).shape == (0, bounded.scalars)


@pytest.mark.parametrize("kind", ["slack", "projection_masks", "sum_masks", "distance_masks", "zero_masks"])
def test_a_share_of_each_kind_off_its_polynomial_is_found_where_it_must_be(bounded: Columns, kind: str) -> None:
    layout, liar = bounded.layout, bounded.layout.members - 1
    update, small, _ = balls.dealt(bounded, balls.packed_up(layout, [5, -7, *[3] * 9]))
    place = getattr(bounded, kind).start
    small[liar, place] = (int(small[liar, place]) + 1) % LARGE.modulus
    told = balls.opened(bounded, balls.challenge_of(bounded), update, small)
    bent = range(bounded.opened_zeros.start, bounded.opened_sums.stop)
    degrees = [layout.product_degree if one in bent else layout.degree for one in range(bounded.scalars)]
    off = {
        one for one, degree in enumerate(degrees)
        if decode(LARGE, range(1, layout.members + 1), told[:, one].tolist(), degree).wrong == (liar,)
    }  # fmt: skip
    times = layout.repetitions
    expected = {
        "slack": set(range(3 * times)), "zero_masks": {times}, "sum_masks": {2 * times},
        "distance_masks": set(range(2 * times, 3 * times)), "projection_masks": {3 * times},
    }  # fmt: skip
    assert off == expected[kind]


# The fingerprint of the sum


def sums(layout: Layout, updates: NDArray[np.int64]) -> list[Elements]:
    """Return each member's share of the sum."""
    update, _ = dealt(layout, updates)
    return [layout.field.elements(row.astype(object).sum(axis=0) % layout.field.modulus) for row in update]


@EACH
def test_fingerprints_of_rows_on_a_polynomial_lie_on_one(layout: Layout) -> None:
    """With the same combinations of the packed sum at the slots."""
    field, prime, updates = layout.field, layout.field.modulus, votes(4, SIZE)
    marks = np.stack([fingerprint(field, beacon_of(0), 3, row) for row in sums(layout, updates)])
    coefficients = Stream(field, beacon_of(0), "fingerprint").draw(3, Columns(layout, SIZE).update).tolist()
    secrets = field.signed(np.stack([packed_up(layout, update) for update in updates])).sum(axis=0)
    for time in range(3):
        assert lies_on(layout, marks[:, time], layout.degree)
        combined = [_dot(coefficients[time], row) % prime for row in secrets.tolist()]
        assert at_slots(layout, marks[:, time], layout.degree) == combined


@BOTH
def test_a_fingerprint_of_a_changed_row_is_found(layout: Layout) -> None:
    field, rows = layout.field, sums(layout, votes(4, SIZE))
    for place in range(rows[0].size):
        changed = [row.copy() for row in rows]
        changed[5][place] = (int(changed[5][place]) + 1) % field.modulus
        marks = np.stack([fingerprint(field, beacon_of(0), 2, row) for row in changed])
        for time in range(2):
            found = decode(field, range(1, layout.members + 1), marks[:, time].tolist(), layout.degree)
            assert found.wrong == (5,)


@settings(max_examples=25, deadline=None)
@given(field=st.sampled_from([SMALL, LARGE]), size=st.integers(1, 40), times=st.integers(1, 4), beacon=BEACON)
def test_a_fingerprint_is_the_sum_that_is_written_down(field: Field, size: int, times: int, beacon: bytes) -> None:
    row = random_elements(field, size)
    coefficients = Stream(field, beacon, "fingerprint").draw(times, size).tolist()
    assert fingerprint(field, beacon, times, row).tolist() == [
        _dot(one, row.tolist()) % field.modulus for one in coefficients
    ]


def _dot(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(left * right for left, right in zip(one, other, strict=True))


@BOTH
def test_another_beacon_gives_another_fingerprint(layout: Layout) -> None:
    row = random_elements(layout.field, 20)
    marks = {tuple(fingerprint(layout.field, beacon_of(seed), 2, row).tolist()) for seed in range(20)}
    assert len(marks) == 20
