"""What peers tell of themselves in the end: read as it was told, and nothing else is read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import Experiment
from common.privacy import Entry, Ledger
from experiments.peer_account import ACCOUNT_LIMIT, LONGEST_TURN, Account, account_limit, decode_account, encode_account
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


TOY = toy(3, 3, peers__order="shuffled")


@pytest.fixture(scope="module", params=["mean", "median", "alone", "centered-clipping"])
def told(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The account of a toy peer, as JSON's values."""
    described = TOY.change({"peers.merge": request.param})
    state = played(described, tmp_path_factory.mktemp("toy"))[1].state
    account: dict[str, Any] = json.loads(encode_account(FACTS, state)) | {"ledger": LEDGER}
    return account


def read(told: dict[str, Any], sender: str = "peer 1", number: int = 1, experiment: Experiment = TOY) -> Account:
    return decode_account(json.dumps(told).encode(), sender, number, experiment)


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
        {"seconds": 1.7e308},
        {"seconds": 2 * LONGEST_TURN},
        {"norm": 1.7e308},
        {"metrics": {"loss": -1.7e308}},
        {"wave": 1},
        {"step": 0},
        {"wave": None, "step": None},
        {"skipped": {"a stranger": "it is late"}},
        {"traffic": {"peer 1": [1, 1]}},
        {"excluded": ["peer 2", "peer 2"]},
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


def test_nobody_tells_more_turns_than_the_description_gives_it(told: dict[str, Any]) -> None:
    more = [told["lines"][0] | {"turn": turn} for turn in range(1, 5)]
    with pytest.raises(RefusedError, match="tells 4 turns, and it has 3"):
        read(told | {"lines": more})
    assert len(read(told | {"lines": told["lines"][:2]}).lines) == 2  # one that has not ended


def test_by_timers_of_their_own_no_turn_has_a_place_in_the_run(told: dict[str, Any]) -> None:
    timers = TOY.change({"peers.order": "timers"})
    lines = [line | {"wave": None, "step": None} for line in told["lines"]]
    assert len(read(told | {"lines": lines}, experiment=timers).lines) == 3
    with pytest.raises(RefusedError, match="its turn 1 at a time"):
        read(told, experiment=timers)


def test_a_long_account_of_a_short_run_is_refused_before_it_is_read(told: dict[str, Any]) -> None:
    assert len(json.dumps(told)) < account_limit(TOY) < 2**18
    traffic = {f"{number:x}": [0, 0] for number in range(30_000)}
    with pytest.raises(RefusedError, match=r"its account has \d+ bytes; at most \d+ are read"):
        read(changed(told, traffic=traffic))


def test_an_honest_account_full_of_what_hostile_peers_made_it_say_is_read(told: dict[str, Any], tmp_path: Path) -> None:
    state = played(TOY, tmp_path)[1].state
    longest = {"failed": "ü" * 2000, "refused": dict.fromkeys(("peer 0", "peer 2"), "\U0001f600" * 200)}
    state = replace(state, lines=tuple(line | longest for line in state.lines), ledger="")
    account = encode_account(FACTS, state)
    assert decode_account(account, "peer 1", 1, TOY).lines[0].refused == longest["refused"]


@pytest.mark.parametrize(
    ("entries", "problem"),
    [((Entry(4, 1.0, 0.1, 3),), "round 4"), ((Entry(1, 1.0, 0.1, 3),) * 9, "9 entries for round 1")],
)
def test_a_ledger_is_of_the_turns_that_the_description_gives(
    told: dict[str, Any], entries: tuple[Entry, ...], problem: str
) -> None:
    with pytest.raises(RefusedError, match=f"its privacy ledger has .*{problem}"):
        read(told | {"ledger": Ledger(entries).to_json()})


@pytest.mark.parametrize("ledger", ["{", "[3]", '[{"round": 1}]', 3])
def test_a_ledger_that_cannot_be_read_is_refused(told: dict[str, Any], ledger: Any) -> None:
    with pytest.raises(RefusedError, match="its account cannot be read"):
        read(told | {"ledger": ledger})


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(told: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_account(told, "peer 1", 1, TOY)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"facts":' * 10_000])
def test_deep_nesting_is_refused(text: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_account(text, "peer 1", 1, TOY)
