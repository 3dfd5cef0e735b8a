import contextlib
import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from common.errors import UserError
from common.folder import (
    RunFolder,
    append_line,
    read_arrays,
    read_json,
    read_lines,
    write_arrays,
    write_bytes,
    write_json,
)


def test_arrays_come_back_equal(tmp_path: Path) -> None:
    arrays = {"a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), "b": torch.arange(5)}
    write_arrays(tmp_path / "x.safetensors", arrays, {"k": "v"})
    back = read_arrays(tmp_path / "x.safetensors")
    assert back.keys() == arrays.keys()
    assert all(torch.equal(back[name], arrays[name]) for name in arrays)


def test_tensors_that_share_memory_are_written_each_whole(tmp_path: Path) -> None:
    tied = torch.arange(6.0)
    arrays = {"a": tied, "b": tied, "rows": tied[:4].view(2, 2), "none": tied[:0], "own": torch.ones(2)}
    write_arrays(tmp_path / "x", arrays)
    back = read_arrays(tmp_path / "x")
    assert all(torch.equal(back[name], arrays[name]) for name in arrays)


def test_equal_content_is_equal_bytes_with_metadata_too(tmp_path: Path) -> None:
    metadata = {name: name * 3 for name in "abcdefgh"}
    for number in range(5):
        write_arrays(tmp_path / str(number), {"a": torch.ones(3, dtype=torch.int64)}, metadata)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(5)}) == 1
    with safe_open(tmp_path / "0", "pt") as file:
        assert file.metadata() == metadata
        assert torch.equal(file.get_tensor("a"), torch.ones(3, dtype=torch.int64))


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    write_arrays(file, {"a": torch.zeros(100)})
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match=r"x.safetensors could not be read"):
        read_arrays(file)
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"x.json could not be read"):
        read_json(tmp_path / "x.json")


def test_a_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.json"
    write_json(file, {"round": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"could not be written \(No space left on device; \d+ MiB free\)"):
        write_json(file, {"round": 2})
    assert read_json(file) == {"round": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "x", b"content")
    assert list(tmp_path.iterdir()) == []


def test_lines_are_appended(tmp_path: Path) -> None:
    for number in range(3):
        append_line(tmp_path / "x.jsonl", {"round": number})
    assert [line["round"] for line in read_lines(tmp_path / "x.jsonl")] == [0, 1, 2]
    assert list(read_lines(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_is_for_those_that_its_mode_names(tmp_path: Path, mode: int) -> None:
    write_bytes(tmp_path / "x", b"content", mode=mode)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_names_are_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    fsync, replace = os.fsync, os.replace

    def replaced(old: str, new: Path) -> None:
        done.append(0)
        replace(old, new)

    def synced(handle: int) -> None:
        done.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "fsync", synced)
    file = tmp_path / "a" / "b" / "x"
    write_bytes(file, b"content")
    assert done == [path.stat().st_ino if path else 0 for path in (file, None, file.parent, tmp_path / "a", tmp_path)]
    done.clear()
    write_bytes(file, b"content")
    assert done == [file.stat().st_ino, 0, file.parent.stat().st_ino]


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_disk_that_keeps_no_names_is_told_from_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    fsync = os.fsync

    def broken(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(UserError, match="could not be written") if fails else contextlib.nullcontext():
        write_bytes(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"


def test_names_of_peers_that_differ_in_an_ending_only_keep_models_of_their_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.peer_model("a").parent != folder.peer_model("a.safetensors")
    assert folder.peer_model("a.safetensors").parent.name == "a.safetensors"
