"""What a federation costs beside its training: in one process, and against Flower's own simulation with plain FedAvg.

The clients train on phantom images. "Bare" is the same local training, client by client, in a loop of ten lines. Our
server scores each update, and each aggregate, on the public images; that is work, not waste, so it is told apart.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from flwr.app import Message

from clients.app import app as client_app
from common.code import ROOT
from common.config import Experiment
from common.data import Dataset, partition, prepare
from common.folder import RunFolder, read_arrays
from common.seeds import derive
from common.training import train
from experiments.bench.findings import (
    Finding,
    Taken,
    Target,
    at_most,
    compared,
    cpu_seconds,
    interleaved,
    times_as_fast,
    times_the_cost,
)
from experiments.bench.subjects import description, one_thread
from experiments.inprocess import InProcessGrid
from server.app import serve
from server.federation import initial_model
from server.layout import lay_out
from server.marks import marks_of

PUBLIC = 24
"""Public images, on which every update is scored."""
AGAINST_TRAINING = ((2, 1000), (20, 400))
"""Clients, and images that each of them has: so many that the scores are a few per cent of the training."""
FEW = ((64, 8), (400, 16))
"""Images of each of two clients, and the width of their network: next to no training, and some seconds of it."""
FLOWER_SIDE = "flower"
STARTED = "until its first client trains"
OURS = (
    "import logging, sys; logging.getLogger('flwr').setLevel(logging.ERROR); from pathlib import Path;"
    "from common.config import load; from common.data import prepare; from experiments.run import train;"
    "experiment = load(sys.argv[1]);"
    "train(experiment, prepare(experiment.data), Path(sys.argv[2]), sys.argv[3]);"
    "import gc; gc.freeze()"  # as the command line ends
)
FLOWER = (
    "import sys; from pathlib import Path; from experiments.bench.plain_flower import simulate;"
    "simulate(Path(sys.argv[1]), Path(sys.argv[2]) / 'model.safetensors')"
)
BARE = (
    "import sys; from common.config import load; from common.data import normalisation, partition, prepare;"
    "from common.models import build; from common.training import train; import gc; experiment = load(sys.argv[1]);"
    "data = prepare(experiment.data); mean, std = normalisation(data.public);"
    "model = build(experiment.model, data.channels, len(data.classes), mean, std, seed=1);"
    "shares = partition(data.train.strata, len(experiment.roster()), experiment.data);"
    "[train(model, data.train.records(share), experiment.training, seed=1) for share in shares]; gc.freeze()"
)
"""Trains as many clients, and imports no more than that needs: no Flower, no server."""


def find(repeats: int) -> list[Finding]:
    """Measure a federation in this process against bare training, then its start, then Flower's simulation."""
    one_thread()
    findings: list[Finding] = []
    for clients, images in AGAINST_TRAINING:
        findings += against_training(clients, images, repeats)
    findings += start(repeats)
    many = described(100, 8, rounds=20, model__width=8)
    for images, width in FEW:
        few = described(2, images, rounds=3, model__width=width)
        findings += against_flower(few, ("inprocess",), repeats, times_as_fast(4.0))
    findings += against_flower(many, ("ray", "inprocess"), 1, times_as_fast(1.0))  # each side takes most of a minute
    return findings


def described(clients: int, images: int, rounds: int, **changes: object) -> Experiment:
    """Return a federation of so many clients with so many images each, on ResNet-9 of width 16."""
    return description(
        data__train_records=clients * images,
        data__public_records=PUBLIC,
        clients=[{"count": clients}],
        federation__rounds=rounds,
        **changes,
    )


def against_training(clients: int, images: int, repeats: int) -> list[Finding]:
    """Compare a round in process, beyond its start, with bare training, and with bare training and the scores."""
    experiment = described(clients, images, rounds=1)
    dataset = prepare(experiment.data)
    starts: list[Taken] = []
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Callable[[], object]] = {
            "ours": lambda: starts.append(federation(experiment, dataset, Path(folder))),
            "bare": partial(bare, experiment, dataset),
            "scores": partial(scores, experiment, dataset),
        }
        times = interleaved(sides, repeats)
    starts = starts[-repeats:]
    rounds = [Taken(one.wall - two.wall, one.cpu - two.cpu) for one, two in zip(times["ours"], starts, strict=True)]
    path = f"in-process federation, {clients} clients, 1 round, {images} images each"
    begun = Finding(f"{path}: its start", "", "CPU s", [one.cpu for one in starts], [], at_most(2.5), STARTED)
    share = sum(one.cpu for one in times["scores"]) / sum(one.cpu for one in times["bare"])
    with_scores = [
        Taken(one.wall + more.wall, one.cpu + more.cpu)
        for one, more in zip(times["bare"], times["scores"], strict=True)
    ]
    note = f"without its start; scores of {PUBLIC} public images are {share:.1%} of the training"
    return [
        *compared(path, "the same training alone", rounds, times["bare"], times_the_cost(1.03), note),
        *compared(path, "the same training and scores", rounds, with_scores),
        begun,
    ]


