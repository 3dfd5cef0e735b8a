"""Memory that a step of training or of an attack frees stays with the process: the next step asks for it again.

The C library of Linux hands large pieces back at once, and the system fills each with zeros when it is asked for again:
a good part of what a small network's step costs (docs/performance.md).
"""

import ctypes
import functools
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of ``mallopt`` (malloc.h)."""
KEPT, LARGEST, LARGEST_BEFORE = 2**28, 2**30, 2**25
"""Bytes that a process keeps at the top of its memory, at most; of a piece that is not kept in any case, and the same
where an older glibc takes no more."""


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep what is freed; tell whether it does.

    It is left alone where it is not glibc, and where an environment variable (``MALLOC_…``, ``GLIBC_TUNABLES``) says
    already how it is to behave.
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Either switches off what glibc learns by itself, so the second comes only after the first has been taken: glibc
    # before 2.35 takes no more than half of a thread's heap.
    taken = mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_THRESHOLD, LARGEST_BEFORE)
    return bool(taken) and bool(mallopt(TRIM_THRESHOLD, KEPT))


def hand_back() -> None:
    """Give the system what is kept, such as before a task whose memory is measured; nothing happens without glibc."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
