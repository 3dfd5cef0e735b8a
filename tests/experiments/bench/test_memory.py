"""What the bench of memory measures with."""

import mmap

import pytest

from common.data import prepare
from experiments.bench import memory
from experiments.bench.subjects import trained
from server.federation import initial_model


def test_an_optimiser_s_state_is_counted() -> None:
    made = memory.described(2).change({"data.image_size": 32, "data.train_records": 12, "model.width": 8})
    weights = sum(one.nbytes for one in initial_model(made, prepare(made.data)).parameters())
    assert memory.optimizer_bytes(made.change({"training.optimizer": "sgd", "training.momentum": 0.9})) == weights
    scalars = 4 * len(list(initial_model(made, prepare(made.data)).parameters()))
    assert memory.optimizer_bytes(made.change({"training.optimizer": "adam"})) == 2 * weights + scalars


def test_the_kernel_s_numbers_are_read_in_bytes() -> None:
    before = memory._of("status", "VmRSS")
    with mmap.mmap(-1, 64 * memory.MIB) as held:  # fresh from the system, and not what was freed before
        for page in range(0, len(held), 4096):
            held[page] = 1
        assert abs(memory._of("status", "VmRSS") - before - len(held)) < 8 * memory.MIB
    with pytest.raises(RuntimeError, match="tells no Nonsense"):
        memory._of("status", "Nonsense")


@pytest.mark.processes
def test_several_processes_share_the_images() -> None:
    dataset = prepare(memory.described(2, memory.READ_IMAGES).data)
    size = sum(split.images.nbytes for split in (dataset.train, dataset.public, dataset.test))
    images, before = memory.readers_of(2)
    assert 0.9 * size < images < 1.1 * size
    assert before > 0


@pytest.mark.processes
def test_a_process_with_a_copy_of_its_own_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = prepare(memory.described(2, memory.READ_IMAGES).data)
    size = sum(split.images.nbytes for split in (dataset.train, dataset.public, dataset.test))
    monkeypatch.setattr(
        memory,
        "READER",
        "import sys; import numpy as np; from experiments.bench import memory; held = [];"
        "made = memory.simulated_holding;\n"
        "def holding(*given):\n"
        "    one = made(*given)\n"
        "    data = one.dataset\n"
        "    held.extend(np.array(split.images) for split in (data.train, data.public, data.test))\n"
        "    return one\n"
        "memory.simulated_holding = holding\n"
        "memory.read(int(sys.argv[1]), int(sys.argv[2]))",
    )
    images, _ = memory.readers_of(2)
    assert images > 2.5 * size


def test_freed_memory_is_kept_on_one_side_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(command: list[str], place: object, **environment: str) -> float:
        asked.append((command[-1], environment.get("MALLOC_ARENA_TEST")))
        return 2.0 if environment else 1.0

    monkeypatch.setattr(memory, "answer", answer)
    training, pgd = memory.kept(2)
    assert asked == [("training", None), ("training", "8"), ("pgd", None), ("pgd", "8")] * 2
    assert (training.values(), pgd.values()) == ([2.0, 2.0], [2.0, 2.0])


@pytest.mark.parametrize("work", memory.WORKS)
def test_work_takes_time(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "trained", lambda *_, **__: trained("resnet9", 4, 0, data__train_records=128))
    assert memory.worked(work) > 0
