"""What a client may spend and what it has spent: the plan before the first round, the ledger over all of them.

The number that counts is the ε after all rounds, for each client's own records: every round releases the client's
weights, and the rounds compose. The number of a client's records is taken to be public (it travels as the weight of its
update); what the accountants assume is in ``common/accounting.py``.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common import accounting
from common.description import Privacy
from common.errors import UserError


@dataclass(frozen=True)
class Plan:
    """One client's DP-SGD, fixed before its first round. Made by ``calibrate``.

    Attributes:
        noise_multiplier: standard deviation of the noise on the sum of clipped gradients, in units of ``clip_norm``.
        sampling_rate: probability of each record to be in a step's batch, in (0, 1].
        batch_size: expected records in a step's batch, which gradients are divided by.
        records: records that the plan was made for; training on more of them would break it.
        steps_per_round: optimiser steps in a round, empty batches among them.
        clip_norm: bound on the Euclidean norm of one record's gradient over all parameters.
        accountant: ``"prv"`` or ``"rdp"``.
        delta: δ, below 1 / ``records``.
        epsilon: the ε that holds after all rounds.
    """

    noise_multiplier: float
    sampling_rate: float
    batch_size: int
    records: int
    steps_per_round: int
    clip_norm: float
    accountant: str
    delta: float
    epsilon: float


@dataclass(frozen=True)
class Entry:
    """What one round of training released.

    Attributes:
        round: from 1.
        noise_multiplier, sampling_rate, steps: the mechanism, as in ``Plan``; empty batches count as steps.
        release: what names this release; training again with the same name repeats it bit for bit and costs nothing
            more. Empty for noise from the operating system, where each release is another one.
    """

    round: int
    noise_multiplier: float
    sampling_rate: float
    steps: int
    release: str = ""


def calibrate(privacy: Privacy, *, records: int, batch_size: int, local_epochs: int, rounds: int) -> Plan:
    """Return the plan whose ε holds after all ``rounds``, for a client with so many records.

    A given ``privacy.noise_multiplier`` is used as it is, and ``epsilon`` is what follows from it. Takes up to some
    seconds with PRV, and nothing when asked again: equal clients share the answer within a process.

    Raises:
        UserError: δ is not below 1 / records, or no noise keeps within the budget.
    """
    if privacy.delta * records >= 1:
        raise UserError(
            f"privacy.delta = {privacy.delta:g} is not below 1/{records}, one over this client's records, so it would "
            f"allow to publish a whole record; set privacy.delta to {0.1 / records:.0e} or less"
        )
    sampling_rate = min(1.0, batch_size / records)
    steps_per_round = local_epochs * math.ceil(records / batch_size)
    steps = steps_per_round * rounds
    noise_multiplier = privacy.noise_multiplier
    if noise_multiplier is None:
        noise_multiplier = accounting.noise_for(
            privacy.epsilon, privacy.delta, sampling_rate, steps, privacy.accountant
        )
    return Plan(
        noise_multiplier=noise_multiplier,
        sampling_rate=sampling_rate,
        batch_size=min(batch_size, records),
        records=records,
        steps_per_round=steps_per_round,
        clip_norm=privacy.clip_norm,
        accountant=privacy.accountant,
        delta=privacy.delta,
        epsilon=accounting.epsilon_of(((noise_multiplier, sampling_rate, steps),), privacy.accountant, privacy.delta),
    )


def epsilon_of(entries: tuple[Entry, ...], accountant: str, delta: float) -> float:
    """Return the ε that holds with this δ after these entries together; 0.0 for none, inf where no finite ε holds."""
    history = tuple((entry.noise_multiplier, entry.sampling_rate, entry.steps) for entry in entries)
    return accounting.epsilon_of(history, accountant, delta)


ENTRIES_LIMIT, ENTRIES_PER_ROUND = 10_000, 8
"""Entries of a ledger that are believed: a round is released again when a run is resumed, but not time after time."""
EPSILONS_LIMIT = 100
"""Rounds for which ε is computed; each takes PRV a tenth of a second to some seconds."""
_SETTINGS_LIMIT = 256
"""Different settings in one ledger; what a client sends must not keep the server's accountant busy for hours."""


