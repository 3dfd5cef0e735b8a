"""A real peer's rounds, where it is alone; rounds with others are in tests/integration/peers."""

import contextlib
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from common.errors import UserError
from experiments import secure_play
from experiments.secure_node import SecureNode, open_secure_node
from experiments.secure_peer import run_secure_peer
from experiments.secure_play import Connected, _caught_up, _entropy, _play, find_place, play_round
from peers.neighbours import Unreachable
from peers.process import Network
from peers.secure.network import Carried, EndedEarlyError
from peers.secure.rounds import RoundResult
from peers.secure.simulation import Traffic
from peers.secure.standing import answer
from peers.secure.state import SecureState
from peers.secure.vector import size_of
from peers.wire import RefusedError
from tests.experiments.secure_peers_fixture import secure_peers


def test_real_randomness_is_never_the_same_twice() -> None:
    drawn = [_entropy(1)("salt") for _ in range(100)]
    assert len(set(drawn)) == 100
    assert {len(one) for one in drawn} == {32}


def test_a_round_is_noted_before_the_first_word_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whatever ends the process from then on, it is not begun again."""
    file = secure_peers(tmp_path)["a"]

    class KilledError(Exception):
        pass

    def killed(*_: Any, **__: Any) -> Any:
        raise KilledError

    monkeypatch.setattr(secure_play, "carry", killed)
    with pytest.raises(KilledError):
        run_secure_peer(file, report=lambda _: None)
    with open_secure_node(file) as node:
        assert (node.state.round, node.state.begun) == (0, 1)


def test_a_round_that_was_begun_is_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill in the middle of it; in the end it is over without a result, for nobody knows of one."""
    file, said = secure_peers(tmp_path)["a"], list[str]()

    def played(*_: Any, **__: Any) -> Any:
        raise AssertionError("it spoke twice in one round")

    monkeypatch.setattr(secure_play, "secure_round", played)
    with open_secure_node(file) as node:
        node.keep(replace(node.state, begun=1))
    run_secure_peer(file, report=said.append)
    assert any("round 1 had begun before this peer was started again; it sits it out" in line for line in said)
    assert any("too few others say what came of round 1" in line for line in said)
    with open_secure_node(file) as node:
        assert [line["status"] for line in node.state.lines] == ["missed"]


class Others:
    """Peers b to e, who have all ended the same rounds and begun the next; stands for the network."""

    def __init__(self, start: SecureState, round_: int = 1, heard: int = 0) -> None:
        self.start, self.round, self.heard = start, round_, heard
        self.there, self.stuck = set("bcde"), set[str]()
        self.asked: list[str] = []
        self.lies: dict[str, int] = {}

    def state(self, name: str, round_: int) -> SecureState:
        arrays = {key: array + round_ for key, array in self.start.arrays.items()}
        return replace(self.start, name=name, arrays=arrays, round=round_, begun=round_ + 1)

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        """Answer as such a peer does; until one that is stuck is given up, the others end three rounds more."""
        told: dict[str, bytes | Unreachable] = {}
        for name, question in questions.items():
            self.asked.append(name)
            if name in self.stuck:
                time.sleep(timeout)
                self.round += 3
            told[name] = self._answer(name, question)
        return told

    def _answer(self, name: str, question: bytes) -> bytes | Unreachable:
        if name not in self.there or name in self.stuck:
            return Unreachable("no answer")
        try:
            before = self.state(name, self.round - 1)
            heard = self.lies.get(name, self.heard)
            return answer(self.state(name, self.round), question, heard=heard, before=before)
        except RefusedError as refused:
            return Unreachable(str(refused))


def connected(node: SecureNode, others: Others, over: Any = None) -> tuple[Connected, list[str]]:
    network, said = cast("Network", SimpleNamespace(dialler=others)), list[str]()
    return Connected(node, network, None, said.append, over or threading.Event()), said


def long_waits(folder: Path, **changes: float) -> Path:
    """Peer a's file, with time limits that no test on a busy machine comes near to."""
    file = secure_peers(folder)["a"]
    file.write_text(file.read_text().replace("exchange_timeout = 0.3", "exchange_timeout = 6.0"))
    agreement = file.parent / "agreement.toml"
    text = agreement.read_text()
    for key, value in ({"round_timeout": 30.0} | changes).items():
        assert f"{key} = 0.3" in text
        text = text.replace(f"{key} = 0.3", f"{key} = {value}")
    agreement.write_text(text)
    return file


@pytest.mark.parametrize("stuck", list("bcde"))
def test_one_that_never_says_where_it_is_keeps_nobody_out(tmp_path: Path, stuck: str) -> None:
    """By the time that it is given up, the others are rounds further, and have no more the weights they told of."""
    with open_secure_node(long_waits(tmp_path)) as node:
        others = Others(node.state)
        others.stuck = {stuck}
        assert _caught_up(connected(node, others)[0], 1)
        assert node.state.round == 1
        assert node.state.digest() == others.state("b", 1).digest()


