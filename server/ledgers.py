"""The server's view of the privacy ledgers: a client may add to its ledger, and never take away from it."""

import math
from typing import Any

from common.config import Experiment
from common.errors import UserError
from common.privacy import Entry, Ledger, calibrate
from server.progress import Progress


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


def ledger_table(experiment: Experiment, progress: Progress) -> dict[str, Any]:
    """Return ``ledger.json``: each client's entries and the ε that follows; null where nothing is guaranteed.

    Rounds in which a private client was asked and whose reply was late, lost or refused count as planned (``assumed``):
    what it sent may have been seen.
    """
    rows, worst, guaranteed = [], 0.0, True
    for about in progress.participants.values():
        told = progress.ledgers.get(about["name"], "")
        confirmed = Ledger.from_json(told) if told else Ledger()
        assumed = _assumed(experiment, about, progress.unconfirmed.get(about["name"], []))
        ledger = Ledger((*confirmed.entries, *assumed))
        spent = bool(about["private"]) and bool(ledger.entries)
        epsilons = ledger.epsilon_by_round(experiment.privacy.accountant, experiment.privacy.delta) if spent else []
        epsilons = epsilons if all(math.isfinite(epsilon) for epsilon in epsilons) else []
        entries = ledger.entries_as_json()
        for entry in entries[len(confirmed.entries) :]:
            entry["assumed"] = True
        rows.append(
            {
                **about,
                "accountant": experiment.privacy.accountant,
                "delta": experiment.privacy.delta,
                "entries": entries,
                "epsilon_by_round": epsilons,
                "epsilon": epsilons[-1] if epsilons else None,
            }
        )
        if about["honest"]:
            guaranteed = guaranteed and bool(epsilons)
            worst = max([worst, *epsilons])
    return {"clients": rows, "worst_honest_epsilon": worst if guaranteed and worst > 0 else None}


def _assumed(experiment: Experiment, about: dict[str, Any], rounds: list[int]) -> list[Entry]:
    if not about["private"] or not rounds:
        return []
    plan = calibrate(
        experiment.privacy,
        records=about["records"],
        batch_size=experiment.training.batch_size,
        local_epochs=experiment.training.local_epochs,
        rounds=experiment.federation.rounds,
    )
    return [Entry(number, plan.noise_multiplier, plan.sampling_rate, plan.steps_per_round) for number in rounds]
