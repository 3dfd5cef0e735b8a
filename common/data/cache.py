"""Folders of prepared arrays: built once, by one process, whole or not at all; checked by length and checksum."""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.loading import file_digest

try:
    import fcntl
except ImportError:  # not on Windows: concurrent builders then work twice, and one result is kept
    fcntl = None  # type: ignore[assignment]

META = "meta.json"
_verified: dict[Path, list[tuple[str, int, int, int]]] = {}


def cache_folder(given: Path | None = None) -> Path:
    """Return ``given``, else ``$PSREVAL_CACHE``, else ``~/.cache/psreval``."""
    return Path(given or os.environ.get("PSREVAL_CACHE") or "~/.cache/psreval").expanduser()


def obtain(cache: Path, name: str, build: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Return the folder ``cache/name`` and its description; ``build`` it if it is not there or is damaged.

    Args:
        cache: made if need be.
        name: of the folder; must determine what it holds.
        build: writes files into the empty folder it is given and returns the description, kept as JSON.

    Raises:
        UserError: the cache cannot be written, or ``build``'s own.
    """
    target = cache / name
    with _space(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{name}.lock") as alone:
            meta = _verify(target)
            if meta is not None:
                return target, meta
            if alone:  # whoever began one of these is dead
                for left in cache.glob(f".{name}-*"):
                    shutil.rmtree(left, ignore_errors=True)
            fresh = cache / f".{name}-{os.getpid()}-{secrets.token_hex(4)}"
            fresh.mkdir()
            try:
                _seal(fresh, build(fresh))
                _put_in_place(fresh, target)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            meta = _verify(target)
    if meta is None:
        raise UserError(
            f"the cache folder {target} does not keep what is written to it; check the disk or set PSREVAL_CACHE"
        )
    return target, meta


def require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold. Raises UserError."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the cache needs {needed / 1e6:.0f} MB in {folder.parent}, where {free / 1e6:.0f} MB are free; "
            "free some, lower data.image_size or data.train_records, or set PSREVAL_CACHE to another disk"
        )


def _verify(folder: Path) -> dict[str, Any] | None:
    """Return the description of a whole folder, None for a missing or damaged one. Checksums: once a process."""
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
        files: dict[str, Any] = meta["files"]
        stamp = []
        for name, known in sorted(files.items()):
            state = (folder / name).stat()
            if state.st_size != known["bytes"]:
                return None
            stamp.append((name, state.st_size, state.st_mtime_ns, state.st_ino))
        if _verified.get(folder) != stamp:
            if any(file_digest(folder / name) != known["sha256"] for name, known in files.items()):
                return None
            _verified[folder] = stamp
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return meta


def _seal(folder: Path, meta: dict[str, Any]) -> None:
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": file_digest(file)} for file in sorted(folder.iterdir())
    }
    (folder / META).write_text(json.dumps({**meta, "files": files}, indent=1), encoding="utf-8")


def _put_in_place(fresh: Path, target: Path) -> None:
    if target.exists():
        if _verify(target) is not None:  # another process was faster
            return
        # processes that still map the damaged files keep them until they end
        with contextlib.suppress(FileNotFoundError):
            aside = target.with_name(f".{target.name}-damaged-{secrets.token_hex(4)}")
            target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    try:
        fresh.rename(target)
    except OSError:
        if _verify(target) is None:
            raise


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[bool]:
    """Hold a lock that ends with the process; yield False where there is none to be had."""
    if fcntl is None:
        yield False
        return
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # some network disks
            yield False
            return
        yield True


@contextlib.contextmanager
def _space(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left for the cache {cache}; free some, or set PSREVAL_CACHE to another disk"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"the cache {cache} cannot be written ({error.strerror}); set PSREVAL_CACHE to a folder of yours"
            ) from None
        raise
