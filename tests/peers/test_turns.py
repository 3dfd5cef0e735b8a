"""When it is whose turn: others are made up, time is made up, and nobody waits longer than the timeout."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.neighbours import Unreachable
from peers.order import planned, waves
from peers.peer import Peer
from peers.turns import LONGEST, SHORTEST, Turns, taken_before
from peers.wire import Status, encode_status
from tests.peers.toy_fixture import RUN, gathered, played, toy


class Others:
    """Peers that have taken as many turns as a test says, or do not answer."""

    def __init__(self, turns: Mapping[str, int | None]) -> None:
        self.turns = dict(turns)
        self.now = 0.0
        self.asked = 0
        self.events: list[tuple[float, str, int | None]] = []
        self.said: list[str] = []

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        self.asked += len(questions)
        while self.events and self.events[0][0] <= self.now:
            _, name, turns = self.events.pop(0)
            self.turns[name] = turns
        return {name: self._status(self.turns[name]) for name in questions}

    def _status(self, turns: int | None) -> bytes | Unreachable:
        return Unreachable("gone") if turns is None else encode_status(Status(turns, 10, turns, False), RUN)

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        return False

    def turns_of(self, peer: Peer) -> Turns:
        return Turns(peer, self, self.said.append, self.sleep, lambda: self.now)


def second_turn(tmp_path: Path, **changes: Any) -> Peer:
    """A peer that has taken its first turn, and whose second comes in the second wave or later."""
    experiment = toy(3, 4, **{"peers__order": "shuffled", "peers__turn_timeout": 100.0, **changes})
    peer = gathered(experiment, tmp_path)[0]
    peer.update(Others({}), 0)
    return peer


def test_the_first_turn_waits_for_nobody(tmp_path: Path) -> None:
    others = Others({"peer 1": None, "peer 2": None})
    assert others.turns_of(gathered(toy(3), tmp_path)[0]).wait()
    assert others.now == others.asked == 0


def test_a_turn_begins_as_soon_as_all_before_it_are_over(tmp_path: Path) -> None:
    peer = second_turn(tmp_path)
    wave = peer.next_wave()
    assert wave is not None
    needed = taken_before(peer.experiment, wave)
    others = Others({"peer 1": 0, "peer 2": needed["peer 2"]})
    others.events = [(float(turn), "peer 1", turn) for turn in range(1, needed["peer 1"] + 1)]
    assert others.turns_of(peer).wait()
    assert needed["peer 1"] <= others.now <= needed["peer 1"] + LONGEST
    assert others.said == []


def test_one_that_does_not_answer_is_waited_for_once_and_again_when_it_is_back(tmp_path: Path) -> None:
    peer = second_turn(tmp_path)
    others = Others({"peer 1": None, "peer 2": 4})
    turns = others.turns_of(peer)
    assert turns.wait()
    assert 100 <= others.now <= 100 + LONGEST
    assert others.said == ["peer 1 has not answered for 100 s; it is waited for no longer"]
    before = others.now
    assert turns.wait()
    assert others.now == before
    others.turns["peer 1"] = 0
    assert turns.wait()  # now it answers, and is waited for
    assert others.said[1:] == [
        "peer 1 is back, with 0 turns; it is waited for again",
        "peer 1 has taken no turn after its turn 0 for 100 s; it is waited for no longer",
    ]
    assert before + 100 <= others.now <= before + 100 + LONGEST
    others.turns["peer 1"] = 4
    assert turns.wait()
    assert others.said[3:] == ["peer 1 is back, with 4 turns; it is waited for again"]


def test_one_that_is_slow_but_gets_on_is_waited_for(tmp_path: Path) -> None:
    peer = second_turn(tmp_path, peers__order="random", seed=5)
    wave = peer.next_wave()
    assert wave is not None
    others = Others(dict.fromkeys(peer.others, 0))
    others.events = [(90.0 * turn, name, turn) for turn in range(1, 5) for name in peer.others]
    assert others.turns_of(peer).wait()
    assert others.said == []


def test_one_that_is_away_for_a_moment_is_waited_for_and_one_that_has_ended_is_not(tmp_path: Path) -> None:
    peer = second_turn(tmp_path)
    plan = dict(zip(("peer 0", "peer 1", "peer 2"), planned(peer.experiment), strict=True))
    others = Others({"peer 1": None, "peer 2": plan["peer 2"]})
    others.events = [(50.0, "peer 1", plan["peer 1"])]
    turns = others.turns_of(peer)
    assert turns.wait()
    assert 50 <= others.now <= 50 + LONGEST
    others.turns = {"peer 1": None, "peer 2": None}
    assert turns.wait()
    assert turns.wait_for_the_end()
    assert others.said == []


def test_who_says_more_turns_than_there_are_is_not_believed(tmp_path: Path) -> None:
    peer = second_turn(tmp_path)
    others = Others({"peer 1": 10**9, "peer 2": 10**9})
    turns = others.turns_of(peer)
    assert turns.wait_for_the_end()
    assert vars(turns)["_taken"] == {"peer 1": 4, "peer 2": 4}


def test_waiting_ends_when_it_is_told_to(tmp_path: Path) -> None:
    peer = second_turn(tmp_path)
    others = Others({"peer 1": None, "peer 2": None})
    assert not Turns(peer, others, others.said.append, lambda seconds: True, lambda: 0.0).wait()


def test_timers_are_seeded_and_have_the_mean_that_is_asked_for(tmp_path: Path) -> None:
    waits = []
    for number in range(60):
        experiment = toy(2, 3, peers__order="timers", peers__timer_seconds=30.0, seed=number)
        peer = gathered(experiment, tmp_path / str(number))[0]
        peer.update(Others({}), None)
        others, again = Others({"peer 1": 0}), Others({"peer 1": 0})
        assert others.turns_of(peer).wait()
        assert again.turns_of(peer).wait()
        assert others.now == again.now
        waits.append(others.now)
    assert 18 < sum(waits) / len(waits) < 42  # 60 exponentials: the mean is within 3 standard errors of 30


@given(
    st.integers(2, 6), st.integers(1, 5), st.integers(1, 3), st.sampled_from(["random", "shuffled"]), st.integers(0, 99)
)
def test_turns_before_a_wave_add_up(peers: int, rounds: int, initiators: int, order: str, seed: int) -> None:
    experiment = toy(peers, rounds, peers__order=order, peers__initiators=min(initiators, peers), seed=seed)
    for wave, members in enumerate(waves(experiment)):
        before = taken_before(experiment, wave)
        assert sum(before.values()) == sum(len(one) for one in waves(experiment)[:wave])
        if wave:
            assert all(count >= 1 for count in before.values())
        after = taken_before(experiment, wave + 1)
        assert [f"peer {member}" for member in sorted(members)] == sorted(n for n in before if after[n] > before[n])
    assert list(taken_before(experiment, len(waves(experiment))).values()) == planned(experiment)


@pytest.mark.parametrize("order", ["random", "shuffled"])
def test_at_the_end_of_a_simulation_nobody_waits(tmp_path: Path, order: str) -> None:
    experiment = toy(3, 3, peers__order=order)
    peers = played(experiment, tmp_path)
    others = Others({peer.name: peer.state.turns for peer in peers})
    assert others.turns_of(peers[0]).wait_for_the_end()
    assert others.now == 0


class Alternating(Others):
    """Two peers that have taken all turns that are wanted: away both, then one, then none, and then both again."""

    away = 0

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        answers = super().ask_all(questions, limit=limit, timeout=timeout)
        self.away = 2 if self.away == 0 else self.away - 1
        gone = ("peer 2", "peer 1")[: self.away]
        return {name: Unreachable("gone") if name in gone else answer for name, answer in answers.items()}

    def sleep(self, seconds: float) -> bool:
        super().sleep(seconds)
        return self.now > 1000


def test_two_that_are_away_in_turns_are_waited_for_no_longer_than_one(tmp_path: Path) -> None:
    peer = second_turn(tmp_path)
    wave = peer.next_wave()
    assert wave is not None
    needed = taken_before(peer.experiment, wave)
    others = Alternating({name: needed[name] for name in ("peer 1", "peer 2")})
    assert others.turns_of(peer).wait()
    assert others.now <= 100 + 2 * LONGEST


def test_one_that_waits_for_an_absent_one_itself_is_not_given_up_with_it(tmp_path: Path) -> None:
    """Else two that are there would lose each other whenever a third does not come."""
    peer = second_turn(tmp_path)
    wave = peer.next_wave()
    assert wave is not None
    needed = taken_before(peer.experiment, wave)["peer 1"]
    others = Others({"peer 1": needed - 1, "peer 2": None})
    others.events = [(150.0, "peer 1", needed)]  # its own wait has ended at 100, and then it has trained
    assert others.turns_of(peer).wait()
    assert others.said == ["peer 2 has not answered for 100 s; it is waited for no longer"]
    assert 150 <= others.now <= 150 + LONGEST


def test_one_that_answers_and_never_gets_on_has_its_time_anew_once_for_each_that_is_silent(tmp_path: Path) -> None:
    peer = second_turn(tmp_path)
    others = Others({"peer 1": 0, "peer 2": None})
    assert others.turns_of(peer).wait()
    assert others.said == [
        "peer 2 has not answered for 100 s; it is waited for no longer",
        "peer 1 has taken no turn after its turn 0 for 100 s; it is waited for no longer",
    ]
    assert 200 <= others.now <= 200 + 2 * LONGEST


class Scripted(Others):
    """Peers each of which does not answer between certain moments."""

    silent: Mapping[str, Sequence[tuple[float, float]]] = {}

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        answers = super().ask_all(questions, limit=limit, timeout=timeout)
        for name in answers:
            if any(begin <= self.now < end for begin, end in self.silent.get(name, ())):
                answers[name] = Unreachable("gone")
        return answers


@pytest.mark.parametrize(("turn_at", "end"), [(None, 300.0), (260.0, 460.0)])
def test_a_peer_that_is_silent_twice_gives_others_their_time_anew_twice_only_with_a_turn_in_between(
    tmp_path: Path, turn_at: float | None, end: float
) -> None:
    """Peers 1 and 2 are given up at 100, and back at 200, when peer 3 is; then peer 2 is silent again."""
    experiment = toy(4, 4, peers__order="shuffled", peers__turn_timeout=100.0)
    peer = gathered(experiment, tmp_path)[0]
    others = Scripted(dict.fromkeys(peer.others, 0))
    others.silent = {"peer 1": [(0, 150)], "peer 2": [(0, 150), (250, float("inf"))]}
    others.events = [] if turn_at is None else [(turn_at, "peer 1", 1)]
    assert others.turns_of(peer).wait_for_the_end()
    words = [line.removesuffix(" for 100 s; it is waited for no longer") for line in others.said]
    assert words[:3] == [
        "peer 1 has not answered", "peer 2 has not answered", "peer 3 has taken no turn after its turn 0"
    ]  # fmt: skip
    assert sorted(words[5:]) == [
        f"peer 1 has taken no turn after its turn {0 if turn_at is None else 1}",
        "peer 2 has not answered",
    ]
    assert end <= others.now <= end + 4 * LONGEST


def test_who_answers_the_first_question_of_each_wait_and_no_other_costs_two_timeouts_and_not_one_a_turn(
    tmp_path: Path,
) -> None:
    peer = second_turn(tmp_path)
    others = Scripted({"peer 1": 0, "peer 2": 4})
    turns = others.turns_of(peer)
    for _ in range(8):
        others.silent = {"peer 1": [(others.now + SHORTEST / 2, float("inf"))]}
        assert turns.wait()
    assert 200 <= others.now <= 200 + 2 * LONGEST
    gone = "peer 1 has not answered for 100 s; it is waited for no longer"
    assert others.said == [gone, "peer 1 is back, with 0 turns; it is waited for again", gone]
    others.silent, others.turns["peer 1"] = {}, 4
    assert turns.wait()
    assert others.said[3:] == ["peer 1 is back, with 4 turns; it is waited for again"]


def test_one_that_is_back_in_the_same_wait_has_its_time_anew(tmp_path: Path) -> None:
    """It is not given up in the moment in which it is back."""
    peer = second_turn(tmp_path)
    wave = peer.next_wave()
    assert wave is not None
    needed = taken_before(peer.experiment, wave)
    others = Scripted({"peer 1": needed["peer 1"] - 1, "peer 2": needed["peer 2"] - 1})
    others.silent = {"peer 1": [(0, 120)]}
    others.events = [(210.0, "peer 1", needed["peer 1"])]
    assert others.turns_of(peer).wait()
    assert others.said == [
        "peer 1 has not answered for 100 s; it is waited for no longer",
        f"peer 2 has taken no turn after its turn {needed['peer 2'] - 1} for 100 s; it is waited for no longer",
        f"peer 1 is back, with {needed['peer 1'] - 1} turns; it is waited for again",
    ]
    assert 210 <= others.now <= 210 + 2 * LONGEST
