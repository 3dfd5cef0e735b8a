"""One peer of BrainTorrent (Guha Roy et al. 2019, arXiv 1905.06731): it answers others, and takes its own turns.

A turn is one local update: ask all others for their versions, pull the models that are newer than what was merged last,
merge them with the own one, train, and raise the own version. Whoever cannot be reached is skipped. What a turn changes
is kept in one file, written at its end: a peer that is killed does the turn again, and nobody merges a version twice.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from common.config import Experiment
from common.local_update import Failed, Job, Learned
from common.seeds import derive
from peers.inquiry import Inquiry, beyond_limit, digest, distance, problem_with
from peers.merge import Merged, Own, least, merge
from peers.misbehaviour import delay_of, garbage, told_model, told_records, told_version
from peers.neighbours import Neighbours
from peers.order import planned, step_of, turns_of
from peers.state import Offer, State, first_state, load_state
from peers.wire import Parcel, RefusedError, Status, decode_question, encode_parcel, encode_status, parcel_bytes

STATE = "state.safetensors"
"""A peer's file in its folder."""
Learn = Callable[[Job], Learned | Failed]
"""How a peer trains: a function of its job alone, but for its privacy ledger, which no repetition of a job grows."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A turn that has begun: the models are merged, and the training is still to be done; nothing is kept yet."""

    job: Job
    state: State
    wave: int | None
    line: dict[str, Any]
    seconds: float


