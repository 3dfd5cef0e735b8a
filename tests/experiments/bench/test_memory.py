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


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "FEW_AND_MORE", (2, 4))
    monkeypatch.setattr(memory, "EACH", 80)


@pytest.mark.processes
@pytest.mark.usefixtures("_few")
def test_in_a_process_images_are_there_once_for_all_clients() -> None:
    found = memory.once_for_all(1)
    made = memory.with_images_of_their_own(2, 80)
    weights = sum(one.nbytes for one in initial_model(made, prepare(made.data)).parameters()) / memory.MIB
    assert weights < found.other[0] < 80 * 224**2 / memory.MIB / 1.5
    assert 0.9 * weights < found.ours[0] < 1.5 * weights
    assert found.reached()


COPIES = {
    "each its own images": "from clients.holding import Holding\n"
    "made = Holding.records\n"
    "def records(self, most=None):\n"
    "    kept.append(made(self, most))\n"
    "    return kept[-1]\n"
    "Holding.records = records\n",
    "each all images": "from clients.holding import Holding\n"
    "made = Holding.records\n"
    "def records(self, most=None):\n"
    "    kept.append(numpy.array(self.dataset.train.images))\n"
    "    return made(self, most)\n"
    "Holding.records = records\n",
    "all images once, but not mapped": "made = memory.prepare\n"
    "def prepare(data):\n"
    "    kept.append(numpy.array(made(data).train.images))\n"
    "    return made(data)\n"
    "memory.prepare = prepare\n",
}
"""Ways to spoil it, as the beginning of a program."""


@pytest.mark.processes
@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("spoilt", COPIES)
def test_a_client_with_a_copy_of_its_own_is_noticed(spoilt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = f"import numpy, sys\nfrom experiments.bench import memory\nkept = []\n{COPIES[spoilt]}"
    monkeypatch.setattr(memory, "HELD", f"{begin}memory.held(*map(int, sys.argv[1:]))")
    found = memory.once_for_all(1)
    assert found.ours[0] > 80 * 224**2 / memory.MIB
    assert found.reached() is False


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
