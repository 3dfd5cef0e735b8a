"""The processes runner of the secure protocol: what is believed of the peers' folders; whole runs are elsewhere."""

import stat
from dataclasses import replace
from pathlib import Path

import torch

from experiments.peer_certificates import make_peer_certificates
from experiments.secure_processes import _agreed, _keep_public
from peers.secure.keys import read_trusted_keys
from peers.secure.state import SecureState

SEEN = {"round": 1, "status": "aggregated", "clients": [{}]}
STATE = SecureState("", "ab" * 32, {"w": torch.zeros(2)}, round=1, lines=(SEEN,))
OTHER = replace(STATE, arrays={"w": torch.ones(2)})


def test_what_more_than_f_have_come_to_is_the_result() -> None:
    states = {name: replace(STATE, name=name) for name in "abc"} | {name: replace(OTHER, name=name) for name in "de"}
    found = _agreed(states, faults=2)
    assert found is not None
    assert {state.name for state in found} == set("abc")
    assert _agreed(states, faults=3) is None
    assert _agreed({}, faults=0) is None


def test_those_who_saw_a_round_to_its_end_come_first() -> None:
    away = replace(STATE, name="a", lines=({"round": 1, "status": "missed", "clients": []},))
    found = _agreed({"a": away, "b": replace(STATE, name="b")}, faults=1)
    assert found is not None
    assert [state.name for state in found] == ["b", "a"]


def test_of_the_keys_only_the_public_ones_are_kept(tmp_path: Path) -> None:
    make_peer_certificates(tmp_path / "keys", ["a", "b"])
    before = read_trusted_keys(tmp_path / "keys")
    _keep_public(tmp_path / "keys")
    assert read_trusted_keys(tmp_path / "keys") == before
    assert {file.name for file in (tmp_path / "keys").rglob("*")} == {"a.pub", "b.pub"}
    assert stat.S_IMODE((tmp_path / "keys" / "a.pub").stat().st_mode) == 0o644
