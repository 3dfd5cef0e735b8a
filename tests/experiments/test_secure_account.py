"""What peers of the secure protocol tell of themselves in the end: read as it was told, and nothing else is read."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.config import Experiment
from common.privacy import Entry, Ledger
from experiments.secure_account import decode_secure_account, encode_secure_account, secure_account_limit
from experiments.secure_rounds import own_part
from peers.secure.simulation import Traffic
from peers.secure.state import SecureState
from peers.wire import RefusedError

DESCRIBED = Experiment.model_validate({"protocol": "secure", "clients": [{"count": 5}], "federation": {"rounds": 3}})
FACTS: dict[str, Any] = {
    "name": "client-2",
    "number": 1,
    "strategy": "honest",
    "honest": True,
    "private": True,
    "records": 24,
    "accountant": "prv",
    "delta": 1e-5,
}
OWN = own_part(None, Traffic(7, 8))
STATE = SecureState(
    "client-2", "ab" * 32, {"w": torch.zeros(1)}, round=3, ledger=Ledger((Entry(1, 1.0, 0.1, 3),)).to_json(),
    lines=({"round": 1, "own": OWN}, {"round": 2, "status": "missed"}, {"round": 3, "own": OWN | {"examples": 24}}),
)  # fmt: skip


def told(**changes: Any) -> bytes:
    tree = json.loads(encode_secure_account(FACTS, STATE))
    for key, value in changes.items():
        tree[key] = value
    return json.dumps(tree).encode()


def test_an_account_is_read_as_it_was_told() -> None:
    account = decode_secure_account(told(), "client-2", 1, DESCRIBED)
    assert account.facts.model_dump() == FACTS
    assert account.ledger == STATE.ledger
    assert account.own() == {1: OWN, 3: OWN | {"examples": 24, "local_updates": 1}}


def test_a_line_of_every_round_fits() -> None:
    metrics = {f"metric {number}": 0.123456789 for number in range(20)}
    lines = tuple({"round": number, "own": OWN | {"metrics": metrics}} for number in range(1, 2001))
    ledger = Ledger(tuple(Entry(number, 1.0, 0.1, 3) for number in range(1, 2001))).to_json()
    whole = encode_secure_account(FACTS, SecureState("client-2", "", {}, ledger=ledger, lines=lines))
    many = DESCRIBED.change({"federation.rounds": 2000})
    assert len(whole) < secure_account_limit(many)
    assert len(decode_secure_account(whole, "client-2", 1, many).lines) == 2000


A_LINE = {"round": 1, "examples": 0, "metrics": {}, "bytes_up": 0, "bytes_down": 0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"facts": FACTS | {"name": "client-1"}}, "that of another peer"),
        ({"facts": FACTS | {"number": 2}}, "that of another peer"),
        ({"facts": FACTS | {"delta": 2.0}}, "cannot be read: facts.delta"),
        ({"lines": [A_LINE, A_LINE]}, "not one after the other"),
        ({"lines": [A_LINE | {"round": 4}]}, "rounds that the run does not have"),
        ({"lines": [A_LINE | {"round": 0}]}, "rounds that the run does not have"),
        ({"lines": [A_LINE | {"bytes_up": -1}]}, "cannot be read: lines.0.bytes_up"),
        ({"lines": [A_LINE | {"metrics": {"x": float("inf")}}]}, "cannot be read"),
        ({"lines": [A_LINE | {"metrics": {str(n): 0.0 for n in range(51)}}]}, "cannot be read"),
        ({"ledger": "?"}, "cannot be read"),
        ({"ledger": Ledger((Entry(9, 1.0, 0.1, 3),)).to_json()}, "privacy ledger has an entry for round 9"),
        ({"more": 1}, "cannot be read"),
    ],
)
def test_what_no_honest_peer_tells_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        decode_secure_account(told(**changes), "client-2", 1, DESCRIBED)


def test_an_account_that_is_too_long_is_not_read() -> None:
    with pytest.raises(RefusedError, match="at most"):
        decode_secure_account(bytes(secure_account_limit(DESCRIBED) + 1), "client-2", 1, DESCRIBED)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_secure_account(raw, "client-2", 1, DESCRIBED)
