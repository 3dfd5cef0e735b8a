"""The roster: which connected node is which client, and waiting for those who are missing."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from common.config import Experiment
from common.data import Dataset
from common.errors import UserError
from common.exchange import CONFIG, told
from common.progress import note
from server.introduction import Participant, read_introduction
from server.refusal import LOST

POLL = 0.2
"""Seconds between two looks at who is there."""
ASK_AGAIN = 120.0
"""Seconds after which a node that has not introduced itself is asked once more: it may have been restarted."""


@dataclass
class _Asked:
    """A node that was asked who it is, by which messages, and when last."""

    messages: list[str] = field(default_factory=list)
    last: float = 0.0


class Attendance:
    """Knows the clients that are connected now, in the order of their numbers.

    Nodes are asked who they are without waiting for one that hangs; who answers late joins the round after. A lost node
    is forgotten: when it comes back, or another takes its place, it introduces itself anew.

    Args:
        grid: the way to the nodes.
        experiment: the description.
        dataset: the server's data, which nodes are told the form of.
        run: the token of this server start.
        identities: node id → the name that its key belongs to; None: keys are not known, any name is believed.
        clock, sleep: how time passes, in seconds; tests have a faster one.
    """

    def __init__(
        self,
        grid: Grid,
        experiment: Experiment,
        dataset: Dataset,
        run: str = "",
        *,
        identities: Mapping[int, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._experiment, self._dataset, self._run = grid, experiment, dataset, run
        self._identities, self._clock, self._sleep = identities, clock, sleep
        self._names = tuple(str(client.name) for client in experiment.roster())
        self._known: dict[int, Participant] = {}
        self._asked: dict[int, _Asked] = {}
        self._rivals: dict[int, Participant] = {}
        self._said: dict[str, str] = {}

    def assemble(self, finished_rounds: int = 0, excluded: Collection[str] = ()) -> list[Participant]:
        """Wait for every client of the roster, at most ``federation.join_timeout`` seconds; return those who are there.

        Args:
            finished_rounds: which nodes are told, since a private one must then have a ledger.
            excluded: names that are not waited for.

        Raises:
            UserError: fewer clients than the quorum can take part.
        """
        wanted = [name for name in self._names if name not in excluded]
        present = self._gather(finished_rounds, len(wanted), excluded)
        able = [one for one in present if not one.problem and one.name not in excluded]
        if len(able) < self._experiment.quorum():
            problems = [f"{one.name}: {one.problem}" for one in present if one.problem]
            problems += [f"{name}: excluded" for name in self._names if name in excluded]
            raise UserError(
                f"federation.quorum = {self._experiment.quorum()}: only {len(able)} of {len(self._names)} clients can "
                "take part"
                + (
                    f" ({'; '.join(problems)})"
                    if problems
                    else f" after {self._experiment.federation.join_timeout:g} s; start the others, or lower the quorum"
                )
            )
        return present

    def present(self, finished_rounds: int = 0, excluded: Collection[str] = ()) -> list[Participant]:
        """Return the clients that are there now, waiting only where they are fewer than the quorum.

        Newcomers, and who had a problem before, introduce themselves. Waits at most ``federation.join_timeout``
        seconds, and only while somebody is missing who could still come.
        """
        return self._gather(finished_rounds, self._experiment.quorum(), excluded)

    def _gather(self, finished_rounds: int, needed: int, excluded: Collection[str]) -> list[Participant]:
        deadline = self._clock() + self._experiment.federation.join_timeout
        self._look(finished_rounds, again=True)
        if self._waits_for(needed, excluded):
            here = {one.name for one in self._known.values() if not one.problem}
            missing = ", ".join(name for name in self._names if name not in here and name not in excluded)
            note(f"waiting for {missing}, at most {self._experiment.federation.join_timeout:g} s")
        while self._waits_for(needed, excluded) and self._clock() < deadline:
            self._sleep(POLL)
            self._look(finished_rounds)
        late = [self._late(node) for node in self._asked if node not in self._known]
        return sorted([*self._known.values(), *late], key=lambda one: (one.number, bool(one.problem), one.node))

    def _waits_for(self, needed: int, excluded: Collection[str]) -> bool:
        """Tell whether clients are missing and could still come: who is there and unable has said why."""
        able = {one.name for one in self._known.values() if not one.problem} - set(excluded)
        heard = {one.name for one in self._known.values()}
        strangers = len(heard - set(self._names))
        missing = set(self._names) - heard - set(excluded)
        return len(able) < needed and len(missing) > strangers

    def _look(self, finished_rounds: int, *, again: bool = False) -> None:
        """See who is connected, ask newcomers (``again``: also who had a problem), and hear who has answered."""
        connected = set(self._grid.get_node_ids())
        self._known = {node: known for node, known in self._known.items() if node in connected}
        self._asked = {node: asked for node, asked in self._asked.items() if node in connected}
        for rival in [self._rivals.pop(node) for node in sorted(self._rivals)]:
            if rival.node in connected:  # whoever held its name may be gone by now
                self._admit(rival)
        quiet = {node for node, known in self._known.items() if not (again and known.problem)}
        waiting = {node for node, asked in self._asked.items() if self._clock() - asked.last < ASK_AGAIN}
        self._ask(sorted(connected - quiet - waiting), finished_rounds)
        self._hear()

    def _ask(self, nodes: list[int], finished_rounds: int) -> None:
        if not nodes:
            return
        # A record of its own for each message: Flower empties the ones it has sent.
        messages = [
            Message(
                RecordDict({CONFIG: told(self._experiment, finished_rounds, self._run, self._dataset)}),
                dst_node_id=node,
                message_type=MessageType.QUERY,
            )
            for node in nodes
        ]
        for node, identity in zip(nodes, self._grid.push_messages(messages), strict=True):
            if identity:  # a node that was lost meanwhile is given none
                asked = self._asked.setdefault(node, _Asked())
                asked.messages.append(identity)
                asked.last = self._clock()

    def _hear(self) -> None:
        sent = {identity: node for node, asked in self._asked.items() for identity in asked.messages}
        if not sent:
            return
        replies = list(self._grid.pull_messages(sent))
        answers = {sent[to]: reply for reply in replies if (to := reply.metadata.reply_to_message_id) in sent}
        for node, answer in sorted(answers.items()):
            if answer.has_error() and answer.error.code in LOST:
                self._asked[node].messages.clear()  # nobody said anything: it is asked once more later
                continue
            del self._asked[node]
            self._admit(read_introduction(node, answer, self._names, self._identities))

    def _admit(self, newcomer: Participant) -> None:
        """Note who a node is; of two with the same name the one that introduced itself first keeps it."""
        taken = {one.name for one in self._known.values() if not one.problem and one.node != newcomer.node}
        if not newcomer.problem and newcomer.name in taken:
            self._rivals[newcomer.node] = newcomer
            newcomer = replace(newcomer, problem=f"the name '{newcomer.name}' is taken by a node that is connected")
        self._known[newcomer.node] = newcomer
        said = (
            f"cannot take part: {newcomer.problem}" if newcomer.problem else f"joined, with {newcomer.records} records"
        )
        if said != self._said.get(newcomer.name):
            self._said[newcomer.name] = said
            note(f"{newcomer.name} {said}")

    def _late(self, node: int) -> Participant:
        return read_introduction(node, None, self._names, self._identities)
