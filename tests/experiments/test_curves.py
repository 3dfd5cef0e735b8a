from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from common.folder import RunFolder, append_line
from experiments.curves import Step, curve, read_curve


def client(status: str = "accepted", up: int = 10, down: int = 12, accuracy: float | None = 0.5) -> dict[str, Any]:
    return {"name": "n", "status": status, "bytes_up": up, "bytes_down": down, "accuracy": accuracy}


def line(number: int, *clients: dict[str, Any], accuracy: float | None = 0.6, **more: Any) -> dict[str, Any]:
    return {"round": number, "clients": list(clients), "accuracy": accuracy, "accuracy_records": 30, **more}


def test_a_server_counts_what_it_accepted_and_every_byte_that_moved() -> None:
    lines = [line(1, client(), client("refused", accuracy=None)), line(2, client(accuracy=0.7), client(accuracy=0.8))]
    assert curve(lines) == (Step(1, 1, 44, 0.6, 0.5, 30), Step(2, 3, 88, 0.6, 0.75, 30))


def test_peers_count_each_transfer_once_themselves() -> None:
    lines = [line(1, client(), client(), local_updates=2, bytes_moved=0)]
    lines += [line(2, client(), client(), local_updates=4, bytes_moved=33)]
    assert [(step.local_updates, step.bytes_moved) for step in curve(lines)] == [(2, 0), (4, 33)]


def test_a_round_without_a_model_is_no_place_on_the_curve() -> None:
    lines = [line(1, client(), accuracy=None), line(2, client())]
    assert curve(lines) == (Step(2, 2, 44, 0.6, 0.5, 30),)


def test_a_curve_is_read_from_a_runs_folder(tmp_path: Any) -> None:
    folder = RunFolder(tmp_path)
    assert read_curve(folder) == ()
    append_line(folder.rounds, line(1, client()))
    assert read_curve(folder) == (Step(1, 1, 22, 0.6, 0.5, 30),)


@given(st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 9)), min_size=1), max_size=6))
def test_both_axes_never_go_back(rounds: list[list[tuple[bool, int, int]]]) -> None:
    lines = [
        line(number, *(client("accepted" if good else "silent", up, down) for good, up, down in clients))
        for number, clients in enumerate(rounds, start=1)
    ]
    steps = curve(lines)
    assert [step.local_updates for step in steps] == sorted(step.local_updates for step in steps)
    assert [step.bytes_moved for step in steps] == sorted(step.bytes_moved for step in steps)
    if steps:
        assert steps[-1].bytes_moved == sum(up + down for clients in rounds for _, up, down in clients)
