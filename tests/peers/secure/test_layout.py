import itertools
import math
import re
from fractions import Fraction
from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from peers.secure.field import LARGE, SMALL, Field
from peers.secure.layout import SECURITY, Layout, chance_of_failure, chance_of_more, committee, packed
from peers.secure.sharing import member_points, slots

FIELDS = pytest.mark.parametrize("field", [SMALL, LARGE], ids=["small", "large"])
EACH = st.sampled_from([SMALL, LARGE])


def sentence(peers: int, members: int | None = None, *, faults: int, coalition: int) -> str:
    """Return with which sentence a layout is refused."""
    lay_out = partial(packed, peers) if members is None else partial(committee, peers, members)
    with pytest.raises(UserError) as refused:
        lay_out(faults=faults, coalition=coalition, field=SMALL)
    return str(refused.value)


def test_a_hundred_peers_of_whom_twenty_cheat_are_as_published() -> None:
    layout = packed(100, faults=20, coalition=20, field=SMALL)
    assert (layout.packing, layout.members, layout.degree, layout.product_degree) == (10, 100, 29, 58)
    assert layout.liars(layout.degree) == 35
    assert layout.liars(layout.product_degree) == 20
    assert layout.failure == 0


@pytest.mark.parametrize(("members", "linear", "products"), [(16, 5, 2), (21, 7, 5)])
def test_small_committees_correct_as_many_as_published(members: int, linear: int, products: int) -> None:
    layout = Layout(100, members, 5, 20, 1, SMALL, 3)
    assert layout.liars(layout.degree) == linear
    assert layout.liars(layout.product_degree) == products


