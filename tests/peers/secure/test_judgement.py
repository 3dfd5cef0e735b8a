"""What is wrong with an update, from what was opened of it: each fault alone, and the least that is one."""

import numpy as np
import pytest

from peers.secure.challenge import Challenge
from peers.secure.columns import Columns
from peers.secure.field import SMALL, Elements
from peers.secure.judgement import fault_of
from peers.secure.layout import packed
from peers.secure.terms import Terms
from tests.peers.secure.balls import PRIME, THREE, ball_of, challenge_of, columns_of

BALL = ball_of(THREE)
COLUMNS = columns_of(THREE)
TRUSTED = columns_of(THREE, terms=Terms(BALL, np.ones(11, np.uint64)))
LONGER = "it is longer than the bound"


def of(columns: Columns, score: int = 0, seed: int = 0) -> tuple[Challenge, Elements, Elements]:
    """Return a challenge, and what is opened under it, of degree D and of 2 D, of an update that is allowed."""
    times = columns.layout.repetitions
    challenge = challenge_of(columns, seed)
    assert challenge.sums is not None
    straight = np.zeros((3, times + BALL.projections), np.uint64)
    straight[:, :times] = 7  # of the degree check: anything
    limit = BALL.bound**2 if columns.terms.reference is None else score
    sums = [(row[0] * limit + row[1] * score) % PRIME for row in challenge.sums.tolist()]
    bent = np.zeros((3, 2 * times), np.uint64)
    bent[:, times:] = [[one] * times for one in (5, PRIME - 9, 4)]
    bent[1, times:] = [(int(bent[1, times]) + one) % PRIME for one in sums]
    return challenge, straight, bent


@pytest.mark.parametrize("columns", [COLUMNS, TRUSTED], ids=["bare", "with a reference"])
def test_nothing_is_wrong_where_secrets_of_sums_make_the_bound_and_those_of_zeros_vanish(columns: Columns) -> None:
    assert fault_of(columns, *of(columns), 0) == ""


@pytest.mark.parametrize("score", [0, 1, -1, 10**9, -(10**9)])
def test_the_score_is_part_of_the_sum(score: int) -> None:
    assert fault_of(TRUSTED, *of(TRUSTED, score), score) == ""
    expected = "it is longer than its trust score allows, or the score is not what it says"
    assert fault_of(TRUSTED, *of(TRUSTED, score), score + 1) == expected


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_number_that_is_no_bit_is_told_first(slot: int) -> None:
    challenge, straight, bent = of(COLUMNS)
    straight[slot, -1], bent[slot, -1], bent[slot, 0] = PRIME // 2, 3, 1
    assert fault_of(COLUMNS, challenge, straight, bent, 0) == (
        "what its length falls short of the bound is not dealt in bits"
    )


@pytest.mark.parametrize("slot", [0, 1, 2])
@pytest.mark.parametrize("projection", [0, 1, BALL.projections - 1])
def test_a_projection_may_be_as_large_as_masks_less_honest_projections_and_no_larger(
    slot: int, projection: int
) -> None:
    most = BALL.mask - 6 * BALL.bound
    for number, fault in ((most, ""), (-most, ""), (most + 1, "a"), (-most - 1, "a"), (PRIME // 2, "a")):
        challenge, straight, bent = of(COLUMNS)
        straight[slot, COLUMNS.layout.repetitions + projection] = number % PRIME
        told = fault_of(COLUMNS, challenge, straight, bent, 0)
        assert told == ("a projection of it is too large" if fault else "")


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_any_other_sum_is_longer(slot: int) -> None:
    for off in (1, -1, PRIME // 2):
        challenge, straight, bent = of(COLUMNS)
        bent[slot, -1] = (int(bent[slot, -1]) + off) % PRIME
        assert fault_of(COLUMNS, challenge, straight, bent, 0) == LONGER


def test_what_is_opened_under_one_challenge_does_not_pass_under_another() -> None:
    _, straight, bent = of(COLUMNS)
    assert fault_of(COLUMNS, challenge_of(COLUMNS, 1), straight, bent, 0) == LONGER


@pytest.mark.parametrize("slot", [0, 1])
def test_of_signs_all_that_is_of_degree_2d_must_vanish(slot: int) -> None:
    layout = packed(9, faults=1, coalition=2, field=SMALL)
    columns = Columns(layout, 11)
    straight, bent = SMALL.zeros(2, layout.repetitions) + np.uint32(3), SMALL.zeros(2, layout.repetitions)
    assert fault_of(columns, challenge_of(columns), straight, bent, 0) == ""
    bent[slot, -1] = 1
    assert fault_of(columns, challenge_of(columns), straight, bent, 0) == "a number of it is neither 1 nor -1"