def test_who_is_excluded_is_not_asked_and_who_does_not_answer_not_at_once_again(tmp_path: Path) -> None:
    with open_secure_node(secure_peers(tmp_path)["a"]) as node:
        node.keep(replace(node.state, excluded={"c": {"round": 1, "reason": "it lied"}}))
        others = Others(node.state)
        others.there = {"b", "e"}
        here, _ = connected(node, others)
        find_place(here)
        assert sorted(others.asked[:3]) == ["b", "d", "e"]
        assert "c" not in others.asked
        assert here.asked_again.keys() == {"d"}
        here.asked_again["d"] = math.inf
        others.asked.clear()
        find_place(here)
        assert set(others.asked) == {"b", "e"}
        assert node.state.round == 1  # though those who were asked speak of c


def test_a_peer_that_lost_its_state_says_nothing_in_a_round_in_which_it_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one honest peer alone answered at first, and where it has taken over the round before meanwhile."""
    played = []

    def stop(*_: Any, **__: Any) -> Any:
        raise EndedEarlyError

    monkeypatch.setattr(secure_play, "_carried", lambda here, number, *_: played.append(number) or stop())
    with open_secure_node(long_waits(tmp_path, join_timeout=30.0)) as node:
        others = Others(node.state, round_=6, heard=7)
        others.there = {"b"}
        here, _ = connected(node, others)
        find_place(here)
        others.there = set("bcde")
        play_round(here)
        assert (node.state.round, node.state.begun) == (6, 7)
        others.round = 7
        find_place(here)
        while not played:
            with contextlib.suppress(EndedEarlyError):
                play_round(here)
        assert played == [8]


def test_a_lie_that_a_peer_was_heard_costs_it_two_rounds_however_often_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PlayedError(Exception):
        pass

    def played(*_: Any) -> Any:
        raise PlayedError

    monkeypatch.setattr(secure_play, "_carried", played)
    with open_secure_node(long_waits(tmp_path)) as node:
        others = Others(node.state, round_=6)
        others.lies = {"e": 10**9}
        here, _ = connected(node, others)
        for over in (6, 7, 8):
            others.round = over
            find_place(here)
            assert node.state.round == over
            assert node.state.begun == 8
        with pytest.raises(PlayedError):
            play_round(here)
        assert node.state.begun == 9


def test_a_peer_that_has_played_a_round_asks_no_more_whether_it_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_secure_node(long_waits(tmp_path, join_timeout=30.0)) as node:
        for ended in (None, np.zeros(size_of(node.state.arrays))):
            result = cast("RoundResult", SimpleNamespace(step=ended, aborted="", outcomes=()))
            monkeypatch.setattr(secure_play, "_carried", lambda *_, result=result: Carried(result, {}, Traffic()))
            monkeypatch.setattr(secure_play, "peer_line", lambda name, *_: {"name": name, "reason": ""})
            monkeypatch.setattr(secure_play, "exclusions", lambda *_: {})
            monkeypatch.setattr(secure_play, "write_transcripts", lambda *_: None)
            here, _ = connected(node, Others(node.state, node.state.round))
            assert _play(here) is not None
            assert node.sure == (ended is not None)
        others = Others(node.state, node.state.round)
        assert _play(connected(node, others)[0]) is not None
        assert others.asked == []


def test_a_peer_that_nearly_nobody_answers_believes_the_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secure_play, "_carried", lambda *_: pytest.fail("it spoke twice in one round"))
    with open_secure_node(secure_peers(tmp_path)["a"]) as node:
        others = Others(node.state, round_=0, heard=1)
        others.there = {"b"}
        here, said = connected(node, others)
        with contextlib.suppress(UserError):  # the one round of the run is skipped
            play_round(here)
        assert "it sits it out" in said[0]
        assert node.state.begun == 1


@pytest.mark.parametrize(("there", "waits"), [(set(), 18), ({"b"}, 18), ({"b", "c"}, 3000)])
def test_a_peer_that_at_most_f_answer_gives_up_soon(
    tmp_path: Path, there: set[str], waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def wait(seconds: float) -> bool:
        clock.now += 10 * seconds
        return False

    monkeypatch.setattr(secure_play, "time", clock)
    with open_secure_node(long_waits(tmp_path, round_timeout=3000.0)) as node:
        others = Others(node.state, round_=0)
        others.there = there
        here, said = connected(node, others, SimpleNamespace(wait=wait))
        assert not _caught_up(here, 1)
        assert waits < clock.now < waits + 20
        assert said == ["too few others say what came of round 1; this peer goes on with what it has"]
