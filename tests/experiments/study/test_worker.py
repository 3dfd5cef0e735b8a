"""What is told of a task where it is done."""

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.code import ALL_PACKAGES, code_digest
from common.errors import UserError
from experiments.study import worker
from experiments.study.worker import attempt, in_a_line, measured


def test_what_is_given_is_done_and_no_failure_told() -> None:
    seen: list[str] = []
    done = measured(seen.append, "arguments")
    assert seen == ["arguments"]
    assert done.failure is None
    assert done.trace == ""


def test_a_users_mistake_is_its_sentence_without_a_trace() -> None:
    def work(_: object) -> None:
        raise UserError("eps = -1: choose at least 0")

    done = measured(work, None)
    assert (done.failure, done.trace) == ("eps = -1: choose at least 0", "")


@pytest.mark.parametrize("error", [ValueError("first\nsecond"), SystemExit("first"), MemoryError("first")])
def test_a_defect_is_its_first_line_and_a_trace(error: BaseException) -> None:
    def work(_: object) -> None:
        raise error

    done = measured(work, None)
    assert done.failure == f"{type(error).__name__}: first"
    assert "in work" in done.trace


def test_ctrl_c_is_no_failure_of_the_task() -> None:
    def work(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(work, None)


def test_an_exception_without_words_is_its_name() -> None:
    assert in_a_line(KeyError()) == "KeyError"
    assert in_a_line(ValueError("\n  \n a reason \n")) == "ValueError: a reason"


def test_processor_seconds_are_those_of_the_task_and_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {resource.RUSAGE_SELF: (100.0, 10.0), resource.RUSAGE_CHILDREN: (1000.0, 20.0)}

    def usage(whose: int) -> SimpleNamespace:
        user, system = used[whose]
        return SimpleNamespace(ru_utime=user, ru_stime=system, ru_maxrss=1)

    def work(_: object) -> None:
        used[resource.RUSAGE_SELF] = (103.0, 10.5)
        used[resource.RUSAGE_CHILDREN] = (1007.0, 20.25)

    monkeypatch.setattr(worker.resource, "getrusage", usage)
    assert measured(work, None).cpu_seconds == 3 + 0.5 + 7 + 0.25  # what was used before does not count


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be forgotten on Linux only")
def test_the_peak_of_a_task_is_not_that_of_the_one_before() -> None:
    size = 200 * 2**20

    def fill(size: int) -> None:
        bytearray(size)

    large, small = measured(fill, size).peak_memory, measured(fill, 1).peak_memory
    assert large - small > 0.9 * size


def test_work_is_not_even_imported_where_the_code_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.study.worker.end_with_parent", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    done = attempt("0" * 64, True, lambda: pytest.fail("fetched"))
    assert done.failure is not None
    assert code_digest(ALL_PACKAGES)[:12] in done.failure
    assert "install the same psreval" in done.failure


def test_equal_code_does_its_work_and_sees_a_gpu_only_if_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr("experiments.study.worker.end_with_parent", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    seen: list[str] = []
    for sees_gpu in (True, False):
        assert (
            attempt(
                code_digest(ALL_PACKAGES), sees_gpu, lambda: (seen.append, os.environ["CUDA_VISIBLE_DEVICES"])
            ).failure
            is None
        )
    assert seen == ["0", ""]
