"""The store's inventory: every run with its state and key facts, chosen by name, state or description, and removed."""

import fnmatch
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from common.config import RESULTS_VERSION, Experiment, setting
from common.errors import UserError
from common.folder import RunFolder, read_json
from common.tree import resolve_change
from experiments.run_files import read_part, read_rounds
from experiments.run_formats import Ledger, Manifest
from experiments.store import claimed, is_claimed
from experiments.stored import damage, is_empty, names_files, read_description, read_manifest
from experiments.tables import clean, read_measures, worst
from server.measures import Measure
from server.runners import DESCRIBED

_GOING = ".removed"

Status = Literal["finished", "evaluated", "trained", "resumable", "started", "damaged", "foreign", "other version"]
"""finished: evaluated, with a report; evaluated: its report is not drawn; trained: the federation has ended; resumable:
at its last finished round; started: before its first one; damaged: a file is not whole; foreign: not what its place
says; other version: written with another results version."""
STATUSES: tuple[Status, ...] = (
    "finished", "evaluated", "trained", "resumable", "started", "damaged", "foreign", "other version",
)  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """One run in the store.

    Attributes:
        folder: where it lies.
        status: see ``Status``.
        running: whether a process works on it now.
        reason: why it is damaged or foreign, or how to read another status; may be empty.
        rounds: how many rounds have ended.
        seconds: of work, all parts together; None where nothing says.
        bytes: on disk.
        age: seconds since it ended, or else since it was last worked on.
        epsilon: the worst honest client's, once the federation has ended; None also where nothing is guaranteed.
        accuracy: the int8 model's on unchanged images, a fraction; None before the evaluation.
        worst: the int8 model's under the worst of all that was tried, likewise.
        experiment: the resolved description; None where it cannot be read.
    """

    folder: RunFolder
    status: Status
    running: bool
    reason: str
    rounds: int
    seconds: float | None
    bytes: int
    age: float
    epsilon: float | None
    accuracy: float | None
    worst: float | None
    experiment: Experiment | None

    @property
    def name(self) -> str:
        """The experiment's name, as its folder has it."""
        return self.folder.path.parent.name

    @property
    def hash(self) -> str:
        """The run's hash, as its folder has it."""
        return self.folder.path.name

    def state(self) -> str:
        """Return the status in words: ``resumable at round 3``."""
        told = f"resumable at round {self.rounds}" if self.status == "resumable" else self.status
        return f"{told}, running" if self.running else told


@dataclass(frozen=True)
class Removal:
    """What was, or would be, removed.

    Attributes:
        gone: the runs.
        kept: runs that stay, since a process works on them.
    """

    gone: tuple[Stored, ...]
    kept: tuple[Stored, ...]

    @property
    def bytes(self) -> int:
        """How much of the disk becomes free."""
        return sum(one.bytes for one in self.gone)


def stored_runs(
    runs: Path,
    *,
    name: str = "*",
    status: str | None = None,
    where: Iterable[str] = (),
    now: float | None = None,
) -> list[Stored]:
    """Return the runs below a folder, by name and age; those set aside are not among them.

    Args:
        runs: the store.
        name: a pattern that the experiment's name fits, or the run's hash, or both: ``paper*``, ``paper/1827*``.
        status: one of ``STATUSES``; None: any.
        where: ``a.b=value`` on the resolved description, as for ``--set``; all must hold.
        now: seconds since 1970, from which ages are counted; None: this moment.

    Raises:
        UserError: no such folder, an unknown status, or a key that no description has.
    """
    if not runs.is_dir():
        raise UserError(f"there is no folder {runs}; `psreval run` makes it, or name another with --runs")
    if status is not None and status not in STATUSES:
        raise UserError(f"--status {status}: choose one of {', '.join(STATUSES)}")
    moment = time.time() if now is None else now
    places = [path for path in sorted(runs.glob("[!.]*/[!.]*")) if _is_run(path)]
    found = [
        _stored(RunFolder(path.resolve()), moment)
        for path in places
        if any(
            fnmatch.fnmatchcase(one, name) for one in (path.parent.name, path.name, f"{path.parent.name}/{path.name}")
        )
    ]
    for condition in where:
        found = _matching(found, condition)
    return sorted((one for one in found if status in (None, one.status)), key=lambda one: (one.name, one.age, one.hash))


def remove_runs(chosen: Sequence[Stored], *, really: bool) -> Removal:
    """Remove runs, or with ``really = False`` only tell what would go; a run that a process works on stays.

    A run vanishes at once, whole: a process that is killed meanwhile leaves none behind that looks like one.

    Raises:
        UserError: the disk cannot be written.
    """
    gone, kept = [], []
    for one in chosen:
        folder = one.folder.path
        try:
            if not folder.is_dir():
                continue
            with claimed(one.folder):
                going = _free_name(folder.parents[1] / _GOING, one)
                if really:
                    going.parent.mkdir(exist_ok=True)
                    folder.rename(going)
        except UserError:
            if not is_claimed(one.folder):
                raise
            kept.append(one)
            continue
        except OSError as error:
            raise UserError(f"{folder} cannot be removed ({error.strerror})") from None
        gone.append(one)
        if really:
            with suppress(OSError):  # other runs of this name
                folder.parent.rmdir()
    if really:
        for store in {one.folder.path.parents[1] for one in chosen}:
            shutil.rmtree(store / _GOING, ignore_errors=True)
    return Removal(tuple(gone), tuple(kept))


