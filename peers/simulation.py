"""A federation of peers in one process: deterministic, and resumed wherever it was ended.

The protocol is that of ``peers.peer``, and every message goes through ``peers.wire``; only the transport is a call.
Where peers stand in the order is what their saved states say, so a wave that was done by half is finished first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

from common.config import Experiment
from common.errors import UserError
from common.local_update import Failed, Job, Learned
from common.progress import track
from peers.inquiry import Inquiry
from peers.neighbours import Neighbours, Unreachable, too_late, too_long
from peers.order import rounds_of, waves
from peers.peer import Peer
from peers.wire import Parcel, RefusedError

LearnAll = Callable[[Sequence[Job]], Iterable[Learned | Failed]]
"""How the trainings of one wave are carried out, in any order and place; results in the jobs' order, each kept as soon
as it comes."""


class InProcess:
    """The transport of a simulation: each question is a call.

    Args:
        peers: all of them; nobody asks itself.
        asker: who asks; for the answers' log only.
    """

    def __init__(self, peers: Sequence[Peer], asker: str) -> None:
        self._peers = {peer.name: peer for peer in peers}
        self._asker = asker

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        """Return what each peer answers; one that would answer too late is unreachable at once, nobody sleeps."""
        return {name: self._ask(self._peers[name], question, limit, timeout) for name, question in questions.items()}

    def _ask(self, peer: Peer, question: bytes, limit: int, timeout: float) -> bytes | Unreachable:
        if peer.delay > timeout:
            return Unreachable(too_late(timeout))
        try:
            answer = peer.answer(self._asker, question)
        except RefusedError as refused:
            return Unreachable(str(refused))
        return Unreachable(too_long(limit), offence=True) if len(answer) > limit else answer


def simulate(
    peers: Sequence[Peer], experiment: Experiment, learn_all: LearnAll, after_round: Callable[[int], None]
) -> None:
    """Let all peers take their turns, as far as they have not; each keeps its own state.

    Args:
        peers: all of them, in the roster's order.
        experiment: the description, with an order that is drawn by seed.
        learn_all: how the trainings of one wave are carried out.
        after_round: called with the number of each round, from 1, when its local updates are done and before the next
            one's begin; also for rounds that an earlier process has done, so it must know which those are.

    Raises:
        UserError: peers go by their own timers; or a state cannot be written.
    """
    if experiment.peers.order == "timers":
        raise UserError(
            "peers.order = 'timers': in one process there is no time that peers could go by; set it to 'random' or "
            "'shuffled', or use real processes (--runner processes)"
        )
    order, taken = waves(experiment), [0] * len(peers)
    rounds = rounds_of(experiment)
    for number, places in enumerate(track(rounds, "rounds of local updates", len(rounds)), start=1):
        for place in places:
            for member in order[place]:
                taken[member] += 1
            _wave(
                place,
                [peers[member] for member in order[place] if peers[member].state.turns < taken[member]],
                peers,
                learn_all,
            )
        after_round(number)


def _wave(place: int, members: Sequence[Peer], peers: Sequence[Peer], learn_all: LearnAll) -> None:
    """Do the rest of a wave; its peers merge what was there when it began, also where some have finished it."""
    if not members:
        return
    drafts = [member.begin(InProcess(peers, member.name), place) for member in members]
    results = learn_all([draft.job for draft in drafts])
    for member, draft, result in zip(members, drafts, results, strict=True):
        member.finish(draft, result)


def collect(experiment: Experiment, run: str, peers: Sequence[Peer]) -> dict[str, Parcel]:
    """Return every model that can be had by asking for it, in the roster's order.

    The models are what each peer sends, with the records that it claims; those of peers that cannot be reached, or
    answer with garbage, are missing, as for anybody who would deploy the outcome.
    """
    return collect_from(experiment, run, peers[0].state.arrays, InProcess(peers, ""), [peer.name for peer in peers])


def collect_from(
    experiment: Experiment, run: str, template: Mapping[str, Tensor], neighbours: Neighbours, names: Sequence[str]
) -> dict[str, Parcel]:
    """Return the models of these peers, as far as they can be had by asking for them; ``collect`` for any transport.

    Args:
        experiment, run: as for ``Peer``.
        template: tensors of the weights' names, shapes and types.
        neighbours: the way to the peers.
        names: whom to ask.
    """
    inquiry = Inquiry(experiment, run, template, neighbours)
    trained = {name: 0 for name, status in inquiry.ping_all(names).items() if status.version > 0}
    return inquiry.pull_all(trained)
