"""The C library keeps what a step frees, where it can be told to."""

import platform
import subprocess
import sys

import pytest

from common.allocator import KEPT, keep_freed_memory
from common.code import ROOT

GLIBC = platform.libc_ver()[0] == "glibc"
COUNTS = """
import resource, sys, torch
from common.allocator import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
size = int(sys.argv[2])
def use():
    torch.ones(size, dtype=torch.uint8)  # written to, so that the system must give all of it
for _ in range(20):  # until free pieces are large enough to be aligned, too
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: str, size: int, **environment: str) -> tuple[bool, int]:
    """Return whether memory is kept, and how many pages a process had to be given for 20 uses of as many bytes."""
    command = [sys.executable, "-c", COUNTS, kept, str(size)]
    clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)
    answer, pages = done.stdout.split()
    return answer == "True", int(pages)


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
@pytest.mark.parametrize("size", [40 * 2**20, KEPT - 2**22])
def test_what_was_freed_need_not_be_given_again(size: int) -> None:
    pages = size // 4096
    kept, few = faults("kept", size)
    assert kept
    assert few < pages
    assert faults("handed back", size)[1] > 10 * few


HELD = """
import sys
from pathlib import Path
from common.allocator import keep_freed_memory
def held():
    return int(Path("/proc/self/statm").read_text().split()[1])
kept = sys.argv[1] == "kept" and keep_freed_memory()
before = held()
bytearray(200 * 2**20)  # above all else on the heap, where the library trims it
print(kept, held() - before)
"""


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_what_was_freed_at_the_top_of_the_heap_stays() -> None:
    pages = 200 * 2**20 // 4096
    for kept, told in (("kept", True), ("handed back", False)):
        command = [sys.executable, "-c", HELD, kept]
        clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        answer, stays = subprocess.run(command, env=clean, capture_output=True, text=True, check=True).stdout.split()
        assert answer == str(told)
        assert int(stays) > 0.9 * pages if told else int(stays) < 0.1 * pages


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_an_environment_that_says_otherwise_is_heeded(variable: str) -> None:
    assert (
        faults("kept", 2**20, **{variable: "1" if variable.startswith("M") else "glibc.malloc.arena_max=1"})[0] is False
    )


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory.__wrapped__() is False


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_what_is_kept_can_be_handed_back() -> None:
    code = (
        "import common.allocator as a; from pathlib import Path; a.keep_freed_memory();"
        "held = lambda: int(Path('/proc/self/statm').read_text().split()[1]);"
        "[bytearray(200 * 2**20) for _ in range(3)]; kept = held(); a.hand_back(); print(kept - held())"
    )
    clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150 * 2**20 / 4096
