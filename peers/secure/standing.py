"""How a peer that missed the end of a round finds out what came of it: what more than f peers tell alike is right.

Among f + 1 peers one is honest, and honest peers have the same weights after each round. So a peer believes what f + 1
tell alike, and takes the weights from any of them, since it knows their hash.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, replace
from typing import Any

from peers.neighbours import Neighbours, Unreachable
from peers.secure.state import SecureState
from peers.wire import LARGEST, Parcel, RefusedError, decode_parcel, encode_parcel, parcel_bytes, short

_WHERE, _WEIGHTS = b"where", b"weights"
_OF_PEER = 1_000
"""Bytes that a peer's account of where it is may have for each peer of the run."""
_DIGEST = 64


@dataclass(frozen=True)
class Standing:
    """Where a peer says that it is.

    Attributes:
        round: the last that is over for it.
        begun: the last in which it has said something.
        out: the one that it sits out now, since it was started again in it; 0: none.
        heard: the last in which it has heard something of the peer that asks.
        digest: of what all have in common after that round (``SecureState.digest``).
        excluded: as in ``SecureState``.
    """

    round: int
    begun: int
    out: int
    heard: int
    digest: str
    excluded: dict[str, dict[str, Any]]


def where(run: str) -> bytes:
    """Return the question where a peer is; ``run`` as in ``SecureState``."""
    return _WHERE + run.encode()


def weights(run: str, round_: int) -> bytes:
    """Return the question for the weights after a round."""
    return _WEIGHTS + run.encode() + b" %d" % round_


def answer(
    state: SecureState, question: bytes, *, out: int = 0, heard: int = 0, before: SecureState | None = None
) -> bytes:
    """Return what a peer answers to either.

    Args:
        state: its own.
        question: what came.
        out, heard: as in ``Standing``.
        before: its own after the round before: who asks for weights has been told of them a moment ago.

    Raises:
        RefusedError: it is neither, or it has other weights by now.
    """
    if question == where(state.run):
        told = Standing(state.round, state.begun, out, heard, state.digest(), state.excluded)
        return json.dumps(vars(told), sort_keys=True).encode()
    for one in (state, before):
        if one is not None and question == weights(one.run, one.round):
            return encode_parcel(Parcel(one.name, one.round + 1, 1, one.arrays), one.run)
    if question.startswith((_WHERE, _WEIGHTS)):
        raise RefusedError("the question belongs to another run, or to weights that this peer does not have now")
    raise RefusedError("its question is none that peers of the secure protocol ask")


def ask_standings(
    neighbours: Neighbours,
    state: SecureState,
    names: Collection[str],
    timeout: float,
    *,
    known: Collection[str],
    enough: Callable[[Mapping[str, Standing]], bool] = lambda told: False,
) -> dict[str, Standing]:
    """Ask peers where they are; who does not answer in time, or nonsense, is left out.

    Args:
        neighbours: the way to them.
        state: of the peer that asks.
        names: whom to ask.
        timeout: seconds for each.
        known: all peers' names, which an answer may speak of.
        enough: of those who have answered so far, whether the others are waited for no longer.
    """
    limit = _OF_PEER * (len(known) + 1)
    pool = ThreadPoolExecutor(max(len(names), 1), thread_name_prefix="standing")

    def ask(name: str) -> tuple[str, bytes | Unreachable]:
        return name, neighbours.ask_all({name: where(state.run)}, limit=limit, timeout=timeout)[name]

    found: dict[str, Standing] = {}
    for asked in as_completed([pool.submit(ask, name) for name in names]):
        name, said = asked.result()
        standing = None if isinstance(said, Unreachable) else _decode(said, {*known, state.name})
        if standing is not None:
            found[name] = standing
            if enough(found):
                break
    pool.shutdown(wait=False, cancel_futures=True)
    return found


def agreed_standing(told: Mapping[str, Standing], faults: int) -> tuple[Standing, list[str]] | None:
    """Return the last standing that more than ``faults`` peers tell alike, and who they are; None: there is none."""
    tellers: dict[str, list[str]] = {}
    for name, standing in told.items():
        common = json.dumps([standing.round, standing.digest, standing.excluded], sort_keys=True)
        tellers.setdefault(common, []).append(name)
    agreed = [names for names in tellers.values() if len(names) > faults]
    best = max(agreed, key=lambda names: (told[names[0]].round, len(names)), default=None)
    return None if best is None else (told[best[0]], best)


