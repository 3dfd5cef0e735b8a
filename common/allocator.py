"""Memory that a step of training or of an attack frees stays with the process: the next step asks for it again.

The C library of Linux hands large pieces back at once, and the system fills each with zeros when it is asked for again:
a fifth to a third of what a small network's step costs.
"""

import ctypes
import functools
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of ``mallopt`` (malloc.h)."""
KEPT, LARGEST = 2**28, 2**30
"""Bytes that a process keeps at the top of its memory, at most; and of a piece that is not kept in any case."""


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep what is freed; tell whether it does.

    It is left alone where it is not glibc, and where an environment variable (``MALLOC_…``, ``GLIBC_TUNABLES``) says
    already how it is to behave.
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(TRIM_THRESHOLD, KEPT)) and bool(library.mallopt(MMAP_THRESHOLD, LARGEST))