@pytest.mark.parametrize(("members", "published"), [(16, 0.064), (21, 0.083), (31, 0.012)])
def test_small_committees_hold_a_third_of_cheaters_or_more_as_often_as_published(
    members: int, published: float
) -> None:
    """Of 21 members, seven are a third: more than that are drawn with 2.5 %."""
    chance = chance_of_more(-(-members // 3) - 1, peers=100, faults=20, members=members)
    assert float(chance) == pytest.approx(published, abs=0.0005)


@settings(max_examples=40)
@given(st.integers(1, 8), st.data())
def test_the_chance_is_the_share_of_all_draws(peers: int, data: st.DataObject) -> None:
    faults, members = data.draw(st.integers(0, peers)), data.draw(st.integers(0, peers))
    borne = data.draw(st.integers(-2, peers))
    draws = list(itertools.combinations(range(peers), members))
    bad = sum(sum(peer < faults for peer in draw) > borne for draw in draws)
    assert chance_of_more(borne, peers=peers, faults=faults, members=members) == Fraction(bad, len(draws))


@settings(max_examples=200)
@given(st.integers(2, 200), st.integers(0, 60), st.integers(1, 60), EACH)
def test_as_many_secrets_as_the_peers_allow_are_packed(peers: int, faults: int, coalition: int, field: Field) -> None:
    """One more would leave a liar uncorrected in a product; and if one is too many already, it is refused."""
    if coalition < faults or peers < 2 * faults + 2 * coalition + 1:
        sentence(peers, faults=faults, coalition=coalition)
        return
    layout = packed(peers, faults=faults, coalition=coalition, field=field)
    assert (layout.peers, layout.members, layout.coalition, layout.faults) == (peers, peers, coalition, faults)
    assert layout.degree == coalition + layout.packing - 1
    assert layout.packing >= 1
    assert layout.liars(layout.product_degree) >= faults
    assert peers - 2 * (layout.degree + 1) - 1 < 2 * faults
    assert layout.field is field
    assert not set(slots(field, layout.packing)) & set(member_points(peers))


def test_a_layout_with_too_few_peers_is_refused_with_how_many_it_needs() -> None:
    assert sentence(8, faults=2, coalition=2) == (
        "secure.faults = 2 and secure.coalition = 2 need at least 9 peers, not 8; take fewer of either"
    )
    assert packed(9, faults=2, coalition=2, field=SMALL).packing == 1


@pytest.mark.parametrize("members", [None, 1])
def test_numbers_that_make_no_sense_are_refused_in_both_layouts(members: int | None) -> None:
    assert sentence(1, members, faults=0, coalition=1) == "protocol = 'secure' needs at least two peers, not 1"
    assert sentence(9, members, faults=-1, coalition=1) == "secure.faults = -1 must be at least 0"
    assert sentence(9, members, faults=0, coalition=0) == (
        "secure.coalition = 0 must be at least 1: else every single share is the secret"
    )


@pytest.mark.parametrize("members", [-1, 0, 10])
def test_a_committee_of_nobody_or_of_more_than_all_is_refused(members: int) -> None:
    assert sentence(9, members, faults=1, coalition=1) == (
        f"secure.members = {members}: a committee has between 1 and all 9 peers"
    )


def test_cheaters_that_may_pool_less_than_all_of_them_see_are_refused() -> None:
    assert sentence(100, faults=20, coalition=19) == (
        "secure.coalition = 19 is less than secure.faults = 20: who cheats also puts together what it sees; "
        "raise coalition, or lower faults"
    )


@pytest.mark.parametrize(
    ("members", "faults", "borne", "chance"),
    [
        (16, 5, 2, "0.028"),
        (20, 5, 4, "0.00021"),
        pytest.param(16, 20, 2, "0.67"),
        pytest.param(21, 20, 5, "0.21"),
        pytest.param(31, 20, 5, "0.64"),
    ],
)
def test_small_committees_are_refused_with_their_chance(members: int, faults: int, borne: int, chance: str) -> None:
    assert sentence(100, members, faults=faults, coalition=5) == (
        f"secure.members = {members} of 100 peers: more than {borne} of the {faults} that may cheat are drawn with "
        f"probability {chance}, and a round needs that below 9.1e-13; leave secure.members out, so that all peers "
        "hold shares"
    )


@pytest.mark.parametrize(("members", "coalition", "least"), [(5, 5, 11), (10, 5, 11), (1, 1, 3), (2, 1, 3)])
@pytest.mark.parametrize("faults", [0, 1])
def test_a_committee_too_small_for_its_coalition_is_refused_with_how_many_it_needs(
    members: int, coalition: int, least: int, faults: int
) -> None:
    assert sentence(100, members, faults=faults, coalition=coalition) == (
        f"secure.members = {members} is too few for secure.coalition = {coalition}, which needs at least {least} "
        "members; take more, or a smaller coalition"
    )
    assert committee(100, least, faults=0, coalition=coalition, field=SMALL).packing == 1


def test_a_committee_among_very_many_is_taken_with_its_chance() -> None:
    """Its worst mix is 49 liars and two silent ones: more than 35 liars in a draw, or 35 and one that is silent."""
    layout = committee(1000, 200, faults=50, coalition=35, field=SMALL)
    more = sum(math.comb(49, bad) * math.comb(951, 200 - bad) for bad in range(36, 50))
    just = math.comb(49, 35) * (math.comb(951, 165) - math.comb(949, 165))
    exact = Fraction(more + just, math.comb(1000, 200))
    assert layout.failure == float(exact)
    assert chance_of_more(35, peers=1000, faults=50, members=200) < exact < Fraction(1, 2**SECURITY)
    assert layout.liars(layout.product_degree) == layout.borne == 35
    assert (layout.peers, layout.members, layout.faults, layout.packing) == (1000, 200, 50, 30)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.data())
def test_the_chance_of_failure_is_that_of_the_worst_mix_of_liars_and_silent_ones(
    peers: int, data: st.DataObject
) -> None:
    faults, members = data.draw(st.integers(0, peers)), data.draw(st.integers(0, peers))
    borne = data.draw(st.integers(0, faults))
    draws = list(itertools.combinations(range(peers), members))
    worst = 0
    for liars in range(faults + 1):
        for silent in range(min(2 * (faults - liars), peers - liars) + 1):
            told = [2] * liars + [1] * silent + [0] * (peers - liars - silent)
            worst = max(worst, sum(sum(told[peer] for peer in draw) > 2 * borne for draw in draws))
    assert chance_of_failure(borne, peers=peers, faults=faults, members=members) == Fraction(worst, len(draws))


def test_a_committee_that_is_safe_against_liars_alone_is_refused_for_a_mix_with_silent_ones() -> None:
    """More than three of four liars are drawn with 5.3 %; too much of three liars and two silent ones with 8.2 %."""
    assert float(chance_of_more(3, peers=40, faults=4, members=20)) == pytest.approx(0.0530, abs=5e-5)
    with pytest.raises(UserError, match=r"more than 3 of the 4 that may cheat .* probability 0\.082, .* below 0\.062"):
        committee(40, 20, faults=4, coalition=3, field=SMALL, security=4)
    assert committee(40, 20, faults=4, coalition=3, field=SMALL, security=3).failure == pytest.approx(0.0825, abs=5e-5)


@settings(max_examples=200)
@given(st.integers(2, 80), st.integers(1, 80), st.integers(0, 30), st.integers(1, 20))
def test_a_committee_that_is_taken_corrects_and_withstands_whatever_may_be_drawn(
    peers: int, members: int, faults: int, coalition: int
) -> None:
    assume(members <= peers and faults <= peers)
    try:
        layout = committee(peers, members, faults=faults, coalition=coalition, field=SMALL)
    except UserError:
        return
    borne = layout.borne
    assert borne <= min(coalition, faults, layout.liars(layout.product_degree))
    assert layout.slack(layout.product_degree) >= 2 * borne
    assert chance_of_more(borne, peers=peers, faults=faults, members=members) <= Fraction(1, 2**SECURITY)
    assert layout.packing >= 1
    assert layout.failure == float(chance_of_failure(borne, peers=peers, faults=faults, members=members))
    assert layout.failure <= 2.0**-SECURITY


@settings(max_examples=200)
@given(st.integers(1, 60), st.integers(0, 15), st.integers(1, 15), st.integers(0, 30))
def test_a_committee_bears_what_it_was_laid_out_for_and_one_more_secret_would_be_too_many(
    members: int, faults: int, coalition: int, others: int
) -> None:
    """Whatever the chance: the least of what cheats, what may pool, and what the checks correct."""
    peers = members + others
    assume(faults <= peers and members >= 2 * coalition + 1)
    layout = committee(peers, members, faults=faults, coalition=coalition, field=SMALL, security=0)
    assert layout.borne == min(faults, coalition, (members - 2 * coalition - 1) // 2)
    assert members - 2 * (layout.degree + 1) - 1 < 2 * layout.borne <= members - 2 * layout.degree - 1


@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_no_more_members_may_cheat_than_are_corrected_or_may_pool(
    members: int, packing: int, coalition: int, faults: int
) -> None:
    layout = Layout(members, members, coalition, faults, packing, SMALL, 1)
    corrected = [count for count in range(members) if 2 * count <= layout.slack(layout.product_degree)]
    assert layout.borne == min(faults, coalition, max(corrected, default=0))


@pytest.mark.parametrize(("peers", "faults", "coalition"), [(9, 2, 2), (100, 20, 20), (100, 5, 20), (3, 0, 1)])
def test_where_all_are_members_as_many_of_them_may_cheat_as_of_the_peers(
    peers: int, faults: int, coalition: int
) -> None:
    assert packed(peers, faults=faults, coalition=coalition, field=SMALL).borne == faults


@settings(max_examples=100)
@given(st.integers(2, 120), st.integers(1, 30), EACH)
def test_a_committee_of_all_is_the_packed_layout(peers: int, faults: int, field: Field) -> None:
    assume(faults <= peers)  # a test of its own
    if peers < 4 * faults + 1:
        for members in (None, peers):
            sentence(peers, members, faults=faults, coalition=faults)
        return
    everyone = committee(peers, peers, faults=faults, coalition=faults, field=field)
    assert everyone == packed(peers, faults=faults, coalition=faults, field=field)


@pytest.mark.parametrize(("peers", "faults", "coalition"), [(100, 5, 20), (12, 1, 3), (9, 0, 1)])
def test_a_committee_of_all_is_the_packed_layout_where_fewer_cheat_than_pool(
    peers: int, faults: int, coalition: int
) -> None:
    everyone = committee(peers, peers, faults=faults, coalition=coalition, field=SMALL)
    assert everyone == packed(peers, faults=faults, coalition=coalition, field=SMALL)


@pytest.mark.parametrize(("faults", "coalition"), [(11, 1), (11, 2), (20, 1), (1000, 1), (11, 11), (1000, 1000)])
@pytest.mark.parametrize("members", [None, 5, 10])
def test_more_cheaters_than_peers_are_refused(faults: int, coalition: int, members: int | None) -> None:
    sentence(10, members, faults=faults, coalition=coalition)


@FIELDS
def test_checks_are_repeated_so_often_that_no_cheating_goes_unnoticed(field: Field) -> None:
    """4 checks of n dealers, 2^f beacons to choose from, and a false value that passes one with probability 1/p."""
    assert packed(100, faults=20, coalition=20, field=field).repetitions == {31: 3, 61: 2}[field.bits]
    assert packed(9, faults=2, coalition=2, field=field).repetitions == {31: 2, 61: 1}[field.bits]
    assert packed(9, faults=2, coalition=2, field=field, security=80).repetitions == {31: 3, 61: 2}[field.bits]


def missed(layout: Layout, security: int, repetitions: int) -> Fraction:
    """Return the chance that cheating goes unnoticed, in units of what is allowed."""
    return Fraction(4 * layout.peers * 2 ** (layout.faults + security), layout.field.modulus**repetitions)


@settings(max_examples=200)
@given(st.integers(2, 500), st.integers(0, 40), st.sampled_from([20, 40, 41, 64, 80, 128]), EACH)
def test_no_repetition_is_missing_and_none_too_many(peers: int, faults: int, security: int, field: Field) -> None:
    coalition = max(1, faults)
    assume(peers >= 2 * faults + 2 * coalition + 1)
    assume((security + faults + math.log2(4 * peers)) % field.bits)  # a test of its own
    layout = packed(peers, faults=faults, coalition=coalition, field=field, security=security)
    assert missed(layout, security, layout.repetitions) <= 1
    assert missed(layout, security, layout.repetitions - 1) > 1


@pytest.mark.parametrize(("peers", "faults", "field"), [(64, 14, SMALL), (128, 13, SMALL), (128, 12, LARGE)])
def test_no_repetition_is_missing_where_the_bits_are_a_multiple_of_the_field_s(
    peers: int, faults: int, field: Field
) -> None:
    layout = packed(peers, faults=faults, coalition=faults, field=field)
    assert missed(layout, SECURITY, layout.repetitions) <= 1


@given(st.integers(1, 200), st.integers(0, 200))
def test_members_that_lie_twice_and_are_silent_once_fit_the_slack(members: int, degree: int) -> None:
    assume(members > degree)
    layout = Layout(members, members, 1, 0, 1, SMALL, 1)
    liars = layout.liars(degree)
    assert 2 * liars + degree + 1 <= members < 2 * (liars + 1) + degree + 1
    assert layout.slack(degree) == members - degree - 1


@pytest.mark.parametrize(
    ("peers", "faults", "stages"), [(9, 2, 5), (9, 0, 2), (5, 1, 3), (3, 0, 2), (2, 0, 2), (100, 20, 41), (6, 2, 5)]
)
def test_there_is_a_stage_more_than_peers_that_fail(peers: int, faults: int, stages: int) -> None:
    """At least two; and no more than n − 1, for two honest peers need no third between them."""
    assert Layout(peers, peers, 1, faults, 1, SMALL, 1).stages == stages


def test_a_sentence_names_the_field_the_value_and_the_remedy() -> None:
    for said in (sentence(8, faults=2, coalition=2), sentence(100, 16, faults=5, coalition=5)):
        assert re.match(r"secure\.\w+ = \d+", said)
        assert "\n" not in said
