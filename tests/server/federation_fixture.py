"""A federation of tiny linear models whose clients do exactly what a test tells them, over the in-process grid."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
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
    """A well-formed reply, but for the round and the run, which the grid adds where a behaviour does not."""
    return RecordDict(
        {
            "arrays": ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()}),
            "metrics": MetricRecord({"num-examples": examples, "train-loss": 0.5, **metrics}),
            "client": ConfigRecord({"ledger": ""}),
        }
    )


def about(name: str, **changes: Any) -> dict[str, Any]:
    """What a well-meant, non-private client says of itself."""
    return {"name": name, "records": 10, "strategy": "test", "honest": True, "private": False} | changes


def client_app(
    behaviours: list[Behaviour], announced: int = 10, names: Sequence[str] = (), **changes: Any
) -> ClientApp:
    """An app in which client number i behaves like ``behaviours[i]`` and says it is ``names[i]``."""
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        name = names[number] if names else f"client-{number + 1}"
        return Message(
            RecordDict({"client": ConfigRecord(about(name, records=announced, **changes))}), reply_to=message
        )

    @app.train()
    def train(message: Message, context: Context) -> Message:
        config = message.content.config_records["config"]
        number = int(config["server-round"])
        received = {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
        reply = behaviours[int(context.node_config["partition-id"])](number, received)
        if "client" in reply.config_records:
            told = {"round": number, "run": str(config["run"])}
            reply["client"] = ConfigRecord(told | dict(reply.config_records["client"]))
        return Message(reply, reply_to=message)

    return app


def grid(behaviours: list[Behaviour], announced: int = 10, **changes: Any) -> InProcessGrid:
    """A grid whose client number i behaves like ``behaviours[i]``; ``changes`` to what every one says of itself."""
    return InProcessGrid(client_app(behaviours, announced, **changes), len(behaviours))


class Ward(InProcessGrid):
    """A grid whose nodes come and go: each node is connected, or has been lost, as ``connected`` says.

    Node i + 1 belongs to ``behaviours[i]``, which says it is ``names[i]``. A message to a lost node is answered by the
    link, as Flower does: an error that comes from the SuperLink itself.
    """

    def __init__(self, behaviours: list[Behaviour], names: Sequence[str], connected: Iterable[int]) -> None:
        super().__init__(client_app(behaviours, names=names), len(behaviours))
        self.connected = set(connected)
        self.asked: list[tuple[str, int]] = []

    def get_node_ids(self) -> list[int]:
        """Return the nodes that are connected now."""
        return sorted(self.connected)

    def _deliver(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        self.asked.append((message.metadata.message_type, node))
        if node in self.connected:
            return super()._deliver(message)
        reply = Message(Error(5, "Node Unavailable"), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = 1
        return reply


class Time:
    """A clock that moves when somebody sleeps, and calls ``then`` each time."""

    def __init__(self, then: Callable[[float], None] = lambda now: None) -> None:
        self.now = 0.0
        self._then = then

    def clock(self) -> float:
        """Return the seconds slept so far."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        self.now += seconds
        self._then(self.now)