def _stored(folder: RunFolder, now: float) -> Stored:
    status, reason = _status(folder)
    manifest: Manifest | None = None
    experiment: Experiment | None = None
    epsilon: float | None = None
    measures: tuple[Measure, ...] = ()
    rounds = 0
    with suppress(UserError):
        experiment = read_description(folder)
    with suppress(UserError):
        manifest = read_part(folder.manifest, Manifest)
    with suppress(UserError):
        rounds = len(read_rounds(folder.rounds))
    if folder.model.exists():
        with suppress(UserError):
            epsilon = read_part(folder.ledger, Ledger).worst_honest_epsilon
        with suppress(UserError):
            measures = read_measures(folder.results)
    accuracy, attacked = clean(measures, "int8"), worst(measures, "int8", "all")
    size, touched = _size(folder.path)
    return Stored(
        folder=folder,
        status=status,
        running=status not in ("finished", "evaluated") and is_claimed(folder),
        reason=reason,
        rounds=rounds,
        seconds=sum(manifest.seconds.values()) if manifest is not None and manifest.seconds else None,
        bytes=size,
        age=max(0.0, now - (_moment(manifest.finished if manifest else None) or touched)),
        epsilon=epsilon,
        accuracy=None if accuracy is None else accuracy.value,
        worst=None if attacked is None else attacked.value,
        experiment=experiment,
    )


def _status(folder: RunFolder) -> tuple[Status, str]:
    if not folder.experiment.exists():
        return ("started", "") if is_empty(folder) else ("foreign", f"no {folder.experiment.name} in it")
    manifest = None
    if folder.manifest.exists():
        try:
            raw = read_json(folder.manifest)
        except UserError as error:
            return "damaged", str(error)
        version = raw.get("results_version") if isinstance(raw, dict) else None
        if version != RESULTS_VERSION:
            return "other version", f"results version {version}, this psreval has {RESULTS_VERSION}"
        try:
            manifest = read_manifest(folder)
        except UserError as error:
            return "damaged", str(error)
        if manifest.hash != folder.path.name:
            return "foreign", f"{folder.manifest.name} is that of {manifest.hash}"
    try:
        experiment = read_description(folder)
    except UserError as error:
        return "damaged", str(error)
    if manifest is not None and not names_files(experiment):
        hospitals = manifest.runner not in DESCRIBED
        if experiment.digest(manifest.data.checksum, hospitals=hospitals) != folder.path.name:
            return "foreign", f"{folder.experiment.name} is another description than the folder's name stands for"
    reason = damage(folder, manifest)
    if reason is not None:
        return "damaged", reason
    if folder.results.exists():
        return ("finished", "") if folder.report.exists() else ("evaluated", "its report is not drawn")
    if folder.model.exists():
        return "trained", "not evaluated"
    begun = folder.checkpoint.exists() or (folder.updates.exists() and folder.rounds.exists())
    return ("resumable", "") if begun else ("started", "no round has ended")


def _matching(found: list[Stored], condition: str) -> list[Stored]:
    """Return the runs whose description stays as it is when the key is set to the value."""
    try:
        key, value = setting(condition)
    except UserError:
        raise UserError(
            f"--where {condition}: write --where key=value, for example --where privacy.epsilon=3.4"
        ) from None
    value = resolve_change(key, value)
    values = [value, None] if value == "none" else [value]
    matching, errors, readable = [], [], 0
    for one in found:
        if one.experiment is None:
            continue
        readable += 1
        refused = []
        for wanted in values:
            try:
                if one.experiment.change({key: wanted}) == one.experiment:
                    matching.append(one)
                    break
            except UserError as error:
                refused.append(error)
        if len(refused) == len(values):
            errors.append(refused[0])
    if readable and len(errors) == readable:  # of runs with fewer clients, for example, only some refuse it
        raise UserError(f"--where {condition}: {str(errors[0]).removeprefix('the changed description: ')}")
    return matching


def _is_run(path: Path) -> bool:
    """Tell whether a folder is a run, or claims to be one: what studies write lies in the store, too."""
    if not path.is_dir():
        return False
    hexadecimal = len(path.name) == 16 and set(path.name) <= set("0123456789abcdef")
    return hexadecimal or (path / "experiment.toml").exists() or (path / "manifest.json").exists()


def _free_name(going: Path, one: Stored) -> Path:
    number = 1
    while (target := going / f"{one.name}-{one.hash}-{number}").exists():
        number += 1
    return target


def _size(path: Path) -> tuple[int, float]:
    """Return the bytes of all files below, and when the newest of them was written, in seconds since 1970."""
    states = []
    for file in path.rglob("*"):
        with suppress(OSError):  # a temporary file of a process that works here
            if file.is_file():
                states.append(file.stat())
    newest = max((state.st_mtime for state in states), default=path.stat().st_mtime)
    return sum(state.st_size for state in states), newest


def _moment(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None