class Ledger:
    """All that one client has released so far, round by round; kept in its state over rounds and restarts."""

    def __init__(self, entries: tuple[Entry, ...] = ()) -> None:
        self._entries = tuple(entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every release, in the order in which they were made."""
        return self._entries

    def spend(self, entry: Entry) -> None:
        """Enter a release; one that repeats an entered one bit for bit (same round, same name) is entered already."""
        if not entry.release or entry not in self._entries:
            self._entries = (*self._entries, entry)

    def extends(self, older: "Ledger") -> bool:
        """Tell whether this ledger begins with all of the older one's entries, in their order."""
        return self._entries[: len(older.entries)] == older.entries

    def problem(self, last_round: int) -> str:
        """Return why no client can have such a ledger in round ``last_round``, said of the ledger; empty if one can.

        Without these limits a client could name rounds that have not been, or keep the accountant busy for hours.
        """
        if len(self._entries) > ENTRIES_LIMIT:
            return f"has {len(self._entries)} entries; at most {ENTRIES_LIMIT} are read"
        for number, entries in Counter(entry.round for entry in self._entries).items():
            if number > last_round:
                return f"has an entry for round {number}, but the last round is {last_round}"
            if entries > ENTRIES_PER_ROUND:
                return f"has {entries} entries for round {number}; at most {ENTRIES_PER_ROUND} are believed"
        return ""

    def epsilon(self, accountant: str, delta: float) -> float:
        """Return the ε of all entries together."""
        return epsilon_of(self._entries, accountant, delta)

    def epsilon_by_round(self, accountant: str, delta: float) -> list[float]:
        """Return the ε that held after each round that has an entry, in the rounds' order; it never falls.

        Over more than ``EPSILONS_LIMIT`` rounds it is computed for evenly spaced ones, the last among them; a round
        between is given the next one's, which is never less.
        """
        entries = sorted(self._entries, key=lambda entry: entry.round)
        ends = [place for place in range(1, len(entries) + 1) if _last_of_round(entries, place)]
        stride = max(1, math.ceil(len(ends) / EPSILONS_LIMIT))
        epsilons: list[float] = []
        for begin in range(0, len(ends), stride):
            part = ends[begin : begin + stride]
            epsilons += [epsilon_of(tuple(entries[: part[-1]]), accountant, delta)] * len(part)
        return epsilons

    def entries_as_json(self) -> list[dict[str, Any]]:
        """Return the entries for ``ledger.json``: round, noise_multiplier, sampling_rate, steps."""
        return [
            {
                "round": entry.round,
                "noise_multiplier": entry.noise_multiplier,
                "sampling_rate": entry.sampling_rate,
                "steps": entry.steps,
            }
            for entry in self._entries
        ]

    def to_json(self) -> str:
        """Return the ledger as one line of text, for Flower's client state or a file."""
        entries = [
            {**told, "release": entry.release}
            for told, entry in zip(self.entries_as_json(), self._entries, strict=True)
        ]
        return json.dumps({"version": 1, "entries": entries})

    @classmethod
    def from_json(cls, text: str) -> "Ledger":
        """Read ``to_json``'s text.

        Raises:
            UserError: it is not such a text. What was spent is then unknown, so training must not go on.
        """
        try:
            told = json.loads(text)
            if not isinstance(told, dict) or told.get("version") != 1 or not isinstance(told.get("entries"), list):
                raise ValueError("it is not version 1 of a ledger")
            entries = tuple(_entry(item) for item in told["entries"])
            if len({(entry.noise_multiplier, entry.sampling_rate) for entry in entries}) > _SETTINGS_LIMIT:
                raise ValueError(f"it holds more than {_SETTINGS_LIMIT} different settings")
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"the privacy ledger is damaged ({error}), so what this client has spent is unknown; restore the "
                "ledger, or start a new run"
            ) from None
        return cls(entries)


def _last_of_round(entries: list[Entry], place: int) -> bool:
    return place == len(entries) or entries[place].round > entries[place - 1].round


def _entry(told: Any) -> Entry:
    if not isinstance(told, Mapping) or set(told) != {"round", "noise_multiplier", "sampling_rate", "steps", "release"}:
        raise ValueError(f"an entry is {told!r:.80}")
    entry = Entry(**told)
    numbers = (entry.noise_multiplier, entry.sampling_rate)
    counts = (entry.round, entry.steps)
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise ValueError(f"an entry is {told!r:.80}")
    if any(isinstance(count, bool) or not isinstance(count, int) for count in counts):
        raise ValueError(f"an entry is {told!r:.80}")
    fits = 1 <= entry.round <= 10**9 and 0 <= entry.steps <= 10**9 and isinstance(entry.release, str)
    if not fits or not 1e-6 <= entry.noise_multiplier <= 1e9 or not 0 < entry.sampling_rate <= 1:
        raise ValueError(f"an entry is {told!r:.80}")
    return entry
