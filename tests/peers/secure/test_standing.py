"""Finding out what came of a round: believed is what more than f tell alike, and no f of them can change it."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peers.neighbours import Unreachable
from peers.secure.standing import (
    Standing,
    agreed_standing,
    answer,
    ask_standings,
    is_lost,
    spoken_in,
    taken_over,
    weights,
    where,
)
from peers.secure.state import SecureState
from peers.wire import RefusedError

RUN = "ab" * 32
START = SecureState("me", RUN, {"w": torch.zeros(3)}, lines=())
NOW = SecureState("a", RUN, {"w": torch.tensor([1.0, 2.0, 3.0])}, round=3, begun=3,
                  excluded={"d": {"round": 2, "reason": "it lied"}})  # fmt: skip
NAMES = ["a", "b", "c", "d"]


class Others:
    """Peers that answer from their states, or whatever they are told to."""

    def __init__(self, states: Mapping[str, SecureState], instead: Mapping[str, Any] | None = None) -> None:
        self.states, self.instead = states, instead or {}
        self.asked: list[tuple[str, bytes]] = []

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        """Answer."""
        self.asked += questions.items()
        return {name: self._ask(name, question) for name, question in questions.items()}

    def _ask(self, name: str, question: bytes) -> bytes | Unreachable:
        if name in self.instead:
            found: bytes | Unreachable = self.instead[name]
            return found
        if name not in self.states:
            return Unreachable("nobody listens there")
        return answer(self.states[name], question)


def missed(number: int) -> dict[str, Any]:
    return {"round": number, "status": "missed"}


def states(**other: SecureState) -> dict[str, SecureState]:
    return {name: replace(NOW, name=name) for name in NAMES} | other


def caught_up(others: Others, faults: int, state: SecureState = START) -> SecureState | None:
    agreed = agreed_standing(standings(others, state), faults)
    return None if agreed is None else taken_over(others, state, *agreed, 1.0, missed, hurry=1.0)


def standings(others: Others, state: SecureState = START) -> dict[str, Standing]:
    return ask_standings(others, state, NAMES, 1.0, known=NAMES)


def test_what_all_have_is_taken_over_with_a_line_for_each_round_that_was_missed() -> None:
    found = caught_up(Others(states()), faults=1)
    assert found is not None
    assert (found.name, found.round, found.begun, found.excluded) == ("me", 3, 3, NOW.excluded)
    assert torch.equal(found.arrays["w"], NOW.arrays["w"])
    assert [line["round"] for line in found.lines] == [1, 2, 3]


def test_a_peer_with_the_same_takes_nothing_over() -> None:
    others = Others(states())
    mine = replace(NOW, name="me")
    assert caught_up(others, 1, mine) is mine
    assert not any(question.startswith(b"weights") for _, question in others.asked)


def test_another_result_of_the_same_round_is_taken_over() -> None:
    mine = replace(NOW, name="me", arrays=START.arrays, lines=(missed(3),))
    found = caught_up(Others(states()), 1, mine)
    assert found is not None
    assert torch.equal(found.arrays["w"], NOW.arrays["w"])
    assert found.lines == mine.lines


@given(st.sets(st.sampled_from(NAMES), max_size=3), st.integers(0, 3), st.integers(0, 50))
def test_no_f_peers_are_believed(liars: set[str], faults: int, round_: int) -> None:
    lie = replace(NOW, arrays={"w": torch.full((3,), 9.0)}, round=round_)
    told = states(**{name: replace(lie, name=name) for name in liars})
    agreed = agreed_standing(standings(Others(told)), faults)
    if len(liars) <= faults:
        expected = None if len(NAMES) - len(liars) <= faults else NOW.digest()
        assert (None if agreed is None else agreed[0].digest) == expected


def test_weights_that_are_not_those_that_were_told_are_not_taken() -> None:
    """One of those who tell the truth about the hash gives other weights; the next one's are taken."""
    others = Others(states())
    wrong = answer(replace(NOW, arrays={"w": torch.full((3,), 9.0)}), weights(RUN, 3))
    agreed = agreed_standing(standings(others), 1)
    assert agreed is not None
    for bad in (wrong, b"?", Unreachable("it hung up"), answer(NOW, where(RUN))):
        others.instead = {"a": bad}
        found = taken_over(others, START, *agreed, 1.0, missed, hurry=1.0)
        assert found is not None
        assert torch.equal(found.arrays["w"], NOW.arrays["w"])
    others.instead = dict.fromkeys(NAMES, wrong)
    assert taken_over(others, START, *agreed, 1.0, missed, hurry=1.0) is None


class Hanging(Others):
    """Peers of whom one does not answer until it is let go."""

    def __init__(self, name: str, states: Mapping[str, SecureState]) -> None:
        super().__init__(states)
        self.hanging, self.let_go = name, threading.Event()

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        """Answer."""
        if self.hanging in questions and not self.let_go.wait(30):
            raise AssertionError("it was waited for")
        return super().ask_all(questions, limit=limit, timeout=timeout)


