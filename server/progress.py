"""What a federation has reached, kept in one file, so that a killed run goes on from its last finished round."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from common.errors import UserError
from common.folder import RunFolder, read_arrays, write_arrays, write_text
from server.refusal import TIMED_OUT

if TYPE_CHECKING:  # heavy, and the store is listed without it
    from torch import Tensor


@dataclass
class Progress:
    """The state of a federation after its last finished round.

    Attributes:
        round: the last finished round; 0 before the first.
        arrays: the global weights.
        rounds: the lines of rounds.jsonl.
        ledgers: each client's last accepted privacy ledger, as text.
        unconfirmed: by private client, what it had planned to spend in each round since then in which it was asked to
            train and no good reply came (``round``, ``noise_multiplier``, ``sampling_rate``, ``steps``); it may have
            released something in them.
        participants: what each client said of itself.
        strikes: by client, the rounds in which it sent an update that was refused.
        excluded: by client, since which ``round`` it is not asked any more, and the ``reason``.
    """

    round: int
    arrays: "dict[str, Tensor]"
    rounds: list[dict[str, Any]] = field(default_factory=list)
    ledgers: dict[str, str] = field(default_factory=dict)
    unconfirmed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    participants: dict[str, dict[str, Any]] = field(default_factory=dict)
    strikes: dict[str, list[int]] = field(default_factory=dict)
    excluded: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def save(self, folder: RunFolder) -> None:
        """Write the checkpoint, one file and so one moment, then what people read."""
        self.save_checkpoint(folder)
        self.write_rounds(folder)

    def save_checkpoint(self, folder: RunFolder) -> None:
        """Write the checkpoint alone, where no round has ended since the last ``save``."""
        told = {name: value for name, value in vars(self).items() if name not in ("arrays", "rounds", "_lines")}
        rounds = ", ".join(self._as_text())
        write_arrays(folder.checkpoint, self.arrays, {"progress": f'{json.dumps(told)[:-1]}, "rounds": [{rounds}]}}'})

    def write_rounds(self, folder: RunFolder) -> None:
        """Write rounds.jsonl; whoever was killed right after a checkpoint has not."""
        write_text(folder.rounds, "".join(line + "\n" for line in self._as_text()))

    def _as_text(self) -> list[str]:
        # A finished round's line never changes; with many clients making its text anew in every round cost seconds.
        self._lines += [json.dumps(line, sort_keys=True) for line in self.rounds[len(self._lines) :]]
        return self._lines

    @staticmethod
    def load(folder: RunFolder) -> "Progress | None":
        """Return what the checkpoint holds, or None without one. Raises UserError if it is not whole."""
        if not folder.checkpoint.exists():
            return None
        arrays = read_arrays(folder.checkpoint)
        progress = Progress.load_facts(folder)
        progress.arrays = arrays
        return progress

    @staticmethod
    def load_facts(folder: RunFolder) -> "Progress":
        """Return what the checkpoint holds but the weights. Raises UserError if that is not whole."""
        try:
            with safe_open(folder.checkpoint, "numpy") as file:
                told = json.loads(file.metadata()["progress"])
            return Progress(arrays={}, **told)
        except (TypeError, ValueError, KeyError, OSError, SafetensorError) as error:
            raise UserError(
                f"{folder.checkpoint} holds no progress that can be resumed ({error}); move it aside"
            ) from None

    def strike(self, name: str, number: int, reason: str, limit: int) -> None:
        """Note that a client's update of round ``number`` was refused; at ``limit`` of them the client is excluded."""
        rounds = self.strikes.setdefault(name, [])
        rounds.append(number)
        if len(rounds) >= limit:
            were, which = ("was", "round") if len(rounds) == 1 else ("were", "rounds")
            self.excluded[name] = {
                "round": number + 1,
                "reason": f"{len(rounds)} of its updates {were} refused ({which} {', '.join(map(str, rounds))}), "
                f"the last: {reason}",
            }

    def exclude_silent(self, name: str, number: int, limit: int) -> None:
        """Exclude a client that is connected and has let ``limit`` rounds in a row, ``number`` the last, time out.

        Each such round costs everybody the whole ``federation.round_timeout``.
        """
        before = self.rounds[-(limit - 1) :] if limit > 1 else []
        silent = [client for line in before for client in line["clients"] if client["name"] == name]
        if len(before) == limit - 1 and len(silent) == len(before) and all(map(_timed_out, silent)):
            reason = f"it let {limit} rounds in a row time out, though it was connected"
            self.excluded[name] = {"round": number + 1, "reason": reason}

    def last_counted(self) -> dict[str, int]:
        """Return, by client, the last round in which its update was accepted and the round aggregated."""
        return {
            client["name"]: line["round"]
            for line in self.rounds
            if line["status"] == "aggregated"
            for client in line["clients"]
            if client["status"] == "accepted"
        }

    def skipped_in_a_row(self) -> int:
        """Return how many of the last rounds were skipped, without a break."""
        count = 0
        for line in reversed(self.rounds):
            if line["status"] != "skipped":
                break
            count += 1
        return count


def _timed_out(client: Mapping[str, Any]) -> bool:
    return client["status"] == "silent" and str(client["reason"]).startswith(TIMED_OUT)
