"""A real peer's rounds, where it is alone; rounds with others are in tests/integration/peers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import secure_play
from experiments.secure_node import open_secure_node
from experiments.secure_peer import run_secure_peer
from experiments.secure_play import _entropy
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
