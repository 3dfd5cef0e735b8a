"""What a peer tells of itself when a run is over, for the report: who it is, what it spent, what its turns came to.

An account comes from another peer, which may be hostile, and is read as such: what does not have its form, or is not
finite, is not taken up, and nothing in it stands for anybody but its sender.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from common.errors import UserError
from common.privacy import Ledger
from common.section import Section
from peers.state import State
from peers.wire import LARGEST, RefusedError, short

ACCOUNT_LIMIT = 32 * 2**20
"""Bytes of an account; a line of one turn with twenty peers has some 5 kB."""

_Whole = Annotated[int, Field(ge=0, lt=LARGEST, strict=True)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=60)]
_Reason = Annotated[str, StringConstraints(max_length=2000)]
_Share = Annotated[float, Field(ge=-1, le=2)]


class Facts(Section):
    """Who a peer is, as ``ledger.json`` shows it; what it says of its honesty is its own word."""

    name: _Name
    number: _Whole
    strategy: _Reason
    honest: bool
    private: bool
    records: _Whole
    accountant: Literal["prv", "rdp"] | None
    delta: Annotated[float, Field(gt=0, lt=1)] | None


class Taken(Section):
    """A model that was merged in a turn."""

    version: _Whole
    records: _Whole
    coefficient: _Share | None
    """None: the rule has none, such as a median."""


class Line(Section):
    """A line of ``updates.jsonl``: one turn."""

    step: _Whole | None
    wave: _Whole | None
    peer: _Name
    turn: _Whole
    version: _Whole
    merged: dict[_Name, Taken]
    own_coefficient: _Share | None
    skipped: dict[_Name, _Reason]
    refused: dict[_Name, _Reason]
    excluded: list[_Name]
    note: _Reason
    failed: _Reason
    bytes: _Whole
    model_bytes: _Whole
    pings: _Whole
    traffic: dict[_Name, tuple[_Whole, _Whole]]
    records: _Whole
    metrics: dict[_Name, float]
    norm: Annotated[float, Field(ge=0)] | None
    seconds: Annotated[float, Field(ge=0)]


class Account(Section):
    """All of it."""

    facts: Facts
    ledger: str
    lines: tuple[Line, ...]


def encode_account(facts: dict[str, Any], state: State) -> bytes:
    """Return what a peer tells of itself; ``facts`` as ``Facts``."""
    return json.dumps({"facts": facts, "ledger": state.ledger, "lines": state.lines}, sort_keys=True).encode()


def decode_account(told: bytes, sender: str, number: int) -> Account:
    """Read the account of the peer with this name and number. Raises RefusedError."""
    try:
        account = Account.model_validate_json(told)
        if account.ledger:
            Ledger.from_json(account.ledger)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RefusedError(f"its account cannot be read: {short(place, 80)}: {short(first['msg'])}") from None
    except (UserError, RecursionError) as error:
        raise RefusedError(f"its account cannot be read: {short(str(error))}") from None
    if (account.facts.name, account.facts.number) != (sender, number):
        raise RefusedError("its account is that of another peer")
    if any(line.peer != sender or line.turn != turn for turn, line in enumerate(account.lines, start=1)):
        raise RefusedError("its account does not tell its own turns one after the other")
    return account
