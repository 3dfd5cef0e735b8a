"""What a peer tells of itself when a run is over, for the report: who it is, what it spent, what its turns came to.

An account comes from another peer, which may be hostile, and is read as such: what does not have its form, is longer
than this peer's turns can be, is not finite or names turns that are not its own is not taken up, and nothing in it
stands for anybody but its sender.
"""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from common.config import Experiment
from common.errors import UserError
from common.privacy import ENTRIES_PER_ROUND, Ledger
from common.section import Section
from peers.order import planned, step_of, turns_of
from peers.state import State
from peers.wire import LARGEST, RefusedError, short

ACCOUNT_LIMIT = 32 * 2**20
"""Bytes of an account, however long the run; a line of one turn with twenty peers has some 5 kB."""
OF_FACTS, _OF_TURN, _OF_PEER, OF_ENTRY = 20_000, 10_000, 1_000, 300
"""Bytes of an account, at most: what a peer is, a turn with a reason for its failure, what a turn says of another peer
with a reason of 200 characters, and an entry of a privacy ledger."""
LONGEST_TURN = 1e9
"""Seconds of a turn, some thirty years: sums of them stay finite."""
_FAR = 1e45
"""Metrics and norms lie within it, as all that follows from float32 weights does; sums of them stay finite."""

Whole = Annotated[int, Field(ge=0, lt=LARGEST, strict=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=60)]
_Reason = Annotated[str, StringConstraints(max_length=2000)]
_Share = Annotated[float, Field(ge=-1, le=2)]
Metric = Annotated[float, Field(ge=-_FAR, le=_FAR)]


class Facts(Section):
    """Who a peer is, as ``ledger.json`` shows it; what it says of its honesty is its own word."""

    name: Name
    number: Whole
    strategy: _Reason
    honest: bool
    private: bool
    records: Whole
    accountant: Literal["prv", "rdp"] | None
    delta: Annotated[float, Field(gt=0, lt=1)] | None


class Taken(Section):
    """A model that was merged in a turn."""

    version: Whole
    records: Whole
    coefficient: _Share | None
    """None: the rule has none, such as a median."""


class Line(Section):
    """A line of ``updates.jsonl``: one turn."""

    step: Whole | None
    wave: Whole | None
    peer: Name
    turn: Whole
    version: Whole
    merged: dict[Name, Taken]
    own_coefficient: _Share | None
    skipped: dict[Name, _Reason]
    refused: dict[Name, _Reason]
    excluded: list[Name]
    note: _Reason
    failed: _Reason
    bytes: Whole
    model_bytes: Whole
    pings: Whole
    traffic: dict[Name, tuple[Whole, Whole]]
    records: Whole
    metrics: dict[Name, Metric]
    norm: Annotated[float, Field(ge=0, le=_FAR)] | None
    seconds: Annotated[float, Field(ge=0, le=LONGEST_TURN)]


class Told(Section):
    """What a peer of any protocol tells: who it is, and its privacy ledger."""

    facts: Facts
    ledger: str


AnyAccount = TypeVar("AnyAccount", bound=Told)


class Account(Told):
    """All of it."""

    lines: tuple[Line, ...]


def account_limit(experiment: Experiment) -> int:
    """Return how many bytes the longest account of a run can have: reading one takes thirty times as much memory."""
    a_turn = _OF_TURN + _OF_PEER * len(experiment.roster()) + OF_ENTRY * ENTRIES_PER_ROUND
    return min(ACCOUNT_LIMIT, OF_FACTS + a_turn * max(planned(experiment)))


def encode_account(facts: dict[str, Any], state: State) -> bytes:
    """Return what a peer tells of itself; ``facts`` as ``Facts``."""
    told = {"facts": facts, "ledger": state.ledger, "lines": state.lines}
    return json.dumps(told, sort_keys=True, ensure_ascii=False).encode(errors="replace")


def read_account(
    kind: type[AnyAccount], told: bytes, limit: int, sender: str, number: int
) -> tuple[AnyAccount, Ledger]:
    """Read what a peer tells of itself, and its privacy ledger; what its lines say is not looked at.

    Args:
        kind: what it must be.
        told: what came, of any content.
        limit: bytes that are read at most.
        sender, number: whose account it must be.

    Raises:
        RefusedError: no honest peer tells this of itself.
    """
    if len(told) > limit:
        raise RefusedError(f"its account has {len(told)} bytes; at most {limit} are read")
    try:
        account = kind.model_validate_json(told)
        ledger = Ledger.from_json(account.ledger) if account.ledger else Ledger()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RefusedError(f"its account cannot be read: {short(place, 80)}: {short(first['msg'])}") from None
    except (UserError, RecursionError) as error:
        raise RefusedError(f"its account cannot be read: {short(str(error))}") from None
    if (account.facts.name, account.facts.number) != (sender, number):
        raise RefusedError("its account is that of another peer")
    return account, ledger


def decode_account(told: bytes, sender: str, number: int, experiment: Experiment) -> Account:
    """Read the account of the peer with this name and number.

    Args:
        told: what came, of any content.
        sender, number: whose account it must be.
        experiment: the description that all have agreed on, which says how many turns this peer has, and when.

    Raises:
        RefusedError: no honest peer tells this of itself.
    """
    account, ledger = read_account(Account, told, account_limit(experiment), sender, number)
    if any(line.peer != sender or line.turn != turn for turn, line in enumerate(account.lines, start=1)):
        raise RefusedError("its account does not tell its own turns one after the other")
    _check_turns(account, ledger, experiment)
    return account


def _check_turns(account: Account, ledger: Ledger, experiment: Experiment) -> None:
    """Refuse an account that tells of turns or of peers that the description does not have. Raises RefusedError."""
    number = account.facts.number
    turns = planned(experiment)[number]
    if len(account.lines) > turns:
        raise RefusedError(f"its account tells {len(account.lines)} turns, and it has {turns}")
    if problem := ledger.problem(turns):
        raise RefusedError(f"its account cannot be read: its privacy ledger {problem}")
    own: list[tuple[int | None, int | None]] = [(None, None)] * turns  # by its own timers, nobody knows the order
    if experiment.peers.order != "timers":
        own = [(wave, step_of(experiment, wave, number)) for wave in turns_of(experiment, number)]
    others = {str(client.name) for client in experiment.roster()} - {account.facts.name}
    for line, place in zip(account.lines, own, strict=False):
        if (line.wave, line.step) != place:
            raise RefusedError(f"its account tells its turn {line.turn} at a time that is another's")
        named = [*line.merged, *line.skipped, *line.refused, *line.traffic, *line.excluded]
        if unknown := [name for name in named if name not in others]:
            raise RefusedError(f"its account says of its turn {line.turn} that it met {short(unknown[0], 60)}, no peer")
        if len(set(line.excluded)) < len(line.excluded):
            raise RefusedError(f"its account names a peer twice among those that its turn {line.turn} excluded")
