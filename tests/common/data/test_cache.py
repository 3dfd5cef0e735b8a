"""Laws of the cache."""

import errno
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.data import cache
from common.data.cache import cache_folder, obtain, require_space
from common.errors import UserError


def builder(built: list[int], content: bytes = b"content") -> Callable[[Path], dict[str, Any]]:
    def build(folder: Path) -> dict[str, Any]:
        built.append(1)
        (folder / "array.bin").write_bytes(content)
        return {"answer": 42}

    return build


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


def test_a_folder_is_built_once(tmp_path: Path) -> None:
    built: list[int] = []
    for _ in range(3):
        folder, meta = obtain(tmp_path / "new" / "cache", "x", builder(built))
        assert (folder / "array.bin").read_bytes() == b"content"
        assert meta["answer"] == 42
    assert len(built) == 1
    assert not leftovers(tmp_path / "new" / "cache")


@pytest.mark.parametrize("damage", ["truncated", "changed", "deleted", "no description", "bad description", "a file"])
def test_damage_is_noticed_and_mended(tmp_path: Path, damage: str) -> None:
    built: list[int] = []
    folder, _ = obtain(tmp_path, "x", builder(built))
    array, meta = folder / "array.bin", folder / cache.META
    if damage == "truncated":
        array.write_bytes(b"cont")
    elif damage == "changed":
        array.write_bytes(b"c0ntent")
    elif damage == "deleted":
        array.unlink()
    elif damage == "no description":
        meta.unlink()
    elif damage == "bad description":
        meta.write_text("[1, 2", encoding="utf-8")
    else:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "array.bin").write_bytes(b"")
    folder, _ = obtain(tmp_path, "x", builder(built))
    assert array.read_bytes() == b"content"
    assert len(built) == 2
    assert not leftovers(tmp_path)


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half").write_bytes(b"half")
        raise UserError("no such image")

    with pytest.raises(UserError, match="no such image"):
        obtain(tmp_path, "x", fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.lock"]


def test_what_a_killed_builder_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".x-123-abcd").mkdir()
    (tmp_path / ".x-123-abcd" / "half").write_bytes(b"half")
    obtain(tmp_path, "x", builder([]))
    assert not leftovers(tmp_path)


def _build_slowly(folder: Path, log: Path, begin: Any) -> None:
    def build(fresh: Path) -> dict[str, Any]:
        with log.open("a") as file:
            file.write("built\n")
        (fresh / "array.bin").write_bytes(b"begin")
        time.sleep(0.3)  # so that who came at the same time meets a half-built entry, if that can be
        (fresh / "array.bin").write_bytes(b"content")
        return {}

    begin.wait(100)
    place, _ = obtain(folder, "x", build)
    assert (place / "array.bin").read_bytes() == b"content"


@pytest.mark.parametrize("locks", [True, False])
def test_concurrent_builders_do_not_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool) -> None:
    if not locks:
        monkeypatch.setattr(cache, "fcntl", None)
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(4)
    processes = [
        context.Process(target=_build_slowly, args=(tmp_path / "c", tmp_path / "log", begin)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "c" / "x" / "array.bin").read_bytes() == b"content"
    assert not leftovers(tmp_path / "c")
    if locks:
        assert (tmp_path / "log").read_text() == "built\n"


def test_too_little_space_is_a_sentence(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(UserError, match=r"the cache needs \d+ MB .* are free; .*PSREVAL_CACHE"):
        require_space(tmp_path, 10**18)

    def full(folder: Path) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match="no space left for the cache"):
        obtain(tmp_path, "x", full)


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot be written .*PSREVAL_CACHE"):
        obtain(tmp_path / "file" / "cache", "x", builder([]))


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSREVAL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("PSREVAL_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "psreval"
