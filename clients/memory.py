"""What a client remembers of a run over rounds and restarts: what it planned, and what it has released.

A hospital keeps one folder a run in its ``state``; a run that is resumed finds its own again. In a simulation the
folder is named by ``PSREVAL_CLIENT_STATE``; without it, Flower's client state holds the same texts until the run ends.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from clients.hospital import local_name
from common.config import Experiment
from common.errors import UserError
from common.exchange import CLIENT, from_record, to_record
from common.folder import read_arrays, write_arrays, write_text
from common.privacy import Ledger, Plan
from common.tree import KINDS

try:
    import fcntl
except ImportError:  # not on Windows: two processes with one state could then both spend
    fcntl = None  # type: ignore[assignment]

LEDGER, INTRODUCTION = "ledger.json", "introduction.json"
"""Names of what is remembered."""
_OWN = 0o600
"""A hospital's state is for its node alone."""


class Memory(Protocol):
    """Where the texts of one run are kept."""

    def read(self, name: str) -> str | None:
        """Return a text, None if there is none of this name."""

    def write(self, name: str, text: str) -> None:
        """Keep a text, whole or not at all. Raises UserError if that is impossible."""

    def read_arrays(self, name: str) -> dict[str, Tensor]:
        """Return named tensors, none if there is nothing of this name. Raises UserError: damaged."""

    def write_arrays(self, name: str, arrays: Mapping[str, Tensor]) -> None:
        """Keep named tensors, whole or not at all. Raises UserError if that is impossible."""

    def alone(self) -> AbstractContextManager[None]:
        """Hold off every other process that shares this memory."""

    def other_runs(self) -> list[Ledger]:
        """Return the ledgers of the other runs that are kept in the same place. Raises UserError: one is damaged."""


@dataclass(frozen=True)
class InFolder:
    """Texts as files of ``state / run``, ``run`` a folder's name."""

    state: Path
    run: str

    def read(self, name: str) -> str | None:
        """Return a file's text, None if there is no such file."""
        return _text(self.state / self.run / name)

    def write(self, name: str, text: str) -> None:
        """Write a file whole or not at all. Raises UserError: the disk is full, or not ours to write."""
        write_text(self.state / self.run / name, text, mode=_OWN)

    def read_arrays(self, name: str) -> dict[str, Tensor]:
        """Return what a safetensors file holds, nothing if there is no such file. Raises UserError: damaged."""
        file = self.state / self.run / name
        return read_arrays(file) if file.exists() else {}

    def write_arrays(self, name: str, arrays: Mapping[str, Tensor]) -> None:
        """Write a safetensors file whole or not at all. Raises UserError as ``write``."""
        write_arrays(self.state / self.run / name, arrays, mode=_OWN)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock on the whole state; it ends with the process. Raises UserError: the folder cannot be written."""
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            handle = (self.state / "lock").open("w")
        except OSError as error:
            raise UserError(f"state = '{self.state}' cannot be written: {error.strerror}") from None
        with handle:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # some network disks have none
                    fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def other_runs(self) -> list[Ledger]:
        """Return the ledgers in the state's other folders."""
        mine = self.state / self.run / LEDGER
        files = [file for file in sorted(self.state.glob(f"*/{LEDGER}")) if file != mine]
        return [Ledger.from_json(_text(file) or "") for file in files]


@dataclass(frozen=True)
class InFlower:
    """Texts in Flower's client state, which lasts as long as the run."""

    state: RecordDict

    def read(self, name: str) -> str | None:
        """Return a text, None if there is none of this name."""
        texts = self.state.config_records.get(CLIENT, ConfigRecord())
        return str(texts[name]) if name in texts else None

    def write(self, name: str, text: str) -> None:
        """Keep a text."""
        texts = self.state.config_records.get(CLIENT, ConfigRecord())
        self.state[CLIENT] = ConfigRecord({**texts, name: text})

    def read_arrays(self, name: str) -> dict[str, Tensor]:
        """Return named tensors, none if there is nothing of this name."""
        return from_record(self.state.array_records.get(name, ArrayRecord()))

    def write_arrays(self, name: str, arrays: Mapping[str, Tensor]) -> None:
        """Keep named tensors."""
        self.state[name] = to_record(arrays)

    def alone(self) -> AbstractContextManager[None]:
        """Do nothing: Flower gives a client one message at a time."""
        return contextlib.nullcontext()

    def other_runs(self) -> list[Ledger]:
        """Return none: nothing outlives the run."""
        return []


@dataclass(frozen=True)
class Introduction:
    """What a client said of itself when it joined a run, and keeps to.

    Attributes:
        plan: how it trains privately; None: it does not.
        rounds: that the server announced then; the plan's ε holds after so many.
    """

    plan: Plan | None
    rounds: int


def read_introduction(memory: Memory) -> Introduction | None:
    """Return how this client introduced itself to the run, None if it never did. Raises UserError: damaged."""
    text = memory.read(INTRODUCTION)
    if text is None:
        return None
    try:
        told = json.loads(text)
        plan = None if told["plan"] is None else Plan(**told["plan"])
        return Introduction(plan, int(told["rounds"]))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"what this client planned for the run cannot be read ({type(error).__name__} in {INTRODUCTION}), so what "
            "it may spend is unknown; restore its state, or start a new run"
        ) from None


def write_introduction(memory: Memory, introduction: Introduction) -> None:
    """Keep how this client introduces itself; from now on a missing ledger is a lost one."""
    if memory.read(LEDGER) is None:
        memory.write(LEDGER, Ledger().to_json())
    memory.write(INTRODUCTION, json.dumps(dataclasses.asdict(introduction)))


def read_ledger(memory: Memory) -> Ledger:
    """Return the ledger of a client that has introduced itself. Raises UserError: it is lost or damaged."""
    text = memory.read(LEDGER)
    if text is None:
        raise UserError(
            "this client took part in the run before, but its privacy ledger is lost, so what it has spent is unknown; "
            "restore its state, or start a new run"
        )
    return Ledger.from_json(text)


def run_key(told: Experiment, *, hospital: bool) -> str:
    """Return the name of a run's folder: the same when the run is resumed, and another one for another run.

    A hospital's depends on what the training depends on, and on nothing by which a server could give one training a
    second budget without starting it anew: not on the number of rounds, on evaluation, on what the description says of
    privacy or of the clients beyond their names. In a simulation, where the description decides, it depends on all.
    """
    tree: dict[str, Any] = json.loads(told.model_dump_json(exclude_none=True))
    tree["data"].pop("path", None)
    if hospital:
        names = [client.name for client in told.roster()]
        tree = {"clients": names, **{key: tree[key] for key in ("name", "seed", "data", "model", "training")}}
    digest = sha256(json.dumps(_without_folders(tree), sort_keys=True).encode())
    return f"{told.name}-{digest.hexdigest()[:16]}"


def _without_folders(value: Any) -> Any:
    """Return a copy in which files stand by their names alone, since the same run may lie elsewhere tomorrow."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, str) and value.startswith(KINDS):
        return f"{value.partition(':')[0]}:{Path(value.partition(':')[2]).name}"
    return local_name(value) if isinstance(value, str) else value


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} could not be read: {error}") from None
