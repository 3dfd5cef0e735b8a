"""What this machine has to give now: cores and memory, as bounded by its control groups (containers, batch systems)."""

import os
from collections.abc import Iterator
from pathlib import Path


def available_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use, at least 1.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _groups(root, "cpu"):
        told = (_text(folder / "cpu.max") or "").split()
        if not told:
            told = [_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        quota, period = (_number(word) for word in told[:2]) if len(told) >= 2 else (None, None)
        if quota and period and quota > 0:
            cores = min(cores, quota // period)
    return max(1, cores)


def available_memory(root: Path = Path("/")) -> int:
    """Return how many bytes can still be had without swapping; what can be dropped from caches counts.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    free = _machine_memory(root)
    for folder in _groups(root, "memory"):
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _number(_text(folder / limit_name)), _number(_text(folder / used_name))
            if limit is not None and used is not None:
                free = min(free, limit - used + _entry(_text(folder / "memory.stat"), cache_name))
    return max(0, free)


def _machine_memory(root: Path) -> int:
    told = _entry(_text(root / "proc" / "meminfo"), "MemAvailable:") * 1024
    return told or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups, of version 1 or 2, that this process is in; a limit of each holds."""
    for line in (_text(root / "proc" / "self" / "cgroup") or "").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / (controller if names else "")
        own = top / path.lstrip("/")
        # A container may see its own group as the top, and the path of its group outside.
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top) and folder.is_dir())


def _entry(text: str | None, name: str) -> int:
    """Return the number after ``name`` in a file of names and numbers; 0 without it."""
    found = (line.split() for line in (text or "").splitlines())
    return next((_number(words[1]) or 0 for words in found if len(words) > 1 and words[0] == name), 0)


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:  # "max"
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
