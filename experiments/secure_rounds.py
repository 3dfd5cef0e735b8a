"""What a round of the secure protocol leaves in a run's folder: lines, transcripts, and who takes no further part."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.config import Experiment
from common.errors import UserError
from common.local_update import Failed, Learned
from peers.secure.rounds import RoundResult
from peers.secure.ruling import TOO_MANY
from peers.secure.simulation import Traffic
from peers.secure.transcript import write_transcript
from server.lines import spoken_score


def peer_line(
    names: Mapping[int, str],
    peer: int,
    result: RoundResult,
    excluded: Mapping[str, Mapping[str, Any]],
    failure: str = "",
) -> dict[str, Any]:
    """Return what became of a peer in a round, without what only the peer itself knows (``own_part``).

    Args:
        names: number → name, of all peers.
        peer: its number.
        result: of the round, as an honest peer sees it.
        excluded: who was caught in an earlier round: name → since which ``round``, and the ``reason``.
        failure: why its training failed; empty: it did not, or nobody knows.

    Returns:
        Among others ``counts``: 1, or its trust score, where its update is in the step; 0: the rule left it out, or
        there is no step.
    """
    name, culprit = names[peer], next((one for one in result.culprits if one.peer == peer), None)
    ruling = result.outcomes[-1].ruling
    counts = float(ruling.weights.get(peer, 0)) if result.step is not None else 0.0
    status, reason = "accepted" if counts else "refused", ""
    if name in excluded:
        status, reason = "excluded", excluded[name]["reason"]
    elif culprit is not None:
        reason = with_names(f"it {culprit.reason} ({culprit.phase})", names)
    elif peer in ruling.silent:
        status, reason = status if counts else "silent", silence(ruling.silent[peer])
    elif failure:
        status, reason = "refused", f"its own training failed, and it voted by lot: {failure}"
    elif peer in ruling.unheard:
        reason = "too many did not get what it dealt"
    elif result.step is not None and not counts:
        reason = "the rule left it out"
    strike = culprit is not None and name not in excluded
    return {"name": name, "status": status, "reason": reason, "strike": strike, "ignored": 0, "counts": counts}


def silence(phase: str) -> str:
    """Say since when a peer was heard no more, and why: a clause that begins with ``it``."""
    if phase == TOO_MANY:
        return "it complained of more peers than may cheat, and was heard no more"
    return f"it said nothing in the phase '{phase}'"


def with_names(sentence: str, names: Mapping[int, str]) -> str:
    """Return a sentence of the protocol, which counts peers from 0, with their names."""

    def named(found: re.Match[str]) -> str:
        return ", ".join(names.get(int(number), number) for number in found[1].split(", "))

    return re.sub(r"\b(?:peers?|member) (\d+(?:, \d+)*)\b", named, sentence)


def own_part(learned: Learned | Failed | None, traffic: Traffic | None) -> dict[str, Any]:
    """Return the rest of a peer's line: what only the peer itself knows; None: it took no part."""
    return {
        "local_updates": int(isinstance(learned, Learned)),
        "examples": learned.records if isinstance(learned, Learned) else 0,
        "accuracy": None,
        "metrics": learned.metrics if isinstance(learned, Learned) else {},
        "norm": None,
        "bytes_up": traffic.up if traffic else 0,
        "bytes_down": traffic.down if traffic else 0,
    }


def exclusions(number: int, result: RoundResult, names: Mapping[int, str]) -> dict[str, dict[str, Any]]:
    """Return who was caught in a round, and takes no part from the next one on."""
    return {
        names[culprit.peer]: {
            "round": number + 1,
            "reason": with_names(f"it {culprit.reason} (round {number}, {culprit.phase})", names),
        }
        for culprit in result.culprits
    }


def write_transcripts(folder: Path, number: int, result: RoundResult, names: Mapping[int, str]) -> None:
    """Write what was said in a round, a file an aggregation. Raises UserError: a full disk."""
    for part, outcome in enumerate(result.outcomes, start=1):
        name = f"round-{number}.jsonl" if len(result.outcomes) == 1 else f"round-{number}-{part}.jsonl"
        write_transcript(folder / name, outcome.ruling, outcome.boards, names)


def summary(line: Mapping[str, Any], rounds: int) -> str:
    """Return one sentence about a round that has ended, of ``rounds``."""
    troubled = [f"; {peer['name']} {peer['status']}: {peer['reason']}" for peer in line["clients"] if peer["reason"]]
    ended = spoken_score(line) if line["status"] == "aggregated" else f"no result: {line['reason']}"
    return f"round {line['round']} of {rounds}: {ended}{''.join(troubled)}"


def check_skipped(experiment: Experiment, lines: Sequence[Mapping[str, Any]]) -> None:
    """End a run that comes to nothing. Raises UserError: too many rounds in a row had no result."""
    limit = experiment.federation.skipped_rounds_limit
    last = [line["status"] for line in lines[-limit - 1 :]]
    if len(last) > limit and all(status == "skipped" for status in last):
        raise UserError(
            f"{limit + 1} rounds in a row had no result, the last: {lines[-1]['reason']}; finished rounds are kept, "
            "and the same command tries again"
        )
