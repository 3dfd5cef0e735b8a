"""Introductions: what a node says of itself, believed only where it can be true."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import Message

from common.exchange import (
    ACCOUNTANT,
    CLIENT,
    DELTA,
    HONEST,
    NAME,
    NOISE,
    PRIVATE,
    RECORDS,
    REFUSAL,
    SAMPLING,
    STEPS,
    STRATEGY,
)
from server.message_size import content_bytes
from server.refusal import short

INTRODUCTION_LIMIT = 10_000
"""Bytes of an introduction that are read."""
RECORDS_LIMIT = 10_000_000
ACCOUNTANTS = ("prv", "rdp")
LEAST_DELTA = 1e-30
"""Nobody needs less, and accountants work in double precision."""


@dataclass(frozen=True)
class Spending:
    """What a private client plans to spend a round, and how its ledger is to be read.

    Attributes:
        accountant: ``"prv"`` or ``"rdp"``.
        delta: its δ, below 1 / its records.
        noise_multiplier: standard deviation of the noise in units of its clip norm.
        sampling_rate: in (0, 1].
        steps_per_round: optimiser steps.
    """

    accountant: str
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps_per_round: int


@dataclass(frozen=True)
class Participant:
    """What one client said of itself when it joined. In a simulation it is true; a real hospital may lie.

    Attributes:
        node: Flower's id of its node, another one after each restart.
        number: its place in the description; what must not depend on node ids (order of sums, sampling) goes by it.
        name: as in the description; of a node that could not say it, what its key says, or ``"node ID"``.
        records: how many it trains on.
        strategy, honest: what it does; a malicious client says so only in a simulation.
        private: whether it trains with DP-SGD.
        spending: of a private client.
        problem: why it takes no part; empty if it does.
    """

    node: int
    number: int
    name: str
    records: int = 0
    strategy: str = ""
    honest: bool = False
    private: bool = False
    spending: Spending | None = None
    problem: str = ""


def read_introduction(
    node: int, reply: Message | None, names: Sequence[str], identities: Mapping[int, str] | None = None
) -> Participant:
    """Return who a node is; with a ``problem`` where that cannot be. Never raises.

    Args:
        node: which node was asked.
        reply: its answer; None: none came.
        names: the clients of the description, in their order.
        identities: node id → the name that its key belongs to; None: keys are not known, any name is believed.
    """
    owner = None if identities is None else identities.get(node)
    known = owner is not None and owner in names
    unknown = Participant(
        node, names.index(str(owner)) if known else len(names), str(owner) if known else f"node {node}"
    )
    if identities is not None and owner is None:
        return replace(unknown, problem="its key belongs to nobody in this federation")
    if reply is None:
        return replace(unknown, problem="did not introduce itself in time")
    try:
        return _read(node, reply, names, owner)
    except _ProblemError as problem:
        return replace(unknown, problem=str(problem))
    except Exception as error:
        return replace(unknown, problem=f"malformed introduction ({type(error).__name__})")


class _ProblemError(Exception):
    pass


def _read(node: int, reply: Message, names: Sequence[str], owner: str | None) -> Participant:
    if reply.has_error():
        raise _ProblemError(f"failed to introduce itself: {short(str(reply.error.reason))}")
    if content_bytes(reply.content) > INTRODUCTION_LIMIT:
        raise _ProblemError(f"introduced itself with more than {INTRODUCTION_LIMIT} bytes")
    about = reply.content.config_records[CLIENT]
    if REFUSAL in about:
        raise _ProblemError(short(str(about[REFUSAL])))
    name = short(str(about[NAME]))
    if owner is not None and name != owner:
        raise _ProblemError(f"its key belongs to '{owner}', but it says it is '{name}'")
    if name not in names:
        raise _ProblemError(f"introduced itself as '{name}', which is no client of the description")
    records = _whole(about, RECORDS, 1, RECORDS_LIMIT)
    private = _truth(about, PRIVATE)
    return Participant(
        node=node,
        number=names.index(name),
        name=name,
        records=records,
        strategy=short(str(about[STRATEGY])),
        honest=_truth(about, HONEST),
        private=private,
        spending=_spending(about, records) if private else None,
    )


def _spending(about: Mapping[str, Any], records: int) -> Spending:
    if about[ACCOUNTANT] not in ACCOUNTANTS:
        raise _ProblemError(
            f"introduced itself with {ACCOUNTANT} = {short(repr(about[ACCOUNTANT]))}; known are 'prv' and 'rdp'"
        )
    delta = _number(about, DELTA, LEAST_DELTA, 1.0)
    if delta * records >= 1:
        raise _ProblemError(
            f"introduced itself with {DELTA} = {delta:g}, which is not below 1/{records}, one over its records"
        )
    return Spending(
        accountant=str(about[ACCOUNTANT]),
        delta=delta,
        noise_multiplier=_number(about, NOISE, 1e-6, 1e9),
        sampling_rate=_number(about, SAMPLING, 1e-12, 1.0),
        steps_per_round=_whole(about, STEPS, 1, 10**9),
    )


def _whole(about: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = about[key]
    if type(value) is not int or not least <= value <= most:
        raise _ProblemError(
            f"introduced itself with {key} = {short(repr(value))}, not a whole number from {least} to {most}"
        )
    return value


def _number(about: Mapping[str, Any], key: str, least: float, most: float) -> float:
    value = about[key]
    if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
        raise _ProblemError(
            f"introduced itself with {key} = {short(repr(value))}, not a number from {least:g} to {most:g}"
        )
    return float(value)


def _truth(about: Mapping[str, Any], key: str) -> bool:
    value = about[key]
    if not isinstance(value, bool):
        raise _ProblemError(f"introduced itself with {key} = {short(repr(value))}, neither true nor false")
    return value
