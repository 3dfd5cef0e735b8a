"""The processes runner of the secure protocol: what is believed of the peers' folders; whole runs are elsewhere."""

import contextlib
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.data import prepare
from common.folder import RunFolder
from experiments.peer_certificates import make_peer_certificates
from experiments.run import train
from experiments.secure_processes import KEYS, _agreed, keep_public_keys
from peers.secure.keys import read_trusted_keys
from peers.secure.state import SecureState
from tests.experiments.secure_peers_fixture import DESCRIBED, NAMES

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
    keys = tmp_path / KEYS
    make_peer_certificates(keys, ["a", "b"])
    before = read_trusted_keys(keys)
    for _ in range(2):
        keep_public_keys(RunFolder(tmp_path))
        assert read_trusted_keys(keys) == before
        assert {file.name for file in keys.rglob("*")} == {"a.pub", "b.pub"}
        assert stat.S_IMODE((keys / "a.pub").stat().st_mode) == 0o644


@pytest.mark.parametrize("removals", range(4))
def test_what_is_ended_while_it_removes_secrets_has_lost_no_public_key(
    tmp_path: Path, removals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, remove = tmp_path / KEYS, shutil.rmtree
    make_peer_certificates(keys, ["a", "b"])
    before, removed = read_trusted_keys(keys), list[Path]()

    class KilledError(Exception):
        pass

    def killed(place: Path) -> None:
        if len(removed) == removals:
            (place / "signing.pub").unlink(missing_ok=True)
            raise KilledError
        removed.append(place)
        remove(place)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with contextlib.suppress(KilledError):
        keep_public_keys(RunFolder(tmp_path))
    monkeypatch.setattr(shutil, "rmtree", remove)
    keep_public_keys(RunFolder(tmp_path))
    assert read_trusted_keys(keys) == before
    assert {file.name for file in keys.rglob("*")} == {"a.pub", "b.pub"}


def test_a_run_that_has_ended_is_left_no_secret_when_it_is_found_again(tmp_path: Path) -> None:
    """As after a kill between the model, which is written last, and the secrets' removal."""
    dataset = prepare(DESCRIBED.data)
    folder = train(DESCRIBED, dataset, tmp_path, "inprocess")
    make_peer_certificates(folder.path / KEYS, NAMES)
    before = read_trusted_keys(folder.path / KEYS)
    assert train(DESCRIBED, dataset, tmp_path, "inprocess").path == folder.path
    assert read_trusted_keys(folder.path / KEYS) == before
    assert not list(folder.path.rglob("*.key"))
