"""A federation of tiny linear models whose clients do exactly what a test tells them, over the in-process grid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from common.config import Experiment, parse
from common.data import Dataset, Split
from experiments.inprocess import InProcessGrid

MODEL = """
import torch

def build(channels, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 64, classes))
"""
Behaviour = Callable[[int, dict[str, np.ndarray]], RecordDict]
"""(round, received arrays) → the content of the reply; may raise."""


def dataset(records: int = 40) -> Dataset:
    """Two classes of 8×8 grey images that a linear model tells apart: dark and bright."""
    generator = np.random.default_rng(0)

    def split(n: int) -> Split:
        labels = np.arange(n, dtype=np.int64) % 2
        images = generator.integers(0, 100, (n, 1, 8, 8)) + 120 * labels[:, None, None, None]
        return Split(images.astype(np.uint8), labels)

    return Dataset(
        source="made for the test",
        classes=("dark", "bright"),
        train=split(records),
        public=split(20),
        test=split(20),
        synthetic=True,
        checksum="0" * 64,
        notes=(),
    )


def experiment(folder: Path, clients: int, **changes: Any) -> Experiment:
    """A description with a linear model and ``clients`` clients; keyword ``a__b`` changes key ``a.b``."""
    (folder / "linear.py").write_text(MODEL)
    made = parse(
        {"model": {"name": f"{folder / 'linear.py'}:build"}, "clients": [{"count": clients}], "name": "test"}, "test"
    )
    return made.change({key.replace("__", "."): value for key, value in changes.items()})


def honest(shift: float = 0.1, examples: int = 10) -> Behaviour:
    """A client that adds ``shift`` to every weight."""

    def reply(number: int, received: dict[str, np.ndarray]) -> RecordDict:
        return content({name: array + np.float32(shift) for name, array in received.items()}, examples)

    return reply


def content(arrays: dict[str, np.ndarray], examples: Any = 10, **metrics: Any) -> RecordDict:
    """A well-formed reply."""
    return RecordDict(
        {
            "arrays": ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()}),
            "metrics": MetricRecord({"num-examples": examples, "train-loss": 0.5, **metrics}),
            "client": ConfigRecord({"ledger": ""}),
        }
    )


def grid(behaviours: list[Behaviour], announced: int = 10) -> InProcessGrid:
    """A grid whose client number i behaves like ``behaviours[i]``."""
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        about = ConfigRecord(
            {
                "name": f"client-{number + 1}",
                "number": number,
                "records": announced,
                "strategy": "test",
                "honest": True,
                "private": False,
            }
        )
        return Message(RecordDict({"client": about}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number = int(message.content.config_records["config"]["server-round"])
        received = {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
        behaviour = behaviours[int(context.node_config["partition-id"])]
        return Message(behaviour(number, received), reply_to=message)

    return InProcessGrid(app, len(behaviours))
