"""The roster: which connected node is which client."""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from common.config import Experiment
from common.errors import UserError
from common.exchange import CLIENT, CONFIG

QUERY_TIMEOUT = 120.0
"""Seconds a node may take to introduce itself."""


@dataclass(frozen=True)
class Participant:
    """What one client said of itself when it joined. In a simulation it is true; a real hospital may lie."""

    node: int
    number: int
    name: str
    records: int
    strategy: str
    honest: bool
    private: bool
    problem: str = ""
    """Why it could not introduce itself; such a client takes no part."""


class Attendance:
    """Knows the clients that are connected now, in the order of their numbers.

    Flower's node ids are random, so everything that must not depend on them (order of sums, sampling) goes by number.
    """

    def __init__(self, grid: Grid, experiment: Experiment) -> None:
        self._grid = grid
        self._experiment = experiment
        self._known: dict[int, Participant] = {}

    def wait(self, timeout: float) -> list[Participant]:
        """Wait until every client of the roster is connected, or ``timeout`` seconds; return those who are.

        Raises:
            UserError: fewer clients than the quorum have come.
        """
        deadline = time.monotonic() + timeout
        wanted = len(self._experiment.roster())
        while len(list(self._grid.get_node_ids())) < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        present = self.present()
        able = [participant for participant in present if not participant.problem]
        if len(able) < self._experiment.quorum():
            problems = "; ".join(
                f"{participant.name}: {participant.problem}" for participant in present if participant.problem
            )
            raise UserError(
                f"federation.quorum = {self._experiment.quorum()}: only {len(able)} of {wanted} clients can take part"
                + (f" ({problems})" if problems else f" after {timeout:.0f} s; start the others, or lower the quorum")
            )
        return present

    def present(self) -> list[Participant]:
        """Return the clients that are connected now; newcomers are asked to introduce themselves."""
        connected = set(self._grid.get_node_ids())
        self._known = {node: participant for node, participant in self._known.items() if node in connected}
        newcomers = self._introduce(sorted(connected - self._known.keys()))
        for newcomer in sorted(newcomers, key=lambda participant: participant.node):
            taken = {other.number for other in self._known.values() if not other.problem}
            if not newcomer.problem and newcomer.number in taken:
                newcomer = replace(newcomer, problem=f"client number {newcomer.number} is already taken")
            self._known[newcomer.node] = newcomer
        return sorted(self._known.values(), key=lambda participant: (participant.number, participant.node))

    def _introduce(self, nodes: list[int]) -> list[Participant]:
        if not nodes:
            return []
        # A record of its own for each message: Flower empties the ones it has sent.
        messages = [
            Message(
                RecordDict({CONFIG: ConfigRecord({"experiment": self._experiment.to_toml()})}),
                dst_node_id=node,
                message_type=MessageType.QUERY,
            )
            for node in nodes
        ]
        replies = {
            reply.metadata.src_node_id: reply for reply in self._grid.send_and_receive(messages, timeout=QUERY_TIMEOUT)
        }
        names = [str(client.name) for client in self._experiment.roster()]
        return [_participant(node, replies.get(node), names) for node in nodes]


def _participant(node: int, reply: Message | None, names: list[str]) -> Participant:
    unknown = Participant(node, len(names), f"node {node}", 0, "", False, False)
    if reply is None:
        return replace(unknown, problem="did not introduce itself in time")
    if reply.has_error():
        lines = str(reply.error.reason).strip().splitlines()
        return replace(unknown, problem=(lines[-1] if lines else "failed to introduce itself")[:300])
    try:
        about = reply.content.config_records[CLIENT]
        if "refusal" in about:
            return replace(unknown, problem=str(about["refusal"])[:300])
        number, records = about["number"], about["records"]
        if not isinstance(number, int) or not 0 <= number < len(names) or not isinstance(records, int) or records < 1:
            return replace(unknown, problem=f"introduced itself as number {number!r} with {records!r} records")
        return Participant(
            node,
            number,
            names[number],
            records,
            str(about["strategy"])[:200],
            about["honest"] is True,
            about["private"] is True,
        )
    except Exception as error:
        return replace(unknown, problem=f"malformed introduction ({type(error).__name__})")


class Present:
    """The part of a Grid that a Flower strategy samples from: only these nodes, in this order."""

    def __init__(self, nodes: Iterable[int]) -> None:
        self._nodes = list(nodes)

    def get_node_ids(self) -> list[int]:
        """Return the node ids."""
        return self._nodes


class seeded_sampling:  # noqa: N801  (a context manager that reads like a phrase)
    """Seed Python's global random state, which Flower's strategies sample with, and put it back afterwards."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._before = random.getstate()
        random.seed(self._seed)

    def __exit__(self, *_: object) -> None:
        random.setstate(self._before)
