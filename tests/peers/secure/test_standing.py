"""Finding out what came of a round: believed is what more than f tell alike, and no f of them can change it."""

import json
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
    agreed = agreed_standing(ask_standings(others, state, NAMES, 1.0), faults)
    return None if agreed is None else taken_over(others, state, *agreed, 1.0, missed)


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
    agreed = agreed_standing(ask_standings(Others(told), START, NAMES, 1.0), faults)
    if len(liars) <= faults:
        expected = None if len(NAMES) - len(liars) <= faults else NOW.digest()
        assert (None if agreed is None else agreed[0].digest) == expected


def test_weights_that_are_not_those_that_were_told_are_not_taken() -> None:
    """One of those who tell the truth about the hash gives other weights; the next one's are taken."""
    others = Others(states())
    wrong = answer(replace(NOW, arrays={"w": torch.full((3,), 9.0)}), weights(RUN, 3))
    agreed = agreed_standing(ask_standings(others, START, NAMES, 1.0), 1)
    assert agreed is not None
    for bad in (wrong, b"?", Unreachable("it hung up"), answer(NOW, where(RUN))):
        others.instead = {"a": bad}
        found = taken_over(others, START, *agreed, 1.0, missed)
        assert found is not None
        assert torch.equal(found.arrays["w"], NOW.arrays["w"])
    others.instead = dict.fromkeys(NAMES, wrong)
    assert taken_over(others, START, *agreed, 1.0, missed) is None


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
        assert "b" not in ask_standings(Others(states(), {"b": said}), START, NAMES, 1.0)
    assert "b" in ask_standings(Others(states(), {"b": json.dumps(GOOD).encode()}), START, NAMES, 1.0)


@pytest.mark.parametrize("question", [b"", b"where", where("00" * 32), weights(RUN, 2), weights(RUN, 4), b"mail", b"?"])
def test_other_questions_are_refused(question: bytes) -> None:
    with pytest.raises(RefusedError):
        answer(NOW, question)


def standing(begun: int, heard: int) -> Standing:
    return Standing(0, begun, 0, heard, "a" * 64, {})


def test_a_peer_that_lost_its_state_sits_out_the_round_in_which_it_was_heard() -> None:
    told = {"a": standing(2, 2), "b": standing(2, 0), "c": standing(2, 0)}
    assert spoken_in(told, faults=1) == 2
    assert spoken_in({name: standing(2, 0) for name in "abc"}, faults=1) == 0
    assert spoken_in({}, faults=1) == 0


def test_a_lie_about_it_goes_no_further_than_the_round_that_goes_on() -> None:
    told = {"a": standing(10**9, 10**9), "b": standing(2, 0), "c": standing(2, 0)}
    assert spoken_in(told, faults=1) == 2


def test_a_round_is_lost_when_more_sit_it_out_than_may_be_silent() -> None:
    """Then nothing can come of it; f who only say so make no difference where all is well."""
    sitting, playing = Standing(1, 2, 2, 0, "a" * 64, {}), Standing(1, 2, 0, 0, "a" * 64, {})
    assert not is_lost({"a": sitting, "b": playing, "c": playing, "d": playing}, 1, 2)
    assert is_lost({"a": sitting, "b": sitting, "c": playing, "d": playing}, 1, 2)
    assert not is_lost({"a": sitting, "b": sitting, "c": playing, "d": playing}, 1, 3)


def test_who_asks_is_told_whether_the_round_is_sat_out() -> None:
    others = Others({"a": NOW})
    others.instead = {"a": answer(NOW, where(RUN), out=4, heard=3)}
    found = ask_standings(others, START, ["a", "d"], 1.0)["a"]
    assert (found.out, found.heard, found.round) == (4, 3, 3)
