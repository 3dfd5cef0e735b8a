"""Learning curves: how good a federation's model was after so many local updates and so many bytes, from its folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.folder import RunFolder, read_lines


@dataclass(frozen=True)
class Step:
    """One place on a learning curve.

    Attributes:
        round: counts from 1; without a server, one for every N local updates of N peers.
        local_updates: of all clients together, so far: with a server, those that it accepted.
        bytes_moved: so far, each transfer once: what clients sent and received, or what peers pulled from each other.
        score: of the global or aggregated model on the public split, in [0, 1].
        own: mean score of the single models on the public split, as each came from its training; None: not measured.
        images: of the public split.
    """

    round: int
    local_updates: int
    bytes_moved: int
    score: float
    own: float | None
    images: int


def read_curve(folder: RunFolder) -> tuple[Step, ...]:
    """Return a run's learning curve, one step a round; none if no round has ended."""
    return curve(read_lines(folder.rounds))


def curve(lines: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Return the learning curve that the lines of ``rounds.jsonl`` tell.

    Peers write both sums into their lines. For a server they follow from its clients: an update that it refused moved
    its bytes and changed nothing. Rounds after which there was no model count, and are no place on the curve.
    """
    steps: list[Step] = []
    updates = moved = 0
    for line in lines:
        clients = line["clients"]
        updates += sum(client["status"] == "accepted" for client in clients)
        moved += sum(client["bytes_up"] + client["bytes_down"] for client in clients)
        if line["accuracy"] is None:  # no model could be had
            continue
        own = [client["accuracy"] for client in clients if client.get("accuracy") is not None]
        steps.append(
            Step(
                round=int(line["round"]),
                local_updates=int(line.get("local_updates", updates)),
                bytes_moved=int(line.get("bytes_moved", moved)),
                score=float(line["accuracy"]),
                own=sum(own) / len(own) if own else None,
                images=int(line["accuracy_records"]),
            )
        )
    return tuple(steps)
