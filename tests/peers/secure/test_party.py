import numpy as np
import pytest

from peers.secure.ball import ball, bound_for
from peers.secure.cheats import (
    Crooked,
    FalseComplainer,
    Halves,
    Liar,
    Silent,
    SilentAfterDealing,
    Spoiler,
    TwoTongues,
    Withholder,
)
from peers.secure.field import LARGE, SMALL
from peers.secure.layout import packed
from peers.secure.party import Outcome, Player
from peers.secure.terms import SIGNS, Terms
from tests.peers.secure.rounds import NINE, a_round, agreed, votes


class SumLiar(Liar):
    phases = ("sums",)


class RowLiar(Liar):
    phases = ("rows",)


class FingerprintLiar(Liar):
    phases = ("fingerprints",)


class BeaconLiar(Liar):
    phases = ("beacon 1", "beacon 2")


class ResultLiar(Liar):
    phases = ("results",)


class KeyTongues(TwoTongues):
    phase = "keys"


class CommitmentTongues(TwoTongues):
    phase = "commitments"


class RowHalves(Halves):
    phase = "fingerprints"


def right(outcome: Outcome, accepted: list[int]) -> bool:
    """Tell whether the sum is exactly that of the accepted peers' updates."""
    assert outcome.ruling.dealers == accepted, outcome.ruling.culprits
    assert outcome.sum is not None, outcome.aborted
    return bool((SMALL.signed(outcome.sum) == votes(9)[accepted].sum(axis=0)).all())


def test_the_sum_is_exact() -> None:
    outcome = agreed(a_round())
    assert right(outcome, list(range(9)))
    assert not outcome.ruling.culprits
    assert not outcome.ruling.silent


@pytest.mark.parametrize(
    ("peers", "faults", "coalition"), [(3, 0, 1), (4, 0, 1), (8, 1, 1), (5, 1, 1), (12, 1, 3), (20, 2, 2)]
)
def test_the_sum_is_exact_in_every_layout(peers: int, faults: int, coalition: int) -> None:
    layout = packed(peers, faults=faults, coalition=coalition, field=SMALL)
    told = votes(peers, 33)
    outcome = agreed(a_round(layout, updates=told))
    assert outcome.sum is not None
    assert (SMALL.signed(outcome.sum) == told.sum(axis=0)).all()


OUT = [peer for peer in range(9) if peer != 4]


@pytest.mark.parametrize(
    ("cheat", "accepted", "said"),
    [
        (Crooked, OUT, "dealt member 5 a share that is on no polynomial of the others"),
        (Withholder, OUT, "showed no part for member 5 that it had committed to"),
        (Liar, OUT, "opened another number of peer"),
        (TwoTongues, OUT, "said different things to different peers"),
        (KeyTongues, OUT, "said different things to different peers"),
        (CommitmentTongues, OUT, "said different things to different peers"),
        (SumLiar, list(range(9)), "showed another share of the sum than it had committed to"),
        (RowLiar, list(range(9)), "showed another share of the sum than it had committed to"),
        (FingerprintLiar, list(range(9)), "gave a wrong share of the sum"),
        (ResultLiar, list(range(9)), "signed another result than follows from what was said"),
    ],
)
def test_a_cheater_is_named_and_changes_nothing(cheat: type[Player], accepted: list[int], said: str) -> None:
    cheats = {0 if issubclass(cheat, SumLiar | RowLiar) else 4: cheat}
    (cheater,) = cheats
    outcome = agreed(a_round(cheats=cheats), cheats)
    assert right(outcome, accepted)
    assert [culprit.peer for culprit in outcome.ruling.culprits] == [cheater]
    assert said in outcome.ruling.culprits[0].reason


@pytest.mark.parametrize("cheat", [Spoiler, FalseComplainer, Halves, RowHalves, BeaconLiar])
def test_what_can_be_mended_is_mended(cheat: type[Player]) -> None:
    """A part that is shown after all, a complaint without cause, what was said to some only, a wrong share of many."""
    outcome = agreed(a_round(cheats={4: cheat}), {4: cheat})
    assert right(outcome, list(range(9)))


def test_the_silent_are_done_without() -> None:
    outcome = agreed(a_round(cheats={4: Silent, 7: SilentAfterDealing}), {4: Silent, 7: SilentAfterDealing})
    assert right(outcome, OUT)  # who was silent after dealing is in the sum
    assert set(outcome.ruling.silent) == {4, 7}
    assert not outcome.ruling.culprits


@pytest.mark.parametrize("value", [0, 2, -3, 1000, SMALL.modulus // 2])
def test_an_update_that_is_not_allowed_is_refused(value: int) -> None:
    told = votes(9)
    told[4, 17] = value
    outcome = agreed(a_round(updates=told))
    assert right(outcome, OUT)
    assert "is neither 1 nor -1" in outcome.ruling.culprits[0].reason


def test_more_cheaters_than_agreed_end_the_round_or_change_nothing() -> None:
    cheats = dict.fromkeys((1, 3, 4, 6), FingerprintLiar)
    outcome = agreed(a_round(cheats=cheats), cheats)
    assert outcome.sum is None
    assert "more members lied" in outcome.aborted


def test_one_seed_gives_one_transcript() -> None:
    def said() -> list[tuple[str, dict[int, bytes]]]:
        outcome = agreed(a_round(seed=3))
        return [(phase, {peer: one.encode() for peer, one in board.said.items()}) for phase, board in outcome.boards]

    assert said() == said()


def test_what_is_said_differs_from_round_to_round() -> None:
    assert np.array_equal(agreed(a_round(seed=1)).sum, agreed(a_round(seed=2)).sum)  # type: ignore[arg-type]
    assert agreed(a_round(seed=1)).ruling.head != agreed(a_round(seed=2)).ruling.head
    assert NINE.packing == 1


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [False, True], ids=["votes", "lengths"])
def test_no_honest_peer_is_refused_in_ten_thousand_deals(lengths: bool) -> None:
    """Two thousand rounds of five peers; each round has other randomness, and so other challenges."""
    layout = packed(5, faults=1, coalition=1, field=LARGE if lengths else SMALL)
    terms = Terms(ball(layout, 6, bound_for(6))) if lengths else SIGNS
    for seed in range(2000):
        told = votes(5, 6, seed) * (seed % 100 if lengths else 1)
        outcome = a_round(layout, updates=told, seed=seed, terms=terms)[seed % 5]
        assert outcome.sum is not None
        assert outcome.ruling.dealers == [0, 1, 2, 3, 4]
        assert not outcome.ruling.culprits
