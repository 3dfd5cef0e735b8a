"""A lock keeps others out, is waited for without polling, and dies with whoever holds it."""

import os
import threading
from pathlib import Path

import pytest

from common.lock import locked, shared


def child(work: object) -> int:
    """Run ``work`` in a forked process and return its id; its exit status is 1 where it raised."""
    number = os.fork()
    if number == 0:
        try:
            work()  # type: ignore[operator]
        except BaseException:
            os._exit(1)
        os._exit(0)
    return number


def test_whoever_does_not_wait_is_told(tmp_path: Path) -> None:
    file = tmp_path / "new" / "lock"
    with locked(file) as mine:
        assert mine
        with locked(file, wait=False) as second:
            assert not second
    with locked(file, wait=False) as third:
        assert third


def test_whoever_waits_goes_on_when_the_holder_lets_go(tmp_path: Path) -> None:
    file, order, asked = tmp_path / "lock", [], threading.Event()

    def later() -> None:
        with locked(file, waiting=asked.set):
            order.append("second")

    with locked(file):
        thread = threading.Thread(target=later)
        thread.start()
        assert asked.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_a_holder_that_is_killed_holds_no_more(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    reading, writing = os.pipe()

    def hold() -> None:
        with locked(file):
            os.write(writing, b"held")
            os.read(os.pipe()[0], 1)  # for ever

    holder = child(hold)
    assert os.read(reading, 4) == b"held"
    with locked(file, wait=False) as mine:
        assert not mine
    os.kill(holder, 9)
    os.waitpid(holder, 0)
    with locked(file, wait=False) as mine:
        assert mine
    os.close(reading)
    os.close(writing)


def test_a_lock_whose_folder_was_moved_is_taken_anew_at_its_name(tmp_path: Path) -> None:
    file, asked, found = tmp_path / "run" / "lock", threading.Event(), []

    def later() -> None:
        with locked(file, waiting=asked.set) as mine:
            found.append((mine, file.exists()))
            with locked(file, wait=False) as other:
                found.append(other)

    with locked(file):
        thread = threading.Thread(target=later)
        thread.start()
        assert asked.wait(60)
        file.parent.rename(tmp_path / "aside")
    thread.join(60)
    assert found == [(True, True), False]


def test_a_lock_may_leave_nothing_behind(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", leave=False):
        assert (tmp_path / "lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_many_that_wait_are_in_it_one_at_a_time_although_it_is_removed_each_time(tmp_path: Path) -> None:
    file, inside, most = tmp_path / "lock", [], []

    def enter() -> None:
        for _ in range(50):
            with locked(file, leave=False):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 400


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError), locked(tmp_path / "file" / "lock"):
        pass


def test_a_shared_lock_knows_whether_it_is_alone(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "lock"
    with shared(file) as first:
        with shared(file) as second:
            assert not first()
            assert not second()
        with shared(file):
            pass
    with shared(file) as first:
        assert first()
