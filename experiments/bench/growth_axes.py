"""What is made larger to see how cost grows: clients, images, the network's width, rounds."""

from collections.abc import Callable
from dataclasses import dataclass

from common.config import Experiment
from experiments.bench.subjects import description

SIDE = 28
"""Pixels of an image; the smallest that phantom images have."""


@dataclass(frozen=True)
class Unit:
    """What a cost is divided by.

    Attributes:
        label: with the unit of measure, such as ``CPU ms a local update``.
        size: how much of the whole cost (seconds, bytes) is one of these, at a place of the axis.
        of: what has that cost, such as ``local update``; empty: the whole.
    """

    label: str
    size: Callable[[int], float]
    of: str = ""


@dataclass(frozen=True)
class Axis:
    """One size that grows while all others stay.

    Attributes:
        name: for files.
        label: of the size, for people.
        fixed: what stays, for people.
        values: of the size.
        quick: the last of them that a quick look takes.
        describe: the federation of a size.
        time, memory: what the costs are divided by.
    """

    name: str
    label: str
    fixed: str
    values: tuple[int, ...]
    quick: int
    describe: Callable[[int], Experiment]
    time: Unit
    memory: Unit


def _federation(*, clients: int, images: int, width: int, rounds: int) -> Experiment:
    return description(
        clients=[{"count": clients}],
        data__image_size=SIDE,
        data__train_records=images,
        data__public_records=24,
        data__test_records=24,
        model__width=width,
        federation__rounds=rounds,
    )


CLIENTS = Axis(
    "clients",
    "clients",
    "16 images each, ResNet-9 of width 4, 3 rounds, in process",
    (2, 4, 8, 16, 32, 64, 128, 256, 512, 1000),
    64,
    lambda clients: _federation(clients=clients, images=16 * clients, width=4, rounds=3),
    Unit("CPU ms a local update", lambda clients: 3 * clients / 1e3, "local update"),
    Unit("KiB a client", lambda clients: 1024.0 * clients, "client"),
)
IMAGES = Axis(
    "images",
    "images",
    "2 clients, one epoch, ResNet-9 of width 4",
    (100, 316, 1_000, 3_162, 10_000, 31_623, 100_000),
    3_162,
    lambda images: _federation(clients=2, images=images, width=4, rounds=1),
    Unit("CPU ms an image", lambda images: images / 1e3, "image"),
    Unit("KiB an image", lambda images: 1024.0 * images, "image"),
)
WIDTH = Axis(
    "width",
    "width of the ResNet-9",
    "2 clients, 128 images each, one epoch",
    (8, 16, 32, 64),
    32,
    lambda width: _federation(clients=2, images=256, width=width, rounds=1),
    Unit("CPU ms an image", lambda _: 256 / 1e3, "image"),
    Unit("MiB, the whole", lambda _: 2.0**20),
)
ROUNDS = Axis(
    "rounds",
    "rounds",
    "4 clients, 16 images each, ResNet-9 of width 4",
    (3, 10, 30, 100),
    30,
    lambda rounds: _federation(clients=4, images=64, width=4, rounds=rounds),
    Unit("CPU ms a round", lambda rounds: rounds / 1e3, "round"),
    Unit("KiB a round", lambda rounds: 1024.0 * rounds, "round"),
)
AXES = {axis.name: axis for axis in (CLIENTS, IMAGES, WIDTH, ROUNDS)}