def spoken_in(first: Mapping[str, Standing], faults: int, begun: int) -> int:
    """Return the last round in which a peer may have spoken before its process was started, as others tell; 0: in none.

    Whoever says that it has heard it is believed, but no further than the last round that f + 1 have begun: one of them
    is honest. Where this is beyond what the peer's own state tells, which so is old or lost, or the peer was away, one
    round more is believed: some honest peers may be one ahead. What comes of a lie is that these two are sat out.

    Args:
        first: what each other peer said first to this process, so that one that lies can do so once only.
        faults: f.
        begun: the last round in which the peer has spoken by its own state.
    """
    sorted_begun = sorted((standing.begun for standing in first.values()), reverse=True)
    last = sorted_begun[faults] if len(sorted_begun) > faults else 0
    return min(last + (last > begun), max((standing.heard for standing in first.values()), default=0))


def is_lost(told: Mapping[str, Standing], faults: int, round_: int) -> bool:
    """Tell whether nothing can come of a round that this peer sits out: more than 2 f, with it, do."""
    return 1 + sum(standing.out == round_ for standing in told.values()) > 2 * faults


def taken_over(
    neighbours: Neighbours,
    state: SecureState,
    standing: Standing,
    tellers: Sequence[str],
    timeout: float,
    missed: Callable[[int], dict[str, Any]],
    *,
    hurry: float,
) -> SecureState | None:
    """Return a peer's state with what others have after the same round, or a later one; None: nobody gives it.

    They have it for two rounds only, so who does not answer must not hold up the others' answers.

    Args:
        neighbours: the way to the others.
        state: the peer's own.
        standing, tellers: what is believed, and who told it.
        timeout: seconds for each of them.
        missed: round → the line for one that this peer was not there for to the end.
        hurry: seconds after which the next is asked, too.
    """
    if standing.digest == state.digest():
        return state
    slept = tuple(missed(number) for number in range(state.round + 1, standing.round + 1))

    def ask(name: str) -> SecureState | None:
        limit = parcel_bytes(state.arrays, name, state.run)
        question = {name: weights(state.run, standing.round)}
        said = neighbours.ask_all(question, limit=limit, timeout=timeout)[name]
        if isinstance(said, Unreachable):
            return None
        try:
            parcel = decode_parcel(said, state.arrays, sender=name, run=state.run)
        except RefusedError:
            return None
        found = replace(
            state,
            arrays=parcel.arrays,
            round=standing.round,
            begun=max(state.begun, standing.round),
            excluded=standing.excluded,
            lines=state.lines + slept,
        )
        return found if found.digest() == standing.digest else None

    return _first(ask, tellers, hurry)


def _first(ask: Callable[[str], SecureState | None], names: Sequence[str], hurry: float) -> SecureState | None:
    """Ask one after the other, but wait ``hurry`` seconds at most before the next; return what comes first."""
    pool = ThreadPoolExecutor(max(len(names), 1), thread_name_prefix="weights")
    left, waiting = list(names), set[Future[SecureState | None]]()
    try:
        while left or waiting:
            if left:
                waiting.add(pool.submit(ask, left.pop(0)))
            done, waiting = wait(waiting, timeout=hurry if left else None, return_when=FIRST_COMPLETED)
            for one in done:
                if (found := one.result()) is not None:
                    return found
        return None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _decode(said: bytes, names: set[str]) -> Standing | None:
    try:
        told = json.loads(said)
        standing = Standing(**told)
        excluded = {
            name: {"round": _whole(about["round"]), "reason": short(_text(about["reason"]), _OF_PEER)}
            for name, about in standing.excluded.items()
            if about.keys() == {"round", "reason"}
        }
        if excluded != standing.excluded or not excluded.keys() <= names or len(_text(standing.digest)) != _DIGEST:
            return None
        return Standing(
            _whole(standing.round),
            _whole(standing.begun),
            _whole(standing.out),
            _whole(standing.heard),
            standing.digest,
            excluded,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < LARGEST - 1:
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
