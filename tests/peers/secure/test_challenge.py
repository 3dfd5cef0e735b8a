"""The coefficients of the checks: enough of each kind, no two alike, and the same for whoever knows the beacon."""

import hashlib
import math

import numpy as np
import pytest

from peers.secure import columns as sizes
from peers.secure.challenge import Challenge
from peers.secure.columns import Columns
from peers.secure.field import LARGE, SMALL, Elements
from peers.secure.layout import Layout, packed
from peers.secure.stream import Stream
from peers.secure.terms import Terms
from tests.peers.secure.balls import ALL, SIZE, ball_of, challenge_of, columns_of

EACH = pytest.mark.parametrize("layout", ALL.values(), ids=list(ALL))
NINE = packed(9, faults=2, coalition=2, field=SMALL)


def kinds(challenge: Challenge) -> list[Elements]:
    found = [challenge.degree, challenge.beacon, challenge.squares]
    return [*found, *(one for one in (challenge.slack, challenge.sums) if one is not None)]


def ternary(columns: Columns, challenge: Challenge) -> list[list[int]]:
    """Return all coefficients of projections."""
    told = [factors for _, factors in challenge.ternary(columns)]
    whole: list[list[int]] = np.concatenate(told, axis=1).tolist()
    return whole


@EACH
@pytest.mark.parametrize("distances", [False, True])
def test_each_check_has_a_coefficient_for_each_of_its_columns(layout: Layout, distances: bool) -> None:
    terms = Terms(ball_of(layout), distances=distances)
    columns, times = columns_of(layout, terms=terms), layout.repetitions
    update, slack = math.ceil(SIZE / layout.packing), math.ceil(17 / layout.packing)
    masks = layout.peers if distances else 0
    shapes = [(times, update), (times, columns.beacon), (times, slack), (times, slack), (times, 2 + masks)]
    assert [one.shape for one in kinds(challenge_of(columns))] == shapes


def test_signs_have_squares_of_the_update_and_nothing_of_a_ball() -> None:
    columns = Columns(NINE, SIZE)
    challenge = challenge_of(columns)
    assert [one.shape for one in kinds(challenge)] == [(2, SIZE), (2, columns.beacon), (2, SIZE)]
    assert (challenge.slack, challenge.sums, challenge.projections) == (None, None, b"")


@EACH
def test_a_challenge_follows_from_its_beacon_and_no_two_of_its_rows_are_alike(layout: Layout) -> None:
    columns = columns_of(layout, terms=Terms(ball_of(layout), distances=True))
    drawn = [challenge_of(columns, seed) for seed in (0, 0, 1)]
    rows = [[tuple(row) for one in kinds(challenge) for row in one.tolist()] for challenge in drawn]
    assert rows[0] == rows[1]
    starts = [row[:2] for row in (*rows[0], *rows[2])]
    assert len(set(starts)) == len(starts)
    projections = [ternary(columns, challenge) for challenge in drawn]
    assert projections[0] == projections[1]
    assert projections[0] != projections[2]


@pytest.mark.parametrize("size", [1, 5, 100])
def test_projections_have_a_coefficient_for_each_column_of_the_update(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = ALL["two secrets"]
    columns = columns_of(layout, size)
    ball = columns.terms.ball
    assert ball is not None
    monkeypatch.setattr(sizes, "BLOCK", 7)
    told = list(challenge_of(columns).ternary(columns))
    assert [here for here, _ in told] == columns.blocks()
    assert all(factors.shape == (ball.projections, here.stop - here.start) for here, factors in told)
    assert [place for here, _ in told for place in range(here.start, here.stop)] == list(range(columns.update))


def test_coefficients_of_projections_differ_from_block_to_block_and_from_row_to_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizes, "BLOCK", 40)
    columns = columns_of(ALL["two secrets"], 400)
    whole = ternary(columns, challenge_of(columns))
    told = [tuple(row[start : start + 40]) for row in whole for start in range(0, columns.update, 40)]
    assert len(set(told)) == len(told)
    parts = np.unique(np.array(whole), return_counts=True)
    assert parts[0].tolist() == [-1, 0, 1]
    shares = parts[1] / (len(whole) * columns.update)
    assert np.abs(shares - [0.25, 0.5, 0.25]).max() < 5 * math.sqrt(0.25 / (len(whole) * columns.update))


def test_each_kind_of_coefficients_is_drawn_from_a_stream_of_its_own() -> None:
    columns = columns_of(ALL["one secret"], 64)
    ball, beacon = columns.terms.ball, hashlib.sha256(b"beacon 0").digest()
    assert ball is not None
    drawn = [Stream(LARGE, beacon, name).draw(*one.shape).tolist() for name, one in zip(
        ("degree", "beacon", "squares", "slack", "sums"), kinds(challenge_of(columns)), strict=True
    )]  # fmt: skip
    assert drawn == [one.tolist() for one in kinds(challenge_of(columns))]
    expected = Stream(LARGE, beacon, "projections").ternary(ball.projections, 64).tolist()
    assert ternary(columns, challenge_of(columns)) == expected
