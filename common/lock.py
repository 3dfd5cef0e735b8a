"""Locks between processes, each a file; a lock ends with the process that holds it, however that ends."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows: nobody is kept out
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(
    file: Path, *, wait: bool = True, waiting: Callable[[], None] = lambda: None, leave: bool = True
) -> Iterator[bool]:
    """Hold the lock ``file`` and yield True; yield False where another holds it and ``wait`` is False.

    A process that waits sleeps until the lock is free. The lock's folder may be moved or removed by whoever holds it:
    those who wait then lock the file of that name anew.

    Args:
        file: the lock; it is made, with folders that are missing.
        wait: until whoever holds it lets go or dies.
        waiting: called once, before waiting.
        leave: the file stays where it is; else it is removed in the end.

    Raises:
        OSError: the file cannot be made, or its disk knows no locks.
    """
    if fcntl is None:
        yield True
        return
    handle = _acquire(file, wait, waiting)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        if not leave:
            with contextlib.suppress(OSError):
                file.unlink()
        # Closing alone would leave the lock with a process that was forked meanwhile (Ray's, for example).
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


@contextlib.contextmanager
def shared(file: Path) -> Iterator[Callable[[], bool]]:
    """Hold the lock ``file`` together with others; what is yielded tells whether nobody else holds it now.

    Where it says True, it keeps others out from then on.

    Raises:
        OSError: the file cannot be made, or its disk knows no locks.
    """
    if fcntl is None:
        yield lambda: True
        return
    handle = _open(file)

    def alone() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with contextlib.suppress(BlockingIOError):  # who fails to hold it alone has let go of it
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        return True

    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield alone
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _acquire(file: Path, wait: bool, waiting: Callable[[], None]) -> int | None:
    while True:
        handle = _open(file)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    os.close(handle)
                    return None
                waiting()
                waiting = _silent
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(handle, file):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the file was moved or removed while we waited


def _open(file: Path) -> int:
    for _ in range(8):
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the folder went away in between
            return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    raise FileNotFoundError(2, "its folder is removed again and again", str(file))


def _is_at(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _silent() -> None:
    pass
