"""The order: everybody first, then N local updates a round, drawn by seed; planned updates are what each peer makes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.order import planned, rounds_of, step_of, turns_of, waves
from tests.peers.toy_fixture import toy

SHAPES = {
    "peers": st.integers(2, 9),
    "rounds": st.integers(1, 6),
    "initiators": st.integers(1, 9),
    "order": st.sampled_from(["random", "shuffled"]),
    "seed": st.integers(0, 10**6),
}


@settings(max_examples=60, deadline=None)
@given(**SHAPES)
def test_every_round_has_as_many_updates_as_there_are_peers(peers, rounds, initiators, order, seed) -> None:
    together = min(initiators, peers)
    experiment = toy(peers, rounds, seed=seed, peers__order=order, peers__initiators=together)
    found = waves(experiment)
    assert found[0] == tuple(range(peers))
    assert all(len(set(wave)) == len(wave) <= max(together, len(found[0])) for wave in found)
    assert all(len(wave) <= together for wave in found[1:])
    parts = rounds_of(experiment)
    assert len(parts) == rounds
    assert [place for part in parts for place in part] == list(range(len(found)))
    for part in parts:
        members = [member for place in part for member in found[place]]
        assert len(members) == peers
        if order == "shuffled":
            assert sorted(members) == list(range(peers))


@settings(max_examples=30, deadline=None)
@given(**SHAPES)
def test_planned_updates_turns_and_steps_agree(peers, rounds, initiators, order, seed) -> None:
    experiment = toy(peers, rounds, seed=seed, peers__order=order, peers__initiators=min(initiators, peers))
    assert sum(planned(experiment)) == peers * rounds
    turns = [turns_of(experiment, number) for number in range(peers)]
    assert [len(one) for one in turns] == planned(experiment)
    assert all(one[0] == 0 for one in turns)
    steps = [step_of(experiment, wave, number) for number, one in enumerate(turns) for wave in one]
    assert sorted(steps) == list(range(peers * rounds))


def test_the_order_follows_the_seed_alone() -> None:
    assert waves(toy(6, 5)) == waves(toy(6, 5, peers__merge="median"))
    assert waves(toy(6, 5)) != waves(toy(6, 5, seed=2))


def test_each_peer_begins_about_as_often_as_any_other() -> None:
    counts = planned(toy(4, 1001))
    assert sum(counts) == 4004
    assert all(abs(count - 1001) < 5 * (4000 * 0.25 * 0.75) ** 0.5 for count in counts)  # five standard deviations


def test_with_timers_nobody_knows_the_order_and_each_peer_makes_all_its_rounds() -> None:
    experiment = toy(3, 4, peers__order="timers")
    assert waves(experiment) == rounds_of(experiment) == ()
    assert planned(experiment) == [4, 4, 4]


def test_a_wave_without_the_peer_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in"):
        step_of(toy(2, 2), 1, 1 - waves(toy(2, 2))[1][0])
