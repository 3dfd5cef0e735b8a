"""Memory of a federation on X-rays of 224×224 pixels: images once per machine, and a model per client beside them."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from flwr.app import Message

from attacks.craft import craft
from clients.app import app as client_app
from clients.holding import simulated_holding
from common.allocator import hand_back
from common.code import ROOT
from common.config import Experiment
from common.data import prepare
from common.exchange import arrays_of
from common.folder import RunFolder
from common.records import as_float
from common.training import build_optimizer, train
from experiments.bench.findings import Finding, times_the_cost
from experiments.bench.one_program import answer
from experiments.bench.subjects import description, one_thread, trained
from experiments.inprocess import InProcessGrid
from server.app import serve
from server.federation import initial_model

CLIENTS = (2, 8, 32)
IMAGES = 256
"""Of all clients together, whatever their number."""
FEW_AND_MORE = (2, 8)
"""Clients, where each brings images of its own."""
EACH = 160
"""Images of each of those: several times as many bytes as its model and its optimiser, so that a copy would show."""
READ_IMAGES = 1024
"""Of all processes that read; so many that a process's own few hundred KiB of numbers are little beside them."""
READERS = (2, 4)
"""Processes that hold the same data at once."""
MIB = 2**20
FEDERATION = "import sys; from experiments.bench.memory import federation; federation(int(sys.argv[1]))"
HELD = "import sys; from experiments.bench.memory import held; held(*map(int, sys.argv[1:]))"
WORKS = {
    "training": "training, ResNet-9 width 16, 400 images",
    "pgd": "full PGD-10, ResNet-9 width 16, 128 images",
}
"""What a process does whose freed memory is kept or handed back."""
WORKER = "import sys; from experiments.bench.memory import worked; print(worked(sys.argv[1]))"
READER = "import sys; from experiments.bench.memory import read; read(int(sys.argv[1]), int(sys.argv[2]))"


def find(repeats: int) -> list[Finding]:
    """Measure the peak of federations of more and more clients in one process, and images in several processes."""
    repeats = min(repeats, 3)
    experiment = described(CLIENTS[0])
    dataset = prepare(experiment.data)
    model = initial_model(experiment, dataset)
    weights = sum(array.nbytes for array in arrays_of(model).values()) / MIB
    state = weights + optimizer_bytes(experiment) / MIB
    peaks = {clients: [peak_of(clients) / MIB for _ in range(repeats)] for clients in CLIENTS}
    first, last = CLIENTS[0], CLIENTS[-1]
    growth = [(most - least) / (last - first) for least, most in zip(peaks[first], peaks[last], strict=True)]
    told = ", ".join(f"{clients} clients {median(peak):.0f} MiB" for clients, peak in peaks.items())
    findings = [
        Finding(
            f"in process, {first} to {last} clients: growth of the peak with each further one",
            "its model and its optimiser",
            "MiB",
            growth,
            [state] * repeats,
            times_the_cost(1.1),
            f"the model alone is {weights:.3g} MiB; peaks beyond the start: {told}; {IMAGES} images in all",
        ),
        once_for_all(repeats),
    ]
    read_by_all = prepare(described(READERS[0], READ_IMAGES).data)
    splits = (read_by_all.train, read_by_all.public, read_by_all.test)
    size = sum(split.images.nbytes for split in splits) / MIB
    for readers in READERS:
        held = [readers_of(readers) for _ in range(repeats)]
        findings.append(
            Finding(
                f"{readers} processes that read the same {size:.1f} MiB of images: all that they hold for it",
                "the images once",
                "MiB",
                [shared / MIB for shared, _ in held],
                [size] * repeats,
                times_the_cost(1.1),
                "proportional set size of the mapped files, and what their own memory grew by",
            )
        )
        if readers == READERS[-1]:
            own = [alone / readers / MIB for _, alone in held]
            path = "a client's process before it reads, its own memory"
            findings.append(Finding(path, "", "MiB", own, [], None, "what it has imported"))
    return findings + kept(repeats)


def once_for_all(repeats: int) -> Finding:
    """Measure what a process holds more for each further client, who brings images that are large beside its model.

    Only memory of the process's own counts, which is what a copy of images takes; pages of mapped files do not, which
    the system can take back and other processes share.
    """
    (few, more), experiment = FEW_AND_MORE, with_images_of_their_own(FEW_AND_MORE[0], EACH)
    dataset = prepare(experiment.data)
    prepare(with_images_of_their_own(more, EACH).data)  # or the drawing would count
    weights = sum(array.nbytes for array in arrays_of(initial_model(experiment, dataset)).values()) / MIB
    state, images = weights + optimizer_bytes(experiment) / MIB, dataset.train.images.nbytes / few / MIB
    growth = []
    for _ in range(repeats):
        least, most = (_in_a_process(HELD, clients, EACH) / MIB for clients in (few, more))
        growth.append((most - least) / (more - few))
    return Finding(
        f"in process, {few} to {more} clients with {images:.3g} MiB of images each: growth of its own memory with each",
        "its model and its optimiser",
        "MiB",
        growth,
        [state] * repeats,
        times_the_cost(1.1),
        f"the model alone is {weights:.3g} MiB; anonymous memory after each training, mapped files do not count",
    )