class Peer:
    """A peer with its state; ``answer`` may be called from other threads while a turn runs.

    Attributes:
        name: as in the description.
        number: its position there, from 0.
        run: digest of what all peers of the run have agreed on.
        state: after its last finished turn.
    """

    def __init__(
        self,
        experiment: Experiment,
        number: int,
        *,
        initial: Mapping[str, Tensor],
        run: str,
        folder: Path,
        learn: Learn | None = None,
    ) -> None:
        """Take up the peer's place in a run, at its last finished turn if it has been in it before.

        Args:
            experiment: the description, which all peers have in common.
            number: of this peer.
            initial: the weights that all peers start from.
            run: digest of what all have agreed on; messages with another one are refused.
            folder: where its state is kept.
            learn: how it trains; only ``update`` asks for it.

        Raises:
            UserError: a state that is not whole, or of another peer or run.
        """
        roster = experiment.roster()
        self.experiment, self.number, self.run = experiment, number, run
        self.name = str(roster[number].name)
        self.others = [str(client.name) for client in roster if client.name != self.name]
        self.planned = planned(experiment)[number]
        self._waves = turns_of(experiment, number)
        self.file = folder / STATE
        self.state = load_state(self.file, self.name, run, initial) or first_state(self.name, run, initial)
        self._conduct = roster[number].misbehaviour
        self._learn = learn

    @property
    def done(self) -> bool:
        """Whether all of its turns are over; it still answers."""
        return self.state.turns >= self.planned

    @property
    def delay(self) -> float:
        """Seconds that it waits before it answers anything, 0 for an honest peer; infinite: it never answers."""
        return delay_of(self._conduct)

    @property
    def longest_answer(self) -> int:
        """Bytes of the longest answer that it gives."""
        return parcel_bytes(self.state.arrays, self.name, self.run)

    def next_wave(self) -> int | None:
        """Return the wave of its next turn; None: all are over, or peers go by their own timers."""
        return self._waves[self.state.turns] if self.state.turns < len(self._waves) else None

    def answer(self, asker: str, question: bytes) -> bytes:
        """Return the answer to a question, of what was there after the last finished turn; wait ``delay`` to send it.

        Args:
            asker: who asks, as the transport has made sure of.
            question: what came, of any content.

        Raises:
            RefusedError: the question is malformed, or of another run.
        """
        asked = decode_question(question)
        if asked.run != self.run:
            raise RefusedError("the question belongs to another run: its description, data or code differ")
        state = self.state
        offer = state.offered(asked.before)
        version = told_version(self._conduct, offer.version, asked.before)
        records = told_records(self._conduct, offer.records)
        if not asked.pull or version <= asked.newer_than:
            turns = state.turns
            if asked.before is not None:
                turns = min(turns, sum(wave < asked.before for wave in self._waves))
            return encode_status(Status(version, records, turns, turns >= self.planned), self.run)
        if self._conduct is not None and self._conduct.kind == "garbage":
            seed = derive(self.experiment.seed, "garbage", self.number)
            return garbage(seed, asked, self.longest_answer)
        return encode_parcel(Parcel(self.name, version, records, offer.arrays), self.run)

    def update(self, neighbours: Neighbours, wave: int | None = None) -> dict[str, Any]:
        """Take one turn from beginning to end, and return its line for ``updates.jsonl``.

        Args:
            neighbours: the way to the others.
            wave: as for ``begin``.

        Raises:
            UserError: the state cannot be written; the turn is then not over.
        """
        assert self._learn is not None, "a peer that updates by itself is given a way to learn"
        draft = self.begin(neighbours, wave)
        return self.finish(draft, self._learn(draft.job))

    def begin(self, neighbours: Neighbours, wave: int | None = None) -> Draft:
        """Ask, pull and merge; nothing is changed yet.

        Args:
            neighbours: the way to the others.
            wave: the turn's wave, of which all peers merge what was there when it began; None: peers go by their own
                timers, and merge whatever is newest.
        """
        started, state = time.monotonic(), self.state
        inquiry = Inquiry(self.experiment, self.run, state.arrays, neighbours, wave)
        excluded = self.excluded()
        alone = state.turns == 0 or self.experiment.peers.merge == "alone"  # all train locally first
        statuses = {} if alone else inquiry.ping_all(name for name in self.others if name not in excluded)
        newer = {name: state.merged.get(name, 0) for name in statuses}
        newer = {name: version for name, version in newer.items() if statuses[name].version > version}
        needed, note = least(self.experiment.peers) - 1, ""
        parcels: dict[str, Parcel] = {}
        if len(newer) >= needed:
            parcels = self._sound(inquiry, inquiry.pull_all(newer))
        if newer and len(parcels) < needed and needed > 1:
            note = (
                f"nothing was merged: '{self.experiment.peers.merge}' needs {needed} other models that are new, and "
                f"{len(parcels) if len(newer) >= needed else len(newer)} can be had; they count at the next turn"
            )
            parcels = {}
        claimed = state.claimed | {name: status.records for name, status in statuses.items()}
        strikes = dict(state.strikes)
        for name in inquiry.refused.keys() - inquiry.apart:
            strikes[name] = strikes.get(name, 0) + 1
        others = {name: claimed.get(name, 0) for name in self.others if name not in excluded}
        own = Own(state.arrays, state.offer.records, state.step)
        merged = merge(own, list(parcels.values()), self.experiment.peers, others)
        keep = self.experiment.peers.keep_optimizer
        after = replace(
            state,
            merged=state.merged | {name: parcel.version for name, parcel in parcels.items()},
            digests=state.digests | self._digests(parcels),
            claimed=claimed,
            strikes=strikes,
        )
        return Draft(
            job=Job(self.number, state.version + 1, merged.arrays, state.optimizer if keep else {}),
            state=after,
            wave=wave,
            line=self._line(wave, inquiry, parcels, merged, excluded, note),
            seconds=time.monotonic() - started,
        )

    def finish(self, draft: Draft, learned: Learned | Failed) -> dict[str, Any]:
        """Take what the training made as the own model, keep it, and return the turn's line.

        Where the training failed, the own model and its version stay, and the turn is over all the same: what was
        merged in it may be why, and is not merged again.

        Raises:
            UserError: the state cannot be written; the turn is then not over.
        """
        before, line = draft.state, dict(draft.line)
        line["seconds"] = round(draft.seconds + learned.seconds, 3)
        state = replace(before, turns=before.turns + 1, ledger=learned.ledger)
        if isinstance(learned, Failed):
            line["failed"] = learned.reason
        else:
            offered = told_model(
                self._conduct, draft.job.arrays, learned.sent, before.offer.arrays, first=before.version == 0
            )
            wave = -1 if draft.wave is None else draft.wave
            settings = self.experiment.peers
            together = draft.wave is not None and settings.initiators > 1
            step = distance(learned.arrays, draft.job.arrays)
            state = replace(
                state,
                version=before.version + 1,
                arrays=learned.arrays,
                offer=Offer(before.version + 1, wave, learned.records, offered),
                former=before.offer if together else None,
                step=step,
                optimizer=learned.optimizer if settings.keep_optimizer else {},
            )
            line |= {"version": state.version, "records": learned.records, "metrics": learned.metrics, "norm": step}
        state = replace(state, lines=(*before.lines, line))
        state.save(self.file)
        self.state = state
        return line

    def excluded(self) -> list[str]:
        """Return the peers that this one does not ask any more, since too many of their answers were refused."""
        limit = self.experiment.federation.strikes_limit
        return [name for name in self.others if self.state.strikes.get(name, 0) >= limit]

    def _sound(self, inquiry: Inquiry, parcels: Mapping[str, Parcel]) -> dict[str, Parcel]:
        """Return the models that can be merged, in the roster's order; the others are noted as refused."""
        sound = {}
        for name in self.others:
            if name in parcels:
                last = self.state.digests.get(name, "")
                if problem := problem_with(parcels[name], self.state.arrays, self.experiment, last):
                    inquiry.refused[name] = problem
                elif problem := beyond_limit(parcels[name].arrays, self.state.arrays, self.experiment):
                    inquiry.refused[name] = problem
                    inquiry.apart.add(name)
                else:
                    sound[name] = parcels[name]
        return sound

    def _digests(self, parcels: Mapping[str, Parcel]) -> dict[str, str]:
        if not self.experiment.peers.refuse_repeats:
            return {}
        return {name: digest(parcel.arrays) for name, parcel in parcels.items()}

    def _line(
        self,
        wave: int | None,
        inquiry: Inquiry,
        parcels: Mapping[str, Parcel],
        merged: Merged,
        excluded: list[str],
        note: str,
    ) -> dict[str, Any]:
        asked, answered = (sum(bytes_[way] for bytes_ in inquiry.traffic.values()) for way in (0, 1))
        return {
            "step": None if wave is None else step_of(self.experiment, wave, self.number),
            "wave": wave,
            "peer": self.name,
            "turn": self.state.turns + 1,
            "version": self.state.version,
            "merged": {
                name: {"version": parcel.version, "records": parcel.records, "coefficient": merged.coefficients[name]}
                for name, parcel in parcels.items()
            },
            "own_coefficient": merged.own,
            "skipped": dict(inquiry.skipped),
            "refused": dict(inquiry.refused),
            "excluded": excluded,
            "note": note,
            "failed": "",
            "bytes": asked + answered,
            "model_bytes": inquiry.model_bytes,
            "pings": inquiry.pings,
            "traffic": {name: list(bytes_) for name, bytes_ in inquiry.traffic.items()},
            "records": 0,
            "metrics": {},
            "norm": None,
        }
