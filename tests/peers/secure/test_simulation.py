"""A simulated round carries everything to whom it was meant for, and the sum is exact whoever holds the shares."""

from collections.abc import Generator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from peers.secure.broadcast import Incoming, Outgoing
from peers.secure.cheats import Silent
from peers.secure.columns import Columns
from peers.secure.field import LARGE, SMALL, Field
from peers.secure.layout import Layout, packed
from peers.secure.party import Outcome, Player, Steps, play
from peers.secure.simulation import simulate
from tests.peers.secure.rounds import NINE, a_round, agreed, context_of, entropy_of, keys_of, votes

Heard = list[dict[int, bytes]]


def teller(me: int, receivers: Sequence[int], exchanges: int) -> Generator[Outgoing, Incoming, Heard]:
    """Tell everybody the time, and return what was heard in each exchange."""
    heard: Heard = []
    for exchange in range(exchanges):
        incoming = yield {other: b"%d to %d at %d" % (me, other, exchange) for other in receivers}
        heard.append(dict(incoming))
    return heard


def tellers(exchanges: Mapping[int, int], strangers: Sequence[int] = ()) -> dict[int, Steps]:
    """Return a teller for each peer, which takes part in so many exchanges."""
    return {
        me: teller(me, [*(peer for peer in exchanges if peer != me), *strangers], count)  # type: ignore[misc]
        for me, count in exchanges.items()
    }


def parties(
    layout: Layout, updates: NDArray[np.int64], members: Sequence[int], cheats: Mapping[int, type[Player]] | None = None
) -> dict[int, Steps]:
    """Return everyone's part in a round in which ``members`` hold the shares."""
    columns, context, keys = Columns(layout, updates.shape[1]), context_of(layout.peers), keys_of(layout.peers)
    return {
        peer: play(
            peer, keys[peer], context, columns, tuple(members), layout.field.elements(updates[peer]), entropy_of(peer),
            (cheats or {}).get(peer),
        )
        for peer in range(layout.peers)
    }  # fmt: skip


def exact(outcome: Outcome, field: Field, told: NDArray[np.int64], accepted: Sequence[int]) -> bool:
    """Tell whether the sum is that of the accepted updates, as Python's integers have it."""
    assert outcome.sum is not None, outcome.aborted
    assert outcome.ruling.dealers == list(accepted), outcome.ruling.culprits
    expected = [sum(int(told[peer, place]) for peer in accepted) for place in range(told.shape[1])]
    return [int(one) for one in field.signed(outcome.sum)] == expected


def test_everybody_gets_what_was_sent_to_it_in_each_exchange() -> None:
    heard = simulate(tellers({0: 3, 4: 3, 7: 3}))
    for me in (0, 4, 7):
        assert heard[me] == [  # type: ignore[comparison-overlap]
            {other: b"%d to %d at %d" % (other, me, exchange) for other in (0, 4, 7) if other != me}
            for exchange in range(3)
        ]


def test_who_has_ended_gets_nothing_more_and_says_nothing_more() -> None:
    heard = simulate(tellers({0: 1, 1: 3}))
    assert [set(one) for one in heard[1]] == [{0}, set(), set()]  # type: ignore[attr-defined]
    assert len(heard[0]) == 1  # type: ignore[arg-type]


def test_what_goes_to_no_peer_is_lost() -> None:
    assert simulate(tellers({0: 2, 1: 2}, strangers=[9])) == simulate(tellers({0: 2, 1: 2}))


def test_nobody_has_no_outcomes() -> None:
    assert simulate({}) == {}


def test_what_a_meddler_makes_of_a_message_is_what_comes() -> None:
    asked = []

    def meddle(exchange: int, sender: int, outgoing: Outgoing) -> Outgoing:
        asked.append((exchange, sender))
        return {2: b"else"} if (exchange, sender) == (1, 0) else outgoing

    heard = simulate(tellers({0: 2, 1: 2, 2: 2}), meddle)
    assert asked == [(exchange, sender) for exchange in range(2) for sender in range(3)]
    assert heard[2][1] == {0: b"else", 1: b"1 to 2 at 1"}  # type: ignore[index]
    assert heard[1] == [{0: b"0 to 1 at 0", 2: b"2 to 1 at 0"}, {2: b"2 to 1 at 1"}]  # type: ignore[comparison-overlap]


def test_a_meddler_that_changes_nothing_changes_nothing() -> None:
    told = votes(9, 5)
    left = simulate(parties(NINE, told, range(9)))
    right = simulate(parties(NINE, told, range(9)), lambda exchange, sender, outgoing: outgoing)
    assert all(left[peer].boards == right[peer].boards for peer in range(9))


def test_who_is_first_in_the_simulation_makes_no_difference() -> None:
    told = votes(9, 5)
    steps = parties(NINE, told, range(9))
    forwards = agreed(a_round(updates=told))
    backwards = agreed(simulate(dict(reversed(steps.items()))))
    assert forwards.boards == backwards.boards
    assert np.array_equal(forwards.sum, backwards.sum)  # type: ignore[arg-type]


@pytest.mark.parametrize(("peers", "away"), [(3, ()), (5, (0, 3))])
def test_a_round_needs_no_more_members_than_determine_a_polynomial(peers: int, away: tuple[int, ...]) -> None:
    layout = packed(peers, faults=len(away) // 2, coalition=1, field=SMALL)
    assert peers - len(away) == layout.product_degree + 1
    cheats = dict.fromkeys(away, Silent)
    told = votes(peers, 5)
    outcome = agreed(simulate(parties(layout, told, range(peers), cheats)), cheats)
    assert exact(outcome, SMALL, told, [peer for peer in range(peers) if peer not in away])


@settings(max_examples=10)
@given(st.data())
def test_the_sum_is_exact_whoever_holds_the_shares(data: st.DataObject) -> None:
    """Any sizes, either field, some peers that hold no shares, members in any order, some of the peers away."""
    faults = data.draw(st.integers(0, 2))
    coalition = data.draw(st.integers(max(1, faults), 2))
    members = data.draw(st.integers(2 * faults + 2 * coalition + 1, 10))
    field = data.draw(st.sampled_from([SMALL, LARGE]))
    small = packed(members, faults=faults, coalition=coalition, field=field)
    peers = members + data.draw(st.integers(0, 2))
    layout = Layout(peers, members, coalition, faults, small.packing, field, small.repetitions)
    order = data.draw(st.permutations(range(peers)))[:members]
    away = data.draw(st.lists(st.integers(0, peers - 1), max_size=2 * faults, unique=True))
    told = votes(peers, data.draw(st.integers(1, 25)))
    cheats = dict.fromkeys(away, Silent)
    outcome = agreed(simulate(parties(layout, told, order, cheats)), cheats)
    assert exact(outcome, field, told, [peer for peer in range(peers) if peer not in away])
    assert not outcome.ruling.culprits
    assert set(outcome.ruling.silent) == set(away)


@pytest.mark.parametrize("away", [(0,), (8,), (3, 4)])
def test_who_is_away_changes_only_the_sum(away: tuple[int, ...]) -> None:
    """What stays away is what a meddler takes out, as well."""
    told = votes(9, 5)
    steps = parties(NINE, told, range(9))
    outcomes = simulate(steps, lambda exchange, sender, outgoing: {} if sender in away else outgoing)
    outcome = agreed(outcomes, dict.fromkeys(away, Silent))
    assert exact(outcome, SMALL, told, [peer for peer in range(9) if peer not in away])
