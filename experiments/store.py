"""The store: run folders, found by what was run, claimed by one process at a time, never overwritten."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from common.config import RESULTS_VERSION
from common.errors import UserError
from common.folder import RunFolder, read_json
from common.lock import locked
from common.progress import note

FEDERATION_FILES = ("model", "rounds", "ledger")
"""What a finished federation leaves, whatever is asked of its model afterwards."""


LOCK = ".lock"
"""The file in a run's folder that says who works on it."""


@contextmanager
def claimed(folder: RunFolder, *, wait: bool = False) -> Iterator[None]:
    """Hold a run's folder; another process on the same run is told so, or with ``wait`` goes on after this one.

    Raises:
        UserError: another process works on this run, or the folder cannot be made.
    """
    with ExitStack() as stack:
        try:
            lock = locked(folder.path / LOCK, wait=wait, waiting=lambda: note(f"waiting for {folder.path}"))
            alone = stack.enter_context(lock)
        except OSError as error:
            raise UserError(
                f"{folder.path} cannot be made ({error.strerror}); choose another place with --runs"
            ) from None
        if not alone:
            raise UserError(f"another psreval works on this run now ({folder.path}); wait for it, or end it")
        yield


def is_claimed(folder: RunFolder) -> bool:
    """Tell whether a process works on a run now."""
    if not (folder.path / LOCK).exists():
        return False
    try:
        with locked(folder.path / LOCK, wait=False) as alone:
            return not alone
    except OSError:
        return False


@contextmanager
def federation_claimed(runs: Path, federation_hash: str, *, wait: bool = False) -> Iterator[None]:
    """Keep others that wait from training the same federation under another name; with ``wait``, wait for others.

    Without ``wait``, two processes may train the same federation at once, each into a folder of its own.

    Raises:
        UserError: ``runs`` cannot be written.
    """
    file = runs / f".federation-{federation_hash}.lock"
    with ExitStack() as stack:
        try:
            waiting = f"waiting for federation {federation_hash}, which another process trains"
            stack.enter_context(locked(file, wait=wait, waiting=lambda: note(waiting), leave=False))
        except OSError as error:
            raise UserError(f"{runs} cannot be written ({error.strerror}); choose another place with --runs") from None
        yield


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


def broken_arrays(path: Path) -> str | None:
    """Return why a safetensors file cannot be read, or None; its header and its length are looked at, not the rest."""
    try:
        with safe_open(path, "numpy"):  # which is there sooner than torch, and not asked for anything
            return None
    except (OSError, SafetensorError) as error:
        return str(error)


def copy_federation(source: RunFolder, target: RunFolder) -> bool:
    """Copy a finished federation's files, the model last: its presence says that all are there.

    Without a server there are each peer's updates and own model, or transcripts, besides; the peers' states stay where
    they are.

    Returns:
        Whether they were; False where the source has been removed meanwhile.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    own = [source.updates, *sorted(source.peers.glob("*/model.safetensors")), *sorted(source.transcripts.glob("*"))]
    copied = [path for path in own if path.exists()] + [getattr(source, name) for name in reversed(FEDERATION_FILES)]
    for origin in copied:
        destination = target.path / origin.relative_to(source.path)
        partial = destination.with_name(f".{destination.name}.part")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, partial)
            partial.replace(destination)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UserError(f"{destination} could not be written ({error.strerror}); free some of the disk") from None
    return True


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
    below = sorted(place.glob("[!.]*/experiment.toml")) or sorted(place.glob("[!.]*/*/experiment.toml"))
    if not below:
        raise UserError(f"{path} holds no run (no experiment.toml in it); name a folder runs/NAME/HASH")
    if len(below) > 1:
        newest = max(below, key=lambda file: file.stat().st_mtime).parent
        raise UserError(f"{path} holds {len(below)} runs; name one of them, for example {newest}")
    return RunFolder(below[0].parent.resolve())
