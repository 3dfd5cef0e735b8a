"""A task where it is done: in a worker process, or in the caller's own; its failure, seconds and memory are noted."""

import ctypes
import os
import platform
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.allocator import hand_back
from common.code import ALL_PACKAGES, code_digest
from common.errors import UserError


@dataclass(frozen=True)
class Done:
    """What a process tells of a task that it has done or failed to do.

    Attributes:
        seconds: of wall time.
        cpu_seconds: of this process and the ended children of it, meanwhile.
        peak_memory: most bytes of this process that were resident at once.
        failure: one sentence; None: it went well.
        trace: where a failure that is no user's mistake came from.
    """

    seconds: float
    cpu_seconds: float
    peak_memory: int
    failure: str | None = None
    trace: str = ""


def measured(work: Callable[[Any], None], arguments: Any) -> Done:
    """Do ``work(arguments)``; nothing that it raises comes out of here but Ctrl-C."""
    _forget_peak()
    failure, trace = None, ""
    started, cpu = time.monotonic(), _cpu_seconds()
    try:
        work(arguments)
    except UserError as error:
        failure = str(error)
    except (Exception, SystemExit) as error:
        failure, trace = in_a_line(error), traceback.format_exc()
    return Done(time.monotonic() - started, _cpu_seconds() - cpu, _peak_memory(), failure, trace)


def attempt(digest: str, sees_gpu: bool, fetch: Callable[[], tuple[Callable[[Any], None], Any]]) -> Done:
    """Do a task in a worker process of Ray.

    Args:
        digest: of the code of the process that asks.
        sees_gpu: whether the task may use one.
        fetch: returns the work and its arguments; not called where the code differs.
    """
    end_with_parent()
    if not sees_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    here = code_digest(ALL_PACKAGES)
    if here != digest:
        return Done(
            0.0,
            0.0,
            0,
            f"the code on {platform.node()} (digest {here[:12]}) is not that of the study ({digest[:12]}); "
            "install the same psreval on every machine of the cluster",
        )
    work, arguments = fetch()
    return measured(work, arguments)


def in_a_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def end_with_parent() -> None:
    """Have the kernel end this process with the one that started it; without this, it takes Ray more than a second."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == 1:  # it has ended already, and this process was handed on
            os._exit(1)


def _cpu_seconds() -> float:
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _forget_peak() -> None:
    """Begin a new measurement: workers do many tasks. Where that cannot be done, the largest task so far is told."""
    hand_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_memory() -> int:
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
