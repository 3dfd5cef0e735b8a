"""What peers tell of themselves in the end: read as it was told, and nothing else is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.privacy import Entry, Ledger
from experiments.peer_account import ACCOUNT_LIMIT, Account, decode_account, encode_account
from peers.wire import RefusedError
from tests.peers.toy_fixture import played, toy

FACTS: dict[str, Any] = {
    "name": "peer 1",
    "number": 1,
    "strategy": "honest",
    "honest": True,
    "private": True,
    "records": 24,
    "accountant": "prv",
    "delta": 1e-5,
}
LEDGER = Ledger((Entry(1, 1.0, 0.1, 3),)).to_json()


@pytest.fixture(scope="module", params=["mean", "median", "alone", "centered-clipping"])
def told(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The account of a toy peer, as JSON's values."""
    state = played(toy(3, 3, peers__merge=request.param), tmp_path_factory.mktemp("toy"))[1].state
    account: dict[str, Any] = json.loads(encode_account(FACTS, state)) | {"ledger": LEDGER}
    return account


def read(told: dict[str, Any], sender: str = "peer 1", number: int = 1) -> Account:
    return decode_account(json.dumps(told).encode(), sender, number)


def test_an_account_is_read_as_it_was_told(told: dict[str, Any]) -> None:
    account = read(told)
    assert account.facts.model_dump() == FACTS
    assert account.ledger == LEDGER
    lines = [line.model_dump(mode="json") for line in account.lines]
    assert json.loads(json.dumps(lines)) == told["lines"]
    assert len(lines) >= 1


def test_the_longest_run_of_many_peers_fits(tmp_path: Path) -> None:
    state = played(toy(20, 2), tmp_path)[3].state
    a_line = len(encode_account(FACTS, state)) / len(state.lines)
    assert a_line * 2000 < ACCOUNT_LIMIT


def changed(told: dict[str, Any], **line: Any) -> dict[str, Any]:
    return told | {"lines": [told["lines"][0] | line, *told["lines"][1:]]}


@pytest.mark.parametrize(
    "line",
    [
        {"peer": "peer 2"},
        {"turn": 2},
        {"bytes": -1},
        {"bytes": 10**15},
        {"bytes": True},
        {"metrics": {"loss": float("nan")}},
        {"metrics": {"loss": float("inf")}},
        {"norm": -1.0},
        {"merged": {"peer 2": {"version": 1}}},
        {"refused": {"peer 2": "x" * 3000}},
        {"surprise": 1},
        {"seconds": "soon"},
    ],
)
def test_a_line_that_no_honest_peer_tells_is_refused(told: dict[str, Any], line: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="its account"):
        read(changed(told, **line))


def test_nobody_speaks_for_another(told: dict[str, Any]) -> None:
    for sender, number in (("peer 2", 1), ("peer 1", 2)):
        with pytest.raises(RefusedError, match="its account is that of another peer"):
            read(told, sender, number)


def test_turns_are_told_one_after_the_other(told: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="one after the other"):
        read(told | {"lines": told["lines"] * 2})


@pytest.mark.parametrize("ledger", ["{", "[3]", '[{"round": 1}]', 3])
def test_a_ledger_that_cannot_be_read_is_refused(told: dict[str, Any], ledger: Any) -> None:
    with pytest.raises(RefusedError, match="its account cannot be read"):
        read(told | {"ledger": ledger})


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(told: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_account(told, "peer 1", 1)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"facts":' * 10_000])
def test_deep_nesting_is_refused(text: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_account(text, "peer 1", 1)
