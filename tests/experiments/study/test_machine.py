"""Cores and memory within control groups, read from made-up trees."""

import os
from pathlib import Path

import pytest

from experiments.study.machine import available_cores, available_memory

GIB = 2**30


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in {"proc/meminfo": f"MemTotal: 99 kB\nMemAvailable: {16 * GIB // 1024} kB", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


V2 = {"proc/self/cgroup": "0::/jobs/mine", "sys/fs/cgroup/jobs/mine/memory.max": "max"}
V1 = {"proc/self/cgroup": "4:memory:/jobs/mine\n1:cpu,cpuacct:/jobs/mine\n0::/"}


def test_without_groups_the_machine_itself_is_the_bound(tmp_path: Path) -> None:
    assert available_memory(tree(tmp_path, {})) == 16 * GIB
    assert available_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_without_proc_all_memory_is_the_bound(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_tightest_group_above_is_the_bound_and_caches_can_be_dropped(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/jobs"
    stat = f"anon 7\ninactive_file {GIB}"
    files = {**V2, f"{top}/memory.max": 8 * GIB, f"{top}/memory.current": 3 * GIB, f"{top}/memory.stat": stat}
    assert available_memory(tree(tmp_path, files)) == 6 * GIB


def test_the_first_version_of_groups_is_read_too(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/memory/jobs/mine"
    files = {**V1, f"{top}/memory.limit_in_bytes": 4 * GIB, f"{top}/memory.usage_in_bytes": GIB}
    assert available_memory(tree(tmp_path, files)) == 3 * GIB


def test_a_group_beyond_its_limit_leaves_nothing(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/jobs/mine"
    files = {**V2, f"{top}/memory.max": GIB, f"{top}/memory.current": 2 * GIB}
    assert available_memory(tree(tmp_path, files)) == 0


def test_a_container_sees_its_group_as_the_top(tmp_path: Path) -> None:
    top = "sys/fs/cgroup"
    files = {"proc/self/cgroup": "0::/outside", f"{top}/memory.max": 2 * GIB, f"{top}/memory.current": 0}
    assert available_memory(tree(tmp_path, files)) == 2 * GIB


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({**V2, "sys/fs/cgroup/jobs/cpu.max": "250000 100000"}, 2),
        ({**V2, "sys/fs/cgroup/jobs/cpu.max": "max 100000"}, 4),
        ({**V2, "sys/fs/cgroup/jobs/mine/cpu.max": "50000 100000"}, 1),
        ({**V1, "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us": 300000, "sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us": 1}, 4),
        (
            {**V1, "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us": 300, "sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us": 100},
            3,
        ),
        ({**V1, "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us": -1, "sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us": 100}, 4),
    ],
)
def test_cores_are_whole_cores_within_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, object], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 4, 6})
    assert available_cores(tree(tmp_path, files)) == cores
