"""The lines of ``rounds.jsonl`` of a federation without a server: what each N local updates of N peers came to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.config import Experiment
from server.lines import spoken_score


@dataclass(frozen=True)
class Scores:
    """How good the models are when a round has ended, on the public split.

    Attributes:
        aggregated: of the aggregated model, as ``server.lines.told_score`` tells it; None: no model could be had.
        own: of each peer's own model, by name, a fraction; None: it has not trained yet, or nobody knows.
        records: images of the public split.
    """

    aggregated: Mapping[str, Any] | None
    own: Mapping[str, float | None]
    records: int


def updates_in_order(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return all peers' lines as ``updates.jsonl`` holds them: by step, or by turn where nobody knows the order."""
    return sorted(lines, key=lambda line: (line["turn"], line["peer"]) if line["step"] is None else (line["step"], ""))


def updates_of_round(number: int, updates: Sequence[Mapping[str, Any]], peers: int) -> Sequence[Mapping[str, Any]]:
    """Return the local updates of round ``number``, from 1: the number-th N of them, in their order."""
    return updates[(number - 1) * peers : number * peers]


def round_line(
    number: int, experiment: Experiment, updates: Sequence[Mapping[str, Any]], scores: Scores, seconds: float
) -> dict[str, Any]:
    """Return the line of a round.

    A peer is ``refused`` where another peer refused what it answered, ``silent`` where another could not reach it,
    ``excluded`` where all who asked in this round ask it no more; where its own training failed it is refused without a
    strike. Else it is ``accepted``, also if it had no turn in this round.

    Args:
        number: from 1.
        experiment: the description.
        updates: every local update until now, in order, those of this round among them.
        scores: of the models now.
        seconds: that the round took.
    """
    names = [str(client.name) for client in experiment.roster()]
    now = updates_of_round(number, updates, len(names))
    before = updates[: number * len(names)]
    return {
        "round": number,
        "status": "aggregated" if scores.aggregated is not None else "skipped",
        "reason": "" if scores.aggregated is not None else "no peer's model could be had",
        "clients": [_peer(name, now, before, scores) for name in names],
        **(scores.aggregated or {"accuracy": None, "accuracy_records": scores.records}),
        "local_updates": sum(not line["failed"] for line in before),
        "bytes_moved": sum(line["bytes"] for line in before),
        "seconds": round(seconds, 3),
    }


def summary(line: Mapping[str, Any], rounds: int) -> str:
    """Return one sentence about a round that has ended, of ``rounds``."""
    troubled = [f"; {peer['name']} {peer['status']}: {peer['reason']}" for peer in line["clients"] if peer["reason"]]
    right = "no model could be had" if line["accuracy"] is None else spoken_score(line)
    return (
        f"round {line['round']} of {rounds}: {line['local_updates']} local updates so far, "
        f"{line['bytes_moved'] / 1e6:.1f} MB moved, {right}{''.join(troubled)}"
    )


def _peer(
    name: str, now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], scores: Scores
) -> dict[str, Any]:
    own = [line for line in now if line["peer"] == name]
    others = [line for line in now if line["peer"] != name]
    last = [line for line in before if line["peer"] == name and not line["failed"]][-1:]
    status, reason, strike = _standing(name, own, others)
    mine = [bytes_ for line in own for bytes_ in line["traffic"].values()]
    theirs = [line["traffic"][name] for line in others if name in line["traffic"]]
    return {
        "name": name,
        "status": status,
        "reason": reason,
        "strike": strike,
        "ignored": 0,
        "examples": last[0]["records"] if last else 0,
        "accuracy": scores.own.get(name),
        "metrics": last[0]["metrics"] if last else {},
        "norm": last[0]["norm"] if last else None,
        "local_updates": sum(not line["failed"] for line in own),
        "bytes_up": sum(asked for asked, _ in mine) + sum(answered for _, answered in theirs),
        "bytes_down": sum(answered for _, answered in mine) + sum(asked for asked, _ in theirs),
    }


def _standing(
    name: str, own: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]
) -> tuple[str, str, bool]:
    """Return a peer's status in a round, the reason, and whether an answer of its was bad."""
    askers = [line for line in others if line["traffic"] or line["excluded"]]
    if askers and all(name in line["excluded"] for line in askers):
        return "excluded", "too many of its answers were refused by each peer that had a turn", False
    if refused := [line for line in others if name in line["refused"]]:
        return "refused", f"{refused[-1]['peer']} refused its answer: {refused[-1]['refused'][name]}", True
    if failed := [line for line in own if line["failed"]]:
        return "refused", f"its own training failed: {failed[-1]['failed']}", False
    if silent := [line for line in others if name in line["skipped"]]:
        return "silent", f"{silent[-1]['peer']} skipped it: {silent[-1]['skipped'][name]}", False
    return "accepted", "", False