@pytest.mark.parametrize("hanging", NAMES)
def test_who_does_not_answer_holds_up_nobody(hanging: str) -> None:
    """Neither where all are, once enough tell alike, nor for the weights: others have them for two rounds only."""
    others = Hanging(hanging, states())

    def is_enough(told: Mapping[str, Standing]) -> bool:
        return agreed_standing(told, 1) is not None

    told = ask_standings(others, START, NAMES, 1.0, known=NAMES, enough=is_enough)
    agreed = agreed_standing(told, 1)
    assert agreed is not None
    found = taken_over(others, START, agreed[0], NAMES, 1.0, missed, hurry=0.01)
    assert not others.let_go.is_set()
    others.let_go.set()
    assert found is not None
    assert found.digest() == NOW.digest()


def test_the_weights_of_the_round_before_are_given_too() -> None:
    """Who asks for them was told of them a moment ago."""
    next_ = replace(NOW, arrays={"w": torch.ones(3)}, round=4, begun=4)
    assert answer(next_, weights(RUN, 3), before=NOW) == answer(NOW, weights(RUN, 3))
    assert answer(next_, weights(RUN, 4), before=NOW) == answer(next_, weights(RUN, 4))
    for round_ in (2, 5):
        with pytest.raises(RefusedError):
            answer(next_, weights(RUN, round_), before=NOW)


def test_what_others_tell_of_a_peer_that_is_not_asked_is_heard() -> None:
    told = ask_standings(Others(states()), START, ["a", "b"], 1.0, known=NAMES)
    assert {name: standing.excluded.keys() for name, standing in told.items()} == {"a": {"d"}, "b": {"d"}}


GOOD: dict[str, Any] = {"round": 3, "begun": 3, "out": 0, "heard": 0, "digest": "a" * 64, "excluded": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"round": -1}, {"round": True}, {"round": 10**15}, {"begun": "3"}, {"heard": 1.0}, {"out": -1}, {"out": None},
        {"digest": "a"}, {"digest": 3}, {"excluded": {"stranger": {"round": 1, "reason": ""}}},
        {"excluded": {"a": {"round": 1}}}, {"excluded": {"a": {"round": 1, "reason": "\x1b[2J"}}},
        {"excluded": {"a": {"round": 1, "reason": "x" * 2000}}}, {"excluded": []}, {"excluded": {"a": 3}}, {"more": 1},
    ],
)  # fmt: skip
def test_nonsense_is_not_heard(change: dict[str, Any]) -> None:
    for said in (json.dumps(GOOD | change).encode(), b"\xff", b"[]", b"[" * 3000, b"null"):
        assert "b" not in standings(Others(states(), {"b": said}))
    assert "b" in standings(Others(states(), {"b": json.dumps(GOOD).encode()}))


@pytest.mark.parametrize("question", [b"", b"where", where("00" * 32), weights(RUN, 2), weights(RUN, 4), b"mail", b"?"])
def test_other_questions_are_refused(question: bytes) -> None:
    with pytest.raises(RefusedError):
        answer(NOW, question)


def standing(begun: int, heard: int) -> Standing:
    return Standing(0, begun, 0, heard, "a" * 64, {})


def test_a_peer_that_lost_its_state_sits_out_the_round_in_which_it_was_heard() -> None:
    told = {"a": standing(2, 2), "b": standing(2, 0), "c": standing(2, 0)}
    assert spoken_in(told, faults=1, begun=0) == 2
    assert spoken_in({name: standing(2, 0) for name in "abc"}, faults=1, begun=0) == 0
    assert spoken_in({}, faults=1, begun=0) == 0


def test_a_peer_that_lost_its_state_believes_the_one_that_was_ahead_with_it() -> None:
    """It and one other had begun the next round when all others were in the one before."""
    told = {"a": standing(3, 3), "b": standing(2, 2), "c": standing(2, 2)}
    assert spoken_in(told, faults=1, begun=0) == 3


@pytest.mark.parametrize(("own", "last"), [(0, 3), (1, 3), (2, 2), (5, 2)])
def test_a_lie_about_it_goes_no_further_than_honest_peers_may_be(own: int, last: int) -> None:
    """Who has its state is sent into no round that nobody has begun: else one could keep all from the first."""
    told = {"a": standing(10**9, 10**9), "b": standing(2, 0), "c": standing(2, 0)}
    assert spoken_in(told, faults=1, begun=own) == last
    assert spoken_in({"a": standing(9, 9), "b": standing(0, 0), "c": standing(0, 0)}, faults=1, begun=0) == 0


def test_a_round_is_lost_when_more_sit_it_out_than_may_be_silent() -> None:
    """Then nothing can come of it; f who only say so make no difference where all is well."""
    sitting, playing = Standing(1, 2, 2, 0, "a" * 64, {}), Standing(1, 2, 0, 0, "a" * 64, {})
    assert not is_lost({"a": sitting, "b": playing, "c": playing, "d": playing}, 1, 2)
    assert is_lost({"a": sitting, "b": sitting, "c": playing, "d": playing}, 1, 2)
    assert not is_lost({"a": sitting, "b": sitting, "c": playing, "d": playing}, 1, 3)


def test_who_asks_is_told_whether_the_round_is_sat_out() -> None:
    others = Others({"a": NOW})
    others.instead = {"a": answer(NOW, where(RUN), out=4, heard=3)}
    found = standings(others)["a"]
    assert (found.out, found.heard, found.round) == (4, 3, 3)