def start(repeats: int) -> list[Finding]:
    """Compare processes that train on next to nothing: what is left is their start."""
    with tempfile.TemporaryDirectory() as folder:
        programs = {"ours": (OURS, "inprocess"), "bare": (BARE,)}
        times = in_processes(programs, described(2, 8, rounds=1), Path(folder), repeats)
    more = [one.cpu - two.cpu for one, two in zip(times["ours"], times["bare"], strict=True)]
    note = "beyond a process that trains, and imports neither Flower nor a server"
    return [Finding("start of an in-process federation", "", "CPU s", more, [], at_most(2.5), note)]


def against_flower(experiment: Experiment, runners: Sequence[str], repeats: int, target: Target) -> list[Finding]:
    """Compare fresh processes, from their start to their end, on the same description; wall time, all cores."""
    programs = {runner: (OURS, runner) for runner in runners} | {FLOWER_SIDE: (FLOWER,)}
    with tempfile.TemporaryDirectory() as folder:
        times = in_processes(programs, experiment, Path(folder), repeats)
        models = {side: read_arrays(next((Path(folder) / side).rglob("model.safetensors"))) for side in programs}
    clients, rounds, width = len(experiment.roster()), experiment.federation.rounds, experiment.model.width
    images = (experiment.data.train_records or 0) // clients
    walls = {side: [one.wall for one in taken] for side, taken in times.items()}
    findings = []
    for runner in runners:
        theirs, ours = models[FLOWER_SIDE], models[runner]
        most = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
        differ = f"weights differ by {most:.1g}: Flower sums updates in the order in which they come"
        path = (
            f"{clients} clients × {rounds} rounds, runner {runner}, {images} images each, width {width}, start to end"
        )
        against = "Flower's Ray simulation, plain FedAvg, without checks and scores"
        note = (differ if most else "equal models") + ("; measured once" if repeats == 1 else "")
        findings.append(Finding(path, against, "wall s", walls[runner], walls[FLOWER_SIDE], target, note))
    return findings


def in_processes(
    programs: Mapping[str, tuple[str, ...]], experiment: Experiment, place: Path, repeats: int
) -> dict[str, list[Taken]]:
    """Run programs in turn, each in a process of its own.

    Args:
        programs: side → code, and words that it gets after the description's file and a fresh folder in ``place/side``.
        experiment: the description; its images are drawn before.
        place: an empty folder.
        repeats: of each.
    """
    prepare(experiment.data)
    file = place / "bench.toml"
    file.write_text(experiment.to_toml())

    def run(side: str) -> None:
        (place / side).mkdir(exist_ok=True)
        program, *words = programs[side]
        command = [sys.executable, "-c", program, str(file), tempfile.mkdtemp(dir=place / side), *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    return interleaved({side: partial(run, side) for side in programs}, repeats, warm_up=False)


def federation(experiment: Experiment, dataset: Dataset, place: Path) -> Taken:
    """Run a federation in this process, in a fresh folder; return what it took until its first client trained."""
    begun = Taken(time.perf_counter(), cpu_seconds())
    grid = _WatchedGrid(client_app, len(experiment.roster()))
    serve(grid, experiment, dataset, RunFolder(Path(tempfile.mkdtemp(dir=place))))
    return Taken(grid.first.wall - begun.wall, grid.first.cpu - begun.cpu)


class _WatchedGrid(InProcessGrid):
    """Notes when clients are first asked to train."""

    first: Taken

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        if not hasattr(self, "first"):
            self.first = Taken(time.perf_counter(), cpu_seconds())
        return super().send_and_receive(messages, timeout=timeout)


def bare(experiment: Experiment, dataset: Dataset) -> None:
    """Train as the clients of the federation do in all rounds, one after the other, and nothing around it."""
    shares = partition(dataset.train.strata, len(experiment.roster()), experiment.data)
    model = initial_model(experiment, dataset)
    for number in range(1, experiment.federation.rounds + 1):
        for client, share in enumerate(shares):
            seed = derive(experiment.seed, "client", client, "round", number, "training")
            train(model, dataset.train.records(share), experiment.training, seed=seed)


def scores(experiment: Experiment, dataset: Dataset) -> None:
    """Score as often as the server does: each update, and each round's aggregate."""
    model = initial_model(experiment, dataset)
    lay_out(model, (dataset.channels, dataset.image_size, dataset.image_size))
    for _ in range(experiment.federation.rounds * (len(experiment.roster()) + 1)):
        marks_of(model, dataset.public.images, dataset.public.labels)