def kept(repeats: int) -> list[Finding]:
    """Compare work in processes that keep what is freed (``common.allocator``) and in others that hand it back."""
    sides = {"kept": {}, "handed back": {"MALLOC_ARENA_TEST": "8"}}  # glibc's own number, but somebody has said it
    spent: dict[tuple[str, str], list[float]] = {(work, side): [] for work in WORKS for side in sides}
    for _ in range(repeats):
        for work, side in spent:
            spent[work, side].append(answer([sys.executable, "-c", WORKER, work], ROOT, **sides[side]))
    against = "handed back, as glibc does"
    return [
        Finding(f"{path}: freed memory kept", against, "CPU s", spent[work, "kept"], spent[work, "handed back"])
        for work, path in WORKS.items()
    ]


def worked(work: str) -> float:
    """Do one of ``WORKS`` twice; return the CPU seconds of the second time."""
    one_thread()
    model, records = trained("resnet9", 16, epochs=0, data__train_records=400)
    few = records.take(torch.arange(128))

    def once() -> None:
        if work == "training":
            train(model, records, description().training, seed=1)
        else:
            craft(work, model, few.images, few.labels, eps=8 / 255, step_size=2 / 255, steps=10, seed=1)

    once()
    before = time.process_time()
    once()
    return time.process_time() - before


def described(clients: int, images: int = IMAGES) -> Experiment:
    """Return a federation on a fixed number of images, in batches of two, so that no client's training is larger."""
    return description(
        data__train_records=images,
        data__public_records=12,
        data__test_records=12,
        data__image_size=224,
        model__name="resnet18",
        model__width=16,
        training__batch_size=2,
        federation__rounds=1,
        clients=[{"count": clients}],
    )


def with_images_of_their_own(clients: int, each: int) -> Experiment:
    """Return a federation of clients with so many images each, and a model that is small beside those."""
    return described(clients, clients * each).change({"model.width": 8, "training.batch_size": 16})


def optimizer_bytes(experiment: Experiment) -> int:
    """Return the bytes of an optimiser's state after a step."""
    dataset = prepare(experiment.data)
    model = initial_model(experiment, dataset)
    optimizer = build_optimizer(model, experiment.training)
    model(as_float(dataset.public.records().images[:1])).sum().backward()
    optimizer.step()
    held = optimizer.state_dict()["state"].values()
    return sum(value.nbytes for state in held for value in state.values() if hasattr(value, "nbytes"))


def peak_of(clients: int) -> int:
    """Return by how many bytes a fresh process grew at most while it ran the federation in process."""
    return _in_a_process(FEDERATION, clients)


def _in_a_process(code: str, *words: int) -> int:
    """Return the number that a fresh process prints last."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, words)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return int(ended.stdout.splitlines()[-1])


def federation(clients: int) -> None:
    """Run the federation here; print by how much this process grew beyond what it had before."""
    one_thread()
    experiment = described(clients)
    dataset = prepare(experiment.data)
    grid = InProcessGrid(client_app, clients)
    Path("/proc/self/clear_refs").write_text("5")
    before = _of("status", "VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        serve(grid, experiment, dataset, RunFolder(Path(folder)))
    print(_of("status", "VmHWM") - before)


def held(clients: int, each: int) -> None:
    """Run a federation of clients with so many images each here; print what this process then has of its own, at most.

    After each training, when all copies that clients keep are there, and what the training freed is not.
    """
    one_thread()
    experiment, grid = with_images_of_their_own(clients, each), _WeighedGrid(client_app, clients)
    hand_back()
    before = _of("status", "RssAnon")
    dataset = prepare(experiment.data)
    with tempfile.TemporaryDirectory() as folder:
        serve(grid, experiment, dataset, RunFolder(Path(folder)))
    print(grid.most - before)


class _WeighedGrid(InProcessGrid):
    """Notes the most that this process has of its own when a reply has come."""

    most = 0

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        for reply in super().send_and_receive(messages, timeout=timeout):
            hand_back()
            self.most = max(self.most, _of("status", "RssAnon"))
            yield reply


def readers_of(count: int) -> tuple[int, int]:
    """Return what so many processes that have read all images hold together, in bytes.

    First their shares of the mapped files, and what their own memory grew by meanwhile (a copy would show there); then
    what their own memory was before.
    """
    command = [sys.executable, "-c", READER, str(count)]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(number)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for number in range(count)
        ]
        for child in children:
            _said(child)
        for child in children:  # all have read before one measures, and are there until the last one has
            _tell(child)
        told = [json.loads(_said(child)) for child in children]
        for child in children:
            _tell(child)
    return sum(one["images"] + one["grown"] for one in told), sum(one["before"] for one in told)


def read(count: int, number: int) -> None:
    """Be one of so many clients in a process of its own: read the images as they lie, and tell what that takes."""
    before = _of("smaps_rollup", "Pss_Anon")
    holding = simulated_holding(described(count, READ_IMAGES), number)
    splits = (holding.dataset.train, holding.dataset.public, holding.dataset.test)
    checksum = sum(int(split.images.sum(dtype=np.int64)) for split in splits)
    print(checksum, flush=True)
    input()
    grown = _of("smaps_rollup", "Pss_Anon") - before
    print(json.dumps({"images": _mapped("-images.npy"), "grown": grown, "before": before}), flush=True)
    input()


def _mapped(ending: str) -> int:
    """Return this process's share of the files so named that it has mapped, each page divided by those who map it."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = line.endswith(ending)
        elif counts and line.startswith("Pss:"):
            total += 1024 * int(line.split()[1])
    return total


def _of(file: str, name: str) -> int:
    """Return a number of this process, in bytes, as the kernel tells it in /proc."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/self/{file}").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/{file} tells no {name}; this bench needs Linux")
    return 1024 * int(found[1])


def _said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"a reader ended with {child.wait()}")
    return line


def _tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
