"""A peer's state on disk: it comes back whole, or a sentence says why not."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from peers.secure.state import SecureState, load_secure_state

RUN = "ab" * 32
ARRAYS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2), "count": torch.tensor(3)}
STATE = SecureState(
    "a", RUN, ARRAYS, round=3, begun=4, excluded={"d": {"round": 3, "reason": "it lied"}}, doubted=("b",),
    ledger="[]", lines=({"round": 1, "status": "aggregated"},),
)  # fmt: skip


def same(one: SecureState, other: SecureState) -> bool:
    facts = [
        (state.name, state.run, state.round, state.begun, state.excluded, state.doubted, state.ledger, state.lines)
        for state in (one, other)
    ]
    return facts[0] == facts[1] and all(
        torch.equal(array, other.arrays[name]) and array.dtype == other.arrays[name].dtype
        for name, array in one.arrays.items()
    )


def test_a_state_comes_back_in_the_models_order_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    STATE.save(file)
    found = load_secure_state(file, "a", RUN, ARRAYS)
    assert found is not None
    assert same(found, STATE)
    assert list(found.arrays) == list(ARRAYS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert found.digest() == STATE.digest()


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert load_secure_state(tmp_path / "state.safetensors", "a", RUN, ARRAYS) is None


@pytest.mark.parametrize(
    ("name", "run", "arrays", "sentence"),
    [
        ("b", RUN, ARRAYS, "is the state of 'a' in another run, or of another peer; move it aside"),
        ("a", "00" * 32, ARRAYS, "in another run"),
        ("a", RUN, {**ARRAYS, "bias": torch.ones(3)}, "the weights are those of another model"),
        ("a", RUN, {"weight": ARRAYS["weight"]}, "another model"),
    ],
)
def test_anothers_state_is_not_taken_up(tmp_path: Path, name: str, run: str, arrays: object, sentence: str) -> None:
    file = tmp_path / "state.safetensors"
    STATE.save(file)
    with pytest.raises(UserError, match=sentence):
        load_secure_state(file, name, run, arrays)  # type: ignore[arg-type]


def test_half_a_state_is_told(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    STATE.save(file)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="could not be read"):
        load_secure_state(file, "a", RUN, ARRAYS)


@pytest.mark.parametrize(
    "other",
    [
        replace(STATE, round=4),
        replace(STATE, run="00" * 32),
        replace(STATE, excluded={}),
        replace(STATE, arrays={**ARRAYS, "bias": torch.tensor([1.0, 2.0])}),
    ],
    ids=["round", "run", "excluded", "weights"],
)
def test_what_all_have_in_common_tells_states_apart(other: SecureState) -> None:
    assert other.digest() != STATE.digest()


def test_what_is_a_peers_own_does_not(tmp_path: Path) -> None:
    own = replace(STATE, name="b", begun=9, doubted=(), ledger="[1]", lines=())
    assert own.digest() == STATE.digest()
