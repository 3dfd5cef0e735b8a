"""All that a peer is after its last local update, in one file: a peer that is killed at any moment goes on from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from common.errors import UserError
from common.folder import read_arrays, write_arrays

_OWN = 0o600
"""A peer's state is for itself alone: its model without what its strategy does to it, and what it knows of others."""


@dataclass(frozen=True, eq=False)
class Offer:
    """A model as others get it.

    Attributes:
        version: of the model; 0: there is none yet.
        wave: the wave (``peers.order``) in which it was made; -1: none, since peers go by their own timers.
        records: that it was trained on.
        arrays: the weights.
    """

    version: int
    wave: int
    records: int
    arrays: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class State:
    """A peer after its last finished turn; never changed in place.

    Attributes:
        name: the peer's.
        run: digest of what all peers of the run have agreed on.
        version: of its own model: how often it has trained.
        turns: of its own that are over; more than ``version`` where a training failed.
        arrays: its own model.
        offer: what others get: the same model, as its strategy sends it.
        former: what others get who ask for what was there before the wave of ``offer``; None: nothing was, or nobody
            can ask for it, since no two peers train at the same time.
        step: L2 length of its last local training, over all weights.
        merged: peer → version of it that was merged last.
        digests: peer → digest of the weights that were merged last.
        claimed: peer → records that it last said it has.
        strikes: peer → how many of its answers were refused.
        optimizer: the optimiser's state (``common.optimizer_state``).
        ledger: its privacy ledger, as text.
        lines: one object for each of its turns, as ``updates.jsonl`` holds them.
    """

    name: str
    run: str
    version: int
    turns: int
    arrays: dict[str, Tensor]
    offer: Offer
    former: Offer | None = None
    step: float = 0.0
    merged: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    ledger: str = ""
    lines: tuple[dict[str, Any], ...] = ()

    def offered(self, before: int | None) -> Offer:
        """Return what others get who want what was there when a wave began; None: whatever is newest.

        Where nothing so old is kept any more, since the asker waited for nobody, it is the newest, too.
        """
        late = before is not None and 0 <= before <= self.offer.wave
        return self.former if late and self.former is not None else self.offer

    def save(self, file: Path) -> None:
        """Write the state, whole or not at all. Raises UserError: the disk is full, or not ours to write."""
        groups: dict[str, Mapping[str, Tensor]] = {"own": self.arrays, "optimizer": self.optimizer}
        if not _same(self.offer.arrays, self.arrays):
            groups["offer"] = self.offer.arrays
        if self.former is not None and not _same(self.former.arrays, self.offer.arrays):
            groups["former"] = self.former.arrays
        tensors = {f"{group}/{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
        told = {name: getattr(self, name) for name in _PLAIN}
        told["offer"] = _facts(self.offer)
        told["former"] = None if self.former is None else _facts(self.former)
        write_arrays(file, tensors, {"state": json.dumps(told, sort_keys=True, allow_nan=False)}, mode=_OWN)


_TENSORS = ("arrays", "optimizer", "offer", "former")
_PLAIN = [one.name for one in fields(State) if one.name not in _TENSORS]


def first_state(name: str, run: str, initial: Mapping[str, Tensor]) -> State:
    """Return the state of a peer that has not trained yet: the weights that all peers start from."""
    arrays = dict(initial)
    return State(name, run, version=0, turns=0, arrays=arrays, offer=Offer(0, -1, 0, arrays))


def load_state(file: Path, name: str, run: str, template: Mapping[str, Tensor]) -> State | None:
    """Return what a file holds, None if there is no such file.

    Args:
        file: as ``State.save`` wrote it.
        name, run: whose state it must be.
        template: tensors of the weights' names and shapes, in the model's order, which the file does not keep.

    Raises:
        UserError: it is not whole, or that of another peer, another run or another model.
    """
    if not file.exists():
        return None
    tensors = read_arrays(file)
    try:
        with safe_open(file, "pt") as opened:
            told: dict[str, Any] = json.loads(opened.metadata()["state"])
        own = _weights(tensors, "own", template)
        former = told.pop("former")
        offer = Offer(**told.pop("offer"), arrays=_weights(tensors, "offer", template, own))
        state = State(
            **{**told, "lines": tuple(told["lines"])},
            arrays=own,
            offer=offer,
            former=None
            if former is None
            else Offer(**former, arrays=_weights(tensors, "former", template, offer.arrays)),
            optimizer=_group(tensors, "optimizer"),
        )
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{file} holds no peer's state that can be resumed ({error}); move it aside") from None
    if state.name != name:
        raise UserError(f"{file} is the state of '{state.name}', not of '{name}'; give each peer a folder of its own")
    if state.run != run:
        raise UserError(
            f"{file} belongs to another run: the description, the data or the code have changed since; move it aside, "
            "or name another folder"
        )
    return state


def _facts(offer: Offer) -> dict[str, int]:
    return {"version": offer.version, "wave": offer.wave, "records": offer.records}


def _group(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = f"{group}/"
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _weights(
    tensors: Mapping[str, Tensor],
    group: str,
    template: Mapping[str, Tensor],
    instead: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return a model's weights in its own order; where the file has none of a group, they are the same as others."""
    found = _group(tensors, group)
    if not found and instead is not None:
        return instead
    if found.keys() != template.keys() or any(found[name].shape != template[name].shape for name in found):
        raise ValueError(f"the weights '{group}' are those of another model")
    return {name: found[name] for name in template}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(array is other[name] or torch.equal(array, other[name]) for name, array in one.items())
