"""``make bench``: speed as ratios, both sides interleaved in one run, medians with the spread.

Wall times depend on what else the machine does; ratios taken side by side depend on it much less. Nothing here is a
test: a slow machine is no defect.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from attacks.craft import craft
from clients.app import app as client_app
from common.config import Experiment, parse
from common.data import Dataset, normalisation, partition, prepare
from common.description import Compression
from common.folder import RunFolder
from common.models import build
from common.privacy import calibrate
from common.private_training import train_privately
from common.records import Records, as_float
from common.seeds import derive
from common.training import train
from experiments.inprocess import InProcessGrid
from experiments.ray import simulate
from server.app import serve
from server.deployment import export_onnx, measure_compression
from server.federation import initial_model
from server.int8 import compress
from server.provenance import machine

REPEATS = 5


@dataclass(frozen=True)
class Ratio:
    """One comparison: seconds of both sides, repeat by repeat."""

    name: str
    ours: list[float]
    other: list[float]
    note: str = ""

    def row(self) -> tuple[str, ...]:
        """Return the table's row: medians, the ratio other / ours, and its spread over the repeats."""
        ratios = [other / ours for ours, other in zip(self.ours, self.other, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else "one repeat"
        return (
            self.name,
            f"{median(self.ours):.3g} s",
            f"{median(self.other):.3g} s",
            f"{median(ratios):.2f}",
            spread,
            self.note,
        )


def side_by_side(
    name: str, ours: Callable[[], object], other: Callable[[], object], repeats: int, note: str = ""
) -> Ratio:
    """Time both in turn after one warm-up each; CPU seconds of this process."""
    ours(), other()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, work in zip(times, (ours, other), strict=True):
            before = time.process_time()
            work()
            side.append(time.process_time() - before)
    return Ratio(name, *times, note)


def description() -> Experiment:
    """Return the federation that is timed: 2 clients, 3 rounds, ResNet-9 of width 16, 800 phantom images."""
    return parse(
        {
            "name": "bench",
            "data": {"train_records": 800, "public_records": 50, "test_records": 100},
            "model": {"width": 16},
            "federation": {"rounds": 3},
            "clients": [{"count": 2}],
        },
        "bench",
    )


def federation(runs: Path) -> list[Ratio]:
    """Compare a federation, in process and through Ray, with the same local training and nothing around it."""
    experiment = description()
    dataset = prepare(experiment.data)
    number = iter(range(10**6))

    def in_process() -> None:
        folder = RunFolder(runs / str(next(number)))
        serve(InProcessGrid(client_app, 2), experiment, dataset, folder)

    def through_ray() -> None:
        folder = RunFolder(runs / str(next(number)))
        simulate(client_app, 2, partial(serve, experiment=experiment, dataset=dataset, folder=folder))

    bare = partial(bare_training, experiment, dataset)
    ratios = [
        side_by_side(
            "in-process federation / bare local training", bare, in_process, 3, "1.00 = the federation costs nothing"
        )
    ]
    walls: tuple[list[float], list[float]] = ([], [])
    for side, work in zip(walls, (in_process, through_ray), strict=True):
        before = time.perf_counter()
        work()
        side.append(time.perf_counter() - before)
    ratios.append(Ratio("Ray / in process, wall", *walls, "one start of Ray included"))
    return ratios


def bare_training(experiment: Experiment, dataset: Dataset) -> None:
    """Train as the clients of the federation do, on the same batches, one after the other."""
    shares = partition(dataset.train.strata, 2, experiment.data)
    records = [dataset.train.records(share) for share in shares]
    model = initial_model(experiment, dataset)
    for round_number in range(experiment.federation.rounds):
        for client, held in enumerate(records):
            seed = derive(experiment.seed, "client", client, "round", round_number + 1, "training")
            train(model, held, experiment.training, seed=seed, device="cpu")


def attacks() -> list[Ratio]:
    """Compare our PGD with torchattacks' PGD, batch 128, on ResNet-9 and ResNet-18."""
    import torchattacks

    ratios = []
    for name, width in (("resnet9", 16), ("resnet18", 64)):
        model, records = trained(name, width)
        images, labels = as_float(records.images[:256]), records.labels[:256]
        theirs = torchattacks.PGD(model, eps=8 / 255, alpha=2 / 255, steps=10)

        def library(attack: object = theirs, images: torch.Tensor = images, labels: torch.Tensor = labels) -> None:
            for start in range(0, len(images), 128):
                attack(images[start : start + 128], labels[start : start + 128])  # type: ignore[operator]

        ours = partial(craft, "pgd", model, images, labels, eps=8 / 255, step_size=2 / 255, steps=10, seed=1)
        size = f"{name} width {width}, 256 images"
        ratios.append(side_by_side(f"torchattacks PGD-10 / ours, {size}", ours, library, 3, "all 10 steps"))
        ratios.append(
            side_by_side(
                f"torchattacks PGD-10 / ours, {size}",
                partial(ours, stop_when_fooled=True),
                library,
                3,
                "fooled images leave the batch",
            )
        )
    return ratios


def private_steps() -> list[Ratio]:
    """Compare a DP-SGD epoch with a plain one over the same records."""
    experiment = description()
    privacy = experiment.privacy.model_copy(update={"enabled": True, "noise_multiplier": 1.0, "accountant": "rdp"})
    model, records = trained("resnet9", 16)
    records = records.take(torch.arange(512))
    plan = calibrate(privacy, records=512, batch_size=64, local_epochs=1, rounds=1)
    plain = partial(train, model, records, experiment.training, seed=1, device="cpu")
    private = partial(
        train_privately, model, records, experiment.training, privacy, plan, round=1, seed=1, device="cpu"
    )
    return [side_by_side("DP-SGD epoch / plain epoch, resnet9 width 16", plain, private, 3, "Opacus, batch 64")]


def latency(runs: Path) -> dict[str, object]:
    """Measure size and latency of int8 against fp32, ResNet-9 of the paper's width."""
    model, records = trained("resnet9", 64, epochs=0)
    int8 = compress(model.eval(), records.images[:64], Compression(calibration_records=64))
    path = runs / "bench.onnx"
    export_onnx(int8, path)
    return measure_compression(model, int8, path, records.images[:64], seconds=20.0)


def trained(name: str, width: int, epochs: int = 1) -> tuple[nn.Module, Records]:
    """Return a briefly trained model and the phantom images it was trained on."""
    experiment = description()
    dataset = prepare(experiment.data)
    mean, std = normalisation(dataset.public)
    wanted = experiment.model.model_copy(update={"name": name, "width": width})
    model = build(wanted, dataset.channels, len(dataset.classes), mean, std, seed=1)
    records = dataset.train.records()
    for epoch in range(epochs):
        train(model, records, experiment.training, seed=epoch, device="cpu")
    return model.eval(), records


def main() -> None:
    """Run every comparison and print one table."""
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    console = Console(width=150)
    told = machine()
    console.print(
        f"{told['cpu']}, {told['cores']} cores, torch {torch.__version__}, one thread; CPU seconds unless said"
    )
    table = Table("comparison", "first", "second", "second / first", "spread", "note")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        for ratios in (federation(runs), attacks(), private_steps()):
            for ratio in ratios:
                table.add_row(*ratio.row())
        facts = latency(runs)
    console.print(table)
    console.print("int8 against fp32, ResNet-9 width 64, 32 px:")
    console.print_json(json.dumps(facts))


if __name__ == "__main__":
    main()
