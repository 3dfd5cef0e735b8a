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

POLLING = 3
"""A strategy asks for the nodes once or twice; more often, it waits."""
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

    def __init__(self, grid: Grid, experiment: Experiment, finished_rounds: int = 0) -> None:
        self._grid = grid
        self._experiment = experiment
        self._finished_rounds = finished_rounds
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

    def present(self, finished_rounds: int | None = None) -> list[Participant]:
        """Return the clients that are connected now; newcomers, and who failed to before, introduce themselves."""
        if finished_rounds is not None:
            self._finished_rounds = finished_rounds
        connected = set(self._grid.get_node_ids())
        able = {node: participant for node, participant in self._known.items() if not participant.problem}
        self._known = {node: participant for node, participant in able.items() if node in connected}
        newcomers = self._introduce(sorted(connected - self._known.keys()))
        for newcomer in sorted(newcomers, key=lambda participant: participant.node):
            taken = {other.number for other in self._known.values() if not other.problem}
            if not newcomer.problem and newcomer.number in taken:
                newcomer = replace(newcomer, problem=f"client number {newcomer.number} is already taken")
            self._known[newcomer.node] = newcomer
        return sorted(self._known.values(), key=lambda participant: (participant.number, participant.node))

    def _told(self) -> ConfigRecord:
        return ConfigRecord({"experiment": self._experiment.to_toml(), "server-round": self._finished_rounds})

    def _introduce(self, nodes: list[int]) -> list[Participant]:
        if not nodes:
            return []
        # A record of its own for each message: Flower empties the ones it has sent.
        messages = [
            Message(
                RecordDict({CONFIG: self._told()}),
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
    """The part of a Grid that a Flower strategy samples from: only these nodes, in this order.

    Flower's strategies poll for more nodes without end; here nobody joins within a round, so polling is an error.
    """

    def __init__(self, nodes: Iterable[int]) -> None:
        self._nodes = list(nodes)
        self._asked = 0

    def get_node_ids(self) -> list[int]:
        """Return the node ids. Raises RuntimeError when asked as often as only polling does."""
        self._asked += 1
        if self._asked > POLLING:
            raise RuntimeError(f"it waits for more than the {len(self._nodes)} clients that can take part")
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
