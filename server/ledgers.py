"""The server's view of the privacy ledgers: a client may add to its ledger, and never take away from it."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from common.errors import UserError
from common.privacy import Entry, Ledger
from server.introduction import Participant
from server.progress import Progress


def facts(participant: Participant, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a client said of itself, as ``ledger.json`` shows it.

    Args:
        participant: what it says now.
        before: what was noted in the round before; a client that once trained without privacy stays non-private, for
            what it released then no later noise takes back.
    """
    private = participant.private and (before is None or bool(before["private"]))
    spending = participant.spending
    return {
        "name": participant.name,
        "number": participant.number,
        "strategy": participant.strategy,
        "honest": participant.honest,
        "private": private,
        "records": participant.records,
        "accountant": spending.accountant if spending and private else None,
        "delta": spending.delta if spending and private else None,
    }


def planned(participant: Participant, number: int) -> dict[str, Any] | None:
    """Return what a client planned to spend in round ``number``, an ``Entry`` as JSON; None for a non-private one."""
    spending = participant.spending
    if spending is None:
        return None
    return asdict(Entry(number, spending.noise_multiplier, spending.sampling_rate, spending.steps_per_round))


def problem_with(text: str, before: str, *, private: bool, last_round: int) -> str:
    """Return why a client's ledger cannot be accepted; empty if it can.

    Args:
        text: the ledger that came with an update; empty for none.
        before: the last accepted one.
        private: whether the client said that it trains privately.
        last_round: the round that is running; no entry can be of a later one.
    """
    try:
        ledger, older = (Ledger.from_json(told) if told else Ledger() for told in (text, before))
    except UserError as error:
        return str(error)
    problem = ledger.problem(last_round)
    if problem:
        return f"its privacy ledger {problem}"
    if not ledger.extends(older):
        return "its privacy ledger has lost entries that it had before"
    if private and not any(entry.round == last_round for entry in ledger.entries):
        return "it said that it trains privately, but its privacy ledger has no entry for this round"
    return ""


def ledger_table(progress: Progress) -> dict[str, Any]:
    """Return ``ledger.json``: each client's entries and the ε that follows; null where nothing is guaranteed.

    Each client's ε is that of its own accountant at its own δ. Rounds in which a private client was asked and whose
    reply was late, lost or refused count as it had announced (``assumed``): what it sent may have been seen.
    """
    rows, worst, guaranteed = [], 0.0, True
    for about in progress.participants.values():
        told = progress.ledgers.get(about["name"], "")
        confirmed = Ledger.from_json(told) if told else Ledger()
        assumed = [Entry(**entry) for entry in progress.unconfirmed.get(about["name"], [])] if about["private"] else []
        ledger = Ledger((*confirmed.entries, *assumed))
        spent = bool(about["private"]) and bool(ledger.entries)
        epsilons = ledger.epsilon_by_round(about["accountant"], about["delta"]) if spent else []
        epsilons = epsilons if all(math.isfinite(epsilon) for epsilon in epsilons) else []
        entries = ledger.entries_as_json()
        for entry in entries[len(confirmed.entries) :]:
            entry["assumed"] = True
        rows.append(
            {
                **about,
                "entries": entries,
                "epsilon_by_round": epsilons,
                "epsilon": epsilons[-1] if epsilons else None,
            }
        )
        if about["honest"]:
            guaranteed = guaranteed and bool(epsilons)
            worst = max([worst, *epsilons])
    return {"clients": rows, "worst_honest_epsilon": worst if guaranteed and worst > 0 else None}
