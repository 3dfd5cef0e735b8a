"""What a client keeps of what compression lost: of the update that counted last, and of none that did not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict
from torch import Tensor

from clients.memory import LEDGER, InFlower, InFolder, Memory
from clients.place import STATE_VARIABLE
from clients.residual import RESIDUAL, compress_update
from common.data import prepare
from common.errors import UserError
from common.exchange import CONFIG, arrays_of, from_record
from common.folder import read_arrays
from common.update_compression import compress, decompress
from experiments.inprocess import InProcessGrid
from server.federation import initial_model
from tests.clients.client_fixture import PRIVATE, ask, deliver, hospitals, request, simulated, tiny
from tests.clients.test_place import file_of

RECEIVED = {"bias": torch.zeros(2), "weight": torch.ones(1, 3)}
Arrays = dict[str, Tensor]


@pytest.fixture(params=["in a folder", "in Flower's state"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Memory:
    return InFlower(RecordDict()) if request.param == "in Flower's state" else InFolder(tmp_path, "run")


def sent(round_number: int) -> Arrays:
    generator = torch.Generator().manual_seed(round_number)
    return {name: array + torch.randn(array.shape, generator=generator) for name, array in RECEIVED.items()}


def send(memory: Memory, round_number: int, counted: int) -> Arrays:
    return compress_update(sent(round_number), RECEIVED, memory, round=round_number, counted=counted)


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rounds_kept(memory: Memory) -> set[str]:
    return {name.partition("/")[0] for name in memory.read_arrays(RESIDUAL)}


def test_the_first_update_has_nothing_to_make_up_for(memory: Memory) -> None:
    assert same(send(memory, 1, 0), compress(sent(1), RECEIVED, {})[0])


def test_what_was_lost_is_made_up_for_in_the_next_update(memory: Memory) -> None:
    send(memory, 1, 0)
    _, lost = compress(sent(1), RECEIVED, {})
    assert same(send(memory, 2, 1), compress(sent(2), RECEIVED, lost)[0])


def test_over_rounds_that_all_count_the_server_misses_the_last_residual_alone(memory: Memory) -> None:
    missing = {name: torch.zeros_like(array, dtype=torch.float64) for name, array in RECEIVED.items()}
    for number in range(1, 6):
        arrived = decompress(send(memory, number, number - 1), RECEIVED)
        for name, array in sent(number).items():
            missing[name] += array.double() - arrived[name].double()
    for name, array in missing.items():
        assert torch.allclose(array.float(), memory.read_arrays(RESIDUAL)[f"5/{name}"], atol=1e-7)


@pytest.mark.parametrize("lost", [(2,), (2, 3), (2, 3, 4)], ids=str)
def test_updates_that_did_not_count_leave_no_trace(lost: tuple[int, ...], memory: Memory, tmp_path: Path) -> None:
    undisturbed = InFolder(tmp_path / "undisturbed", "run")
    for kept in (memory, undisturbed):
        send(kept, 1, 0)
    for number in lost:
        send(memory, number, 1)
    assert same(send(memory, 5, 1), send(undisturbed, 5, 1))


def test_a_round_that_is_repeated_gives_the_same_bits(memory: Memory) -> None:
    send(memory, 1, 0)
    first = send(memory, 2, 1)
    assert same(send(memory, 2, 1), first)
    assert same(send(memory, 2, 1), first)


def test_a_new_run_starts_with_nothing_to_make_up_for(memory: Memory) -> None:
    send(memory, 1, 0)
    send(memory, 2, 1)
    assert same(send(memory, 1, 0), compress(sent(1), RECEIVED, {})[0])
    assert rounds_kept(memory) == {"1"}


def test_residuals_of_two_rounds_are_kept_and_not_of_more(memory: Memory) -> None:
    for number in range(1, 5):
        send(memory, number, number - 1)
    assert rounds_kept(memory) == {"3", "4"}


def test_a_round_of_which_nothing_is_remembered_counts_as_nothing_lost(memory: Memory) -> None:
    assert same(send(memory, 9, 7), compress(sent(9), RECEIVED, {})[0])


def test_round_one_is_not_taken_for_round_eleven(memory: Memory) -> None:
    send(memory, 11, 0)
    assert same(send(memory, 12, 1), compress(sent(12), RECEIVED, {})[0])


def test_a_damaged_file_is_forgotten_and_replaced(tmp_path: Path) -> None:
    memory = InFolder(tmp_path, "run")
    send(memory, 1, 0)
    (tmp_path / "run" / RESIDUAL).write_bytes(b"not tensors")
    assert same(send(memory, 2, 1), compress(sent(2), RECEIVED, {})[0])
    assert rounds_kept(memory) == {"2"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda arrays: arrays | {"bias": torch.tensor([0.0, float("nan")])}, "not finite"),
        (lambda arrays: arrays | {"bias": torch.tensor([0, 1])}, "bias has type torch.int64"),
        (lambda arrays: {"bias": arrays["bias"]}, "named"),
    ],
)
def test_weights_that_cannot_be_compressed_are_a_sentence(
    spoil: Callable[[Arrays], Arrays], words: str, tmp_path: Path
) -> None:
    memory = InFolder(tmp_path, "run")
    with pytest.raises(UserError, match=rf"federation.update_compression = 'int8': .*{words}.*; set it to 'none'"):
        compress_update(spoil(sent(1)), RECEIVED, memory, round=1, counted=0)
    assert not memory.read_arrays(RESIDUAL)


def two_rounds(grid: InProcessGrid, **changes: Any) -> tuple[Arrays, Arrays]:
    """What client a sends in rounds 1 and 2, where the server starts both from the same weights."""
    made = tiny(federation__update_compression="int8", **changes)
    ask(grid, made, "query", round_number=0)
    first, second = request(made, "train", 1), request(made, "train", 2)
    first[CONFIG]["counted"], second[CONFIG]["counted"] = 0, 1
    sent = (deliver(grid, content, "train")["arrays"] for content in (first, second))
    one, two = (from_record(record) for record in sent)
    return one, two


@pytest.mark.parametrize("private", [{}, PRIVATE], ids=["", "private"])
def test_a_hospital_keeps_the_residual_in_its_own_state_and_sends_what_a_simulated_client_sends(
    private: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    theirs = two_rounds(simulated(), **private)
    file = file_of(tmp_path, tiny(**private), 0)
    ours = two_rounds(hospitals(file), **private)
    assert all(same(our, their) for our, their in zip(ours, theirs, strict=True))
    (kept,) = (tmp_path / "state").glob(f"*/{RESIDUAL}")
    assert (kept.parent / LEDGER).exists()
    assert {name.partition("/")[0] for name in read_arrays(kept)} == {"1", "2"}


def test_what_a_client_leaves_unsent_is_what_the_server_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    plain = from_record(ask(simulated(), tiny(), "train")["arrays"])
    made, file = tiny(), file_of(tmp_path, tiny(), 0)
    (update, _) = two_rounds(hospitals(file))
    start = arrays_of(initial_model(made, prepare(made.data)))
    (kept,) = (tmp_path / "state").glob(f"*/{RESIDUAL}")
    for name, array in decompress(update, start).items():
        assert torch.allclose(array + read_arrays(kept)[f"1/{name}"], plain[name], rtol=0, atol=1e-7)
