"""The store: run folders, found by what was run, claimed by one process at a time, never overwritten."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.config import RESULTS_VERSION
from common.errors import UserError
from common.folder import RunFolder, read_json

FEDERATION_FILES = ("model", "rounds", "ledger")
"""What a finished federation leaves, whatever is asked of its model afterwards."""


@contextmanager
def claimed(folder: RunFolder) -> Iterator[None]:
    """Hold a run's folder; another process on the same run is told so.

    Raises:
        UserError: another process works on this run, or the folder cannot be made.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = (folder.path / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{folder.path} cannot be made ({error.strerror}); choose another place with --runs") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another psreval works on this run now ({folder.path}); wait for it, or end it") from None
        try:
            yield
        finally:
            # Closing alone would leave the lock with a process that was forked meanwhile (Ray's, for example).
            fcntl.flock(lock, fcntl.LOCK_UN)


def check_version(folder: RunFolder) -> None:
    """Refuse a folder that another version of psreval wrote.

    Raises:
        UserError: the results version differs, or the manifest is not whole.
    """
    if folder.manifest.exists():
        told = read_json(folder.manifest)
        found = told.get("results_version") if isinstance(told, dict) else None
        if found != RESULTS_VERSION:
            raise UserError(
                f"{folder.path} was written with results version {found}, this psreval has {RESULTS_VERSION}; "
                "move it aside, or use the psreval that wrote it"
            )


def finished_federation(runs: Path, federation_hash: str, apart_from: RunFolder) -> RunFolder | None:
    """Return a run whose federation is the same and has ended, whatever its evaluation."""
    for manifest in sorted(runs.glob("*/*/manifest.json")):
        folder = RunFolder(manifest.parent)
        if folder.path == apart_from.path or not folder.model.exists():
            continue
        try:
            told: Any = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(told, dict):
            continue
        if told.get("federation_hash") == federation_hash and told.get("results_version") == RESULTS_VERSION:
            return folder
    return None


def copy_federation(source: RunFolder, target: RunFolder) -> None:
    """Copy a finished federation's files, the model last: its presence says that all are there."""
    for name in reversed(FEDERATION_FILES):
        origin: Path = getattr(source, name)
        if origin.exists():
            destination: Path = getattr(target, name)
            partial = destination.with_name(f".{destination.name}.part")
            shutil.copyfile(origin, partial)
            partial.replace(destination)


def find_run(path: Path) -> RunFolder:
    """Return the run that ``path`` names: a run's folder, a file in it, or ``runs/NAME`` with one run.

    Raises:
        UserError: nothing there, or several runs to choose from.
    """
    place = path if path.is_dir() else path.parent
    if not path.exists():
        raise UserError(f"there is no run at {path}; `psreval run` makes one, and prints where")
    if (place / "experiment.toml").exists():
        return RunFolder(place.resolve())
    below = sorted(place.glob("*/experiment.toml")) or sorted(place.glob("*/*/experiment.toml"))
    if not below:
        raise UserError(f"{path} holds no run (no experiment.toml in it); name a folder runs/NAME/HASH")
    if len(below) > 1:
        newest = max(below, key=lambda file: file.stat().st_mtime).parent
        raise UserError(f"{path} holds {len(below)} runs; name one of them, for example {newest}")
    return RunFolder(below[0].parent.resolve())
