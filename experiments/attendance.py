"""Who took part in which round, as rows that the report prints and draws."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.findings import roster_names
from experiments.run_files import Run
from experiments.run_formats import ClientRound, Round
from experiments.wording import NONE

OUTCOMES = ("accepted", "refused", "failed", "silent", "absent", "excluded")
"""What becomes of a client in a round; refused: its update was bad, failed: it sent none and said why."""


@dataclass(frozen=True)
class Attendance:
    """What became of one client of the description.

    Attributes:
        name: the client's.
        outcomes: one of ``OUTCOMES`` a round; None where nothing is known.
        times: outcome → how often and in which rounds, in words.
        excluded: since when it was not asked any more and why, in words; empty if it never was.
        ignored: replies that it sent beyond the first of a round.
    """

    name: str
    outcomes: tuple[str | None, ...]
    times: dict[str, str]
    excluded: str
    ignored: int


def attendance(run: Run) -> list[Attendance]:
    """Return every client of the description, in its order; nothing where each update of each was accepted."""
    rows = [_client(name, run.rounds) for name in roster_names(run)]
    return rows if any(set(row.outcomes) - {"accepted"} for row in rows) else []


def _client(name: str, rounds: Sequence[Round]) -> Attendance:
    # A node that claims a name already taken may be listed under it too: the client is the one that did most.
    lines = [
        min(
            (line for line in one.clients if line.name == name),
            key=lambda line: OUTCOMES.index(_outcome(line)),
            default=None,
        )
        for one in rounds
    ]
    outcomes = tuple(_outcome(line) if line else None for line in lines)
    since = [
        (one.round, line.reason) for one, line in zip(rounds, lines, strict=True) if line and line.status == "excluded"
    ]
    return Attendance(
        name=name,
        outcomes=outcomes,
        times={
            kind: _times([one.round for one, found in zip(rounds, outcomes, strict=True) if found == kind])
            for kind in OUTCOMES
        },
        excluded=f"since round {since[0][0]}: {since[0][1]}" if since else "",
        ignored=sum(line.ignored for line in lines if line),
    )


def _outcome(line: ClientRound) -> str:
    return "failed" if line.status == "refused" and line.strike is False else line.status


def _times(numbers: Sequence[int]) -> str:
    """Return ``"3 (rounds 2, 5–6)"``; a dash for never."""
    return f"{len(numbers)} (round{'s' if len(numbers) > 1 else ''} {spans(numbers)})" if numbers else NONE


def spans(numbers: Sequence[int]) -> str:
    """Return ``"2, 5–7"`` for 2, 5, 6 and 7."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return ", ".join(f"{low}" if low == high else f"{low}–{high}" for low, high in found)
