"""One peer asks others: their versions, then the models that are newer; what cannot be used is noted with a reason."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from common.config import Experiment
from peers.neighbours import Neighbours, Unreachable
from peers.wire import (
    STATUS_LIMIT,
    Parcel,
    RefusedError,
    Status,
    decode_parcel,
    decode_status,
    parcel_bytes,
    ping,
    pull,
    short,
)

LONGEST = 1000.0
"""How far another peer's model may be from the own one, in units of 1 + the own one's norm; farther ones only serve to
make sums overflow."""


@dataclass
class Inquiry:
    """What a peer asks in one local update, and what came of it.

    Attributes:
        experiment: the run's description.
        run: digest of what all peers have agreed on.
        template: tensors of the names, shapes and types of the weights.
        neighbours: the way to the others.
        before: the wave whose beginning counts; None: whatever is newest.
        skipped: peer → why it could not be reached.
        refused: peer → why its answer is not used; each counts against it, but for those of ``apart``.
        apart: of them, peers whose model is sound and beyond ``federation.norm_limit``. Either of the two may be the
            one that was led astray, so if this counted, a liar who moves one peer could have the others exclude it.
        traffic: peer → bytes of the questions that it got and of the answers that came.
        pings: questions for a version.
        model_bytes: of the answers to pulls, all of which have ``parcel_bytes``, unless they are refused.
    """

    experiment: Experiment
    run: str
    template: Mapping[str, Tensor]
    neighbours: Neighbours
    before: int | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    apart: set[str] = field(default_factory=set)
    traffic: dict[str, list[int]] = field(default_factory=dict)
    pings: int = 0
    model_bytes: int = 0

    def ping_all(self, names: Iterable[str]) -> dict[str, Status]:
        """Return the status of each of these peers that answers."""
        question = ping(self.run, self.before)
        questions = dict.fromkeys(names, question)
        self.pings += len(questions)
        timeout = self.experiment.peers.ping_timeout
        return {
            name: status
            for name, answer in self._ask(questions, STATUS_LIMIT, timeout).items()
            if (status := self._status(name, answer)) is not None
        }

    def pull_all(self, newer_than: Mapping[str, int]) -> dict[str, Parcel]:
        """Return the models of these peers that are newer than the version given, as far as they are sound by form."""
        if not newer_than:
            return {}
        questions = {name: pull(self.run, version, self.before) for name, version in newer_than.items()}
        longest = max(parcel_bytes(self.template, name, self.run) for name in newer_than)
        answers = self._ask(questions, longest, self.experiment.peers.pull_timeout)
        self.model_bytes += sum(map(len, answers.values()))
        return {
            name: parcel
            for name, answer in answers.items()
            if (parcel := self._parcel(name, answer, newer_than[name])) is not None
        }

    def _ask(self, questions: Mapping[str, bytes], limit: int, timeout: float) -> dict[str, bytes]:
        """Return the answers that came, in the questions' order."""
        came = self.neighbours.ask_all(questions, limit=limit, timeout=timeout)
        answers = {}
        for name, question in questions.items():
            answer = came.get(name, Unreachable("it was not asked"))
            bytes_ = self.traffic.setdefault(name, [0, 0])
            bytes_[0] += len(question)
            if isinstance(answer, Unreachable):
                (self.refused if answer.offence else self.skipped)[name] = short(answer.reason)
            else:
                bytes_[1] += len(answer)
                answers[name] = answer
        return answers

    def _status(self, name: str, answer: bytes) -> Status | None:
        try:
            return decode_status(answer, self.run)
        except RefusedError as refused:
            self.refused[name] = str(refused)
            return None

    def _parcel(self, name: str, answer: bytes, newer_than: int) -> Parcel | None:
        try:
            parcel = decode_parcel(answer, self.template, sender=name, run=self.run)
            if parcel.version <= newer_than:
                raise RefusedError(f"it sent its version {parcel.version}, and {newer_than} is merged already")
            return parcel
        except RefusedError as refused:
            self.refused[name] = str(refused)
            return None


def problem_with(parcel: Parcel, own: Mapping[str, Tensor], experiment: Experiment, last_digest: str) -> str:
    """Return why a model that is sound by form is not merged all the same; empty: it is.

    Args:
        parcel: what was pulled.
        own: the merging peer's model.
        experiment: ``peers.refuse_repeats`` asks for other weights under another version.
        last_digest: of the weights that were merged last from the same peer; empty: none were.
    """
    far = distance(parcel.arrays, own)
    if not far <= LONGEST * (1 + length(own)):
        return f"its model is {far:.4g} away, more than {LONGEST:g} times the own one's norm"
    if experiment.peers.refuse_repeats and last_digest and digest(parcel.arrays) == last_digest:
        return f"its version {parcel.version} is the model that was merged last, under a new number"
    return ""


def beyond_limit(arrays: Mapping[str, Tensor], own: Mapping[str, Tensor], experiment: Experiment) -> str:
    """Return why weights are farther from others than ``federation.norm_limit`` allows; empty: they are not."""
    limit = experiment.federation.norm_limit
    if limit is None or (far := distance(arrays, own)) <= limit:
        return ""
    return f"its model is {far:.4g} away; federation.norm_limit = {limit:g}"


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the L2 distance of two models over all weights, in float64: differences are small beside the weights."""
    squares = [float((one[name].double() - other[name].double()).square().sum()) for name in sorted(one)]
    return math.sqrt(sum(squares))


def length(arrays: Mapping[str, Tensor]) -> float:
    """Return the L2 norm over all weights, in float64."""
    return math.sqrt(sum(float(arrays[name].double().square().sum()) for name in sorted(arrays)))


def digest(arrays: Mapping[str, Tensor]) -> str:
    """Return what tells weights apart, whatever their version."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(arrays[name].detach().contiguous().numpy().tobytes())
    return found.hexdigest()[:32]
