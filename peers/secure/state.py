"""All that a peer of the secure protocol is after its last finished round, in one file.

A round is noted here before the peer says its first word in it. A round that was begun and not ended is never played
again: two different first words of one round, both signed, would prove that the peer cheats.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from common.errors import UserError
from common.folder import read_arrays, write_arrays
from peers.inquiry import digest

_OWN = 0o600


@dataclass(frozen=True, eq=False)
class SecureState:
    """A peer after a round; never changed in place.

    Attributes:
        name: the peer's.
        run: what names the run, 64 hexadecimal digits.
        arrays: the weights, which all peers have in common.
        round: the last that is over.
        begun: the last in which this peer has, or may have, said something.
        excluded: peer → since which ``round`` it takes no part, and the ``reason``.
        doubted: peers that were not heard to the end of the last round.
        ledger: this peer's privacy ledger, as text.
        lines: one object for each round that is over, as this peer saw it.
    """

    name: str
    run: str
    arrays: dict[str, Tensor]
    round: int = 0
    begun: int = 0
    excluded: dict[str, dict[str, Any]] = field(default_factory=dict)
    doubted: tuple[str, ...] = ()
    ledger: str = ""
    lines: tuple[dict[str, Any], ...] = ()

    def save(self, file: Path) -> None:
        """Write the state, whole or not at all. Raises UserError: the disk is full, or not ours to write."""
        told = {name: getattr(self, name) for name in _PLAIN}
        write_arrays(file, self.arrays, {"state": json.dumps(told, sort_keys=True, allow_nan=False)}, mode=_OWN)

    def digest(self) -> str:
        """Return a hash of what all honest peers have in common after a round: weights, and who is excluded why."""
        common = json.dumps([self.run, self.round, self.excluded, digest(self.arrays)], sort_keys=True)
        return hashlib.sha256(common.encode()).hexdigest()


_PLAIN = [one.name for one in fields(SecureState) if one.name != "arrays"]


def load_secure_state(file: Path, name: str, run: str, template: Mapping[str, Tensor]) -> SecureState | None:
    """Return what a file holds, None if there is no such file.

    Args:
        file: as ``SecureState.save`` wrote it.
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
        if {one: array.shape for one, array in tensors.items()} != {one: a.shape for one, a in template.items()}:
            raise ValueError("the weights are those of another model")
        told |= {"lines": tuple(told["lines"]), "doubted": tuple(told["doubted"])}
        state = SecureState(**told, arrays={one: tensors[one] for one in template})
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{file} holds no peer's state that can be resumed ({error}); move it aside") from None
    if (state.name, state.run) != (name, run):
        raise UserError(f"{file} is the state of '{state.name}' in another run, or of another peer; move it aside")
    return state
