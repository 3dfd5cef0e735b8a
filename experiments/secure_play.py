"""The rounds of one real peer: it plays each, or sits it out, and finds out what came of it.

What it deals and signs is random by the operating system alone, never by the seed. A round that it has begun and not
ended, since its process was ended, it sits out: it never says two things in one round. What came of it, it takes from
the others: what more than f of them tell alike.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from common.config import Experiment
from common.exchange import load_arrays
from common.local_update import Failed, Job, Learned
from common.threads import torch_threads
from experiments.peer_node import initial
from experiments.peer_report import Place
from experiments.root_update import root_update
from experiments.secure_node import TRANSCRIPTS, SecureNode
from experiments.secure_rounds import check_skipped, exclusions, own_part, peer_line, with_names, write_transcripts
from peers.process import Network
from peers.secure.cheats import CHEATS
from peers.secure.deal import Entropy
from peers.secure.network import Carried, EndedEarlyError, Limits, Post, carry
from peers.secure.plan import longest_letter
from peers.secure.rounds import RoundResult, Seat, secure_round
from peers.secure.standing import Standing, agreed_standing, ask_standings, is_lost, spoken_in, taken_over
from peers.secure.state import SecureState
from peers.secure.vector import difference, moved, size_of
from server.lines import told_score
from server.marks import marks_of

BEAT = 0.5
"""Seconds between two questions where the others are."""
_ALONE = 3
"""Times the limit after which a peer whom f others at most answer no longer asks what came of a round."""


@dataclass(frozen=True)
class Connected:
    """A peer that has joined the others.

    Attributes:
        node: the peer.
        network: its way to the others.
        place: where it evaluates the run; None: it does not.
        report: called with one sentence for each thing that a person may want to know.
        over: set by whoever wants it to end early.
        asked_again: other peer that did not say where it is → when it is asked again, on the monotonic clock.
    """

    node: SecureNode
    network: Network
    place: Place | None
    report: Callable[[str], None]
    over: threading.Event
    asked_again: dict[str, float] = field(default_factory=dict)


def find_place(here: Connected) -> None:
    """Learn from who is there how far the run is, and take over what came of it if this peer has anything else.

    Raises:
        UserError: the state cannot be written.
    """
    node = here.node
    state = node.state
    told = _standings(here, [name for name in node.others if name not in state.doubted])
    _note_spoken(node)
    if (agreed := agreed_standing(told, node.faults)) is not None and agreed[0].round >= state.round:
        _take_over(here, agreed)
        node.keep_history()


def play_round(here: Connected) -> None:
    """Play the next round, or sit it out; either way it is over for this peer afterwards.

    Raises:
        EndedEarlyError: it was told to end.
        UserError: too many rounds in a row without a result, or the state cannot be written.
    """
    node = here.node
    number = node.state.round + 1
    line = None if node.state.begun >= number else _play(here)
    if line is None:
        here.report(
            f"round {number} had begun before this peer was started again; it sits it out, and asks what came of it"
        )
        node.mailbox.leave(number)
        node.out = number
        if not _caught_up(here, number):
            node.keep(replace(node.state, round=number, lines=(*node.state.lines, _missed(number))))
        node.out = 0
    else:
        here.report(_told(line, node.experiment))
        if line["status"] == "skipped":
            _caught_up(here, number)
    node.keep_history()
    check_skipped(node.experiment, node.state.lines)


def _play(here: Connected) -> dict[str, Any] | None:
    """Train, take part in a round, keep what came of it, and return its line.

    None: others have heard this peer in it, before its process was started, and so it has said nothing.
    """
    node, place = here.node, here.place
    started, state, number = time.monotonic(), node.state, node.state.round + 1
    learned = node.learner.learn(Job(node.number, number, state.arrays))
    update, failure = _update(learned, state)
    if not node.sure and _has_spoken(here, number):
        return None
    node.keep(replace(state, begun=number, ledger=learned.ledger))
    trained = time.monotonic()
    there = {peer: name for peer, name in node.names.items() if name not in state.excluded}
    carried = _carried(here, number, there, update)
    result, ended = carried.result, time.monotonic()
    write_transcripts(node.home / TRANSCRIPTS, number, result, node.names)
    arrays = state.arrays if result.step is None else moved(state.arrays, result.step)
    line = {
        "round": number,
        "status": "skipped" if result.step is None else "aggregated",
        "reason": with_names(result.aborted, node.names),
        "clients": [
            peer_line(node.names, peer, result, state.excluded, failure if peer == node.number else "")
            for peer in node.names
        ],
        "own": own_part(learned, carried.traffic),
        "missed": {node.names[peer]: why for peer, why in carried.missed.items()},
        "seconds": round(ended - started, 3),
        "training_seconds": round(trained - started, 3),
        **({} if place is None else _score(node, place, arrays)),
    }
    node.keep(
        replace(
            node.state,
            arrays=arrays,
            round=number,
            excluded=state.excluded | exclusions(number, result, node.names),
            doubted=tuple(line["missed"]),
            lines=(*state.lines, line),
        )
    )
    node.sure = node.sure or result.step is not None
    return line


def _carried(
    here: Connected, number: int, there: Mapping[int, str], update: NDArray[np.float64] | None
) -> Carried[RoundResult]:
    """Take part in a round with those who are ``there``."""
    node = here.node
    experiment, state = node.agreed.experiment, node.state
    conduct = node.file.misbehaviour
    run, size = bytes.fromhex(state.run), size_of(state.arrays)
    model, dataset = initial(node.experiment, node.agreed.images), node.learner.place.holding.dataset
    reference = root_update(experiment, dataset, model, state.arrays, number)
    steps = secure_round(
        Seat(experiment, run, node.number, node.keys.own, len(node.names), size),
        number,
        {peer: node.keys.public[name] for peer, name in there.items()},
        update,
        generator=np.random.default_rng(secrets.randbits(256)),
        entropy=_entropy,
        player=CHEATS[conduct.kind] if conduct else None,
        reference=reference,
    )
    timeout, federation = node.file.peer.exchange_timeout, experiment.federation
    limits = Limits(
        begin=federation.round_timeout,
        absent=federation.join_timeout if number == 1 else timeout,
        exchange=timeout,
        grace=node.grace,
    )
    post = Post(run, node.mailbox, here.network.dialler.letters, node.names, node.number, node.faults, node.heard)
    others = [peer for peer in there if peer != node.number]
    doubted = [peer for peer in others if there[peer] in state.doubted]
    letter = longest_letter(experiment, size, reference)
    return carry(steps, post, number, others, limits, doubted=doubted, over=here.over, letter=letter)


def _entropy(number: int) -> Entropy:
    return lambda purpose: secrets.token_bytes(32)


def _update(learned: Learned | Failed, state: SecureState) -> tuple[NDArray[np.float64] | None, str]:
    """Return what this peer deals, and why it is nothing."""
    if isinstance(learned, Failed):
        return None, learned.reason
    try:
        return difference(learned.sent, state.arrays), ""
    except ValueError as wrong:
        return None, str(wrong)


def _standings(
    here: Connected, names: Collection[str], enough: Callable[[Mapping[str, Standing]], bool] = lambda told: False
) -> dict[str, Standing]:
    """Ask others where they are, but not again and again who does not answer; keep what each has said first."""
    node, now = here.node, time.monotonic()
    asked = [name for name in names if here.asked_again.get(name, now) <= now]
    told = ask_standings(
        here.network.dialler, node.state, asked, node.grace, known=list(node.names.values()), enough=enough
    )
    now = time.monotonic()
    here.asked_again.update({name: now + node.grace for name in asked if name not in told})
    for name, standing in told.items():
        node.first.setdefault(name, standing)
    return told


def _note_spoken(node: SecureNode) -> None:
    """Keep the last round in which this peer has spoken, as others tell, if its own state, lost or old, does not."""
    if node.sure or len(node.first) < node.quorum:
        return
    begun = spoken_in(node.first, node.faults, node.state.begun)
    if begun > node.state.begun:
        node.keep(replace(node.state, begun=begun))


def _has_spoken(here: Connected, number: int) -> bool:
    """Tell whether a process of this peer that has ended has spoken in a round, as far as others can be asked.

    All who have told this process nothing yet are asked; while too few have, for as long as a round waits for them.
    Where they stay too few to know which round goes on, any of them is believed.
    """
    node = here.node
    federation, timeout = node.experiment.federation, node.file.peer.exchange_timeout
    until = time.monotonic() + (federation.join_timeout if number == 1 else timeout)
    here.asked_again.clear()
    while True:
        _standings(here, [name for name in node.others if name not in node.first])
        if len(node.first) >= node.quorum or time.monotonic() > until:
            break
        if here.over.wait(BEAT):
            raise EndedEarlyError
    _note_spoken(node)
    if len(node.first) < node.quorum and any(standing.heard >= number for standing in node.first.values()):
        node.keep(replace(node.state, begun=number))
    return node.state.begun >= number


def _caught_up(here: Connected, number: int) -> bool:
    """Wait until more than f others tell alike what came of a round, or of a later one, and take it over."""
    node = here.node
    answered = time.monotonic()
    until = answered + node.experiment.federation.round_timeout

    def is_enough(told: Mapping[str, Standing]) -> bool:
        agreed = agreed_standing(told, node.faults)
        return agreed is not None and agreed[0].round >= number

    while True:
        told = _standings(here, node.others, is_enough)
        agreed = agreed_standing(told, node.faults)
        if agreed is not None and agreed[0].round >= number and _take_over(here, agreed):
            return True
        if len(told) > node.faults:
            answered = time.monotonic()
        if here.over.wait(BEAT):
            raise EndedEarlyError
        if node.out == number and is_lost(told, node.faults, number):
            here.report(f"too many others sit round {number} out, too: nothing comes of it")
            return False
        if time.monotonic() > min(until, answered + _ALONE * node.file.peer.exchange_timeout):
            here.report(f"too few others say what came of round {number}; this peer goes on with what it has")
            return False


def _take_over(here: Connected, agreed: tuple[Standing, list[str]]) -> bool:
    node, (standing, tellers) = here.node, agreed
    timeout = node.file.peer.exchange_timeout
    found = taken_over(here.network.dialler, node.state, standing, tellers, timeout, _missed, hurry=node.grace)
    if found is None:
        return False
    if found is not node.state:
        here.report(f"took over what came of round {standing.round}, as {', '.join(tellers)} have it")
        node.keep(found)
    return True


def _missed(number: int) -> dict[str, Any]:
    return {"round": number, "status": "missed", "reason": "this peer was not there to its end", "clients": []}


def _score(node: SecureNode, place: Place, arrays: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what a line tells of weights, where this peer has public images."""
    model, public = initial(node.experiment, node.agreed.images), place.dataset.public
    load_arrays(model, arrays)
    with torch_threads(node.experiment.federation.threads):
        return told_score(marks_of(model, public.images, public.labels))


def _told(line: Mapping[str, Any], experiment: Experiment) -> str:
    """Say in a sentence what a round came to."""
    ended = f"no result: {line['reason']}" if line["status"] == "skipped" else "the weights have changed"
    troubled = [f"; {peer['name']} {peer['status']}: {peer['reason']}" for peer in line["clients"] if peer["reason"]]
    late = [f"; {name} was not heard to the end: {why}" for name, why in line["missed"].items()]
    return f"round {line['round']} of {experiment.federation.rounds}: {ended}{''.join(troubled)}{''.join(late)}"
