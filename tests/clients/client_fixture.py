"""A small federation whose clients a test asks directly, simulated or with hospital files, as a server would."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flwr.app import Message, RecordDict

from clients.app import app
from common.config import Experiment, parse
from common.data import prepare
from common.exchange import ARRAYS, CONFIG, arrays_of, to_record, told
from experiments.inprocess import InProcessGrid
from server.federation import initial_model

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"image_size": 28, "train_records": 40, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "training": {"batch_size": 8},
    "clients": [{"name": "a"}, {"name": "b", "strategy": "label-flipper"}],
}
PRIVATE = {"privacy__enabled": True, "privacy__accountant": "rdp", "privacy__delta": 1e-3}
FOLDING = """
import torch
from torch import nn


class Rows(nn.Module):
    # Looks at each row of an image by itself: its first layer sees more rows than there are records.
    def __init__(self, channels, classes):
        super().__init__()
        self.inner, self.outer = nn.Linear(28, 2), nn.Linear(channels * 28 * 2, classes)
        self.width = channels * 28 * 2

    def forward(self, images):
        return self.outer(torch.relu(self.inner(images.reshape(-1, 28))).reshape(-1, self.width))


def build(channels, classes):
    return Rows(channels, classes)
"""
"""A network that folds patches into the batch, which DP-SGD refuses."""
FOLDED = "privacy.enabled: the first dimension of layer 'network.inner' is not the records', so that none could be"


def tiny(**changes: Any) -> Experiment:
    """The description above; keyword ``a__b`` changes key ``a.b``."""
    return parse(TINY, "test").change({key.replace("__", "."): value for key, value in changes.items()})


def simulated(clients: int = 2) -> InProcessGrid:
    """Clients of a simulation, without memory of any earlier grid."""
    return InProcessGrid(app, clients)


def hospitals(*files: Path) -> InProcessGrid:
    """One node for each hospital file."""
    return InProcessGrid(app, len(files), [{"hospital": str(file)} for file in files])


def request(
    made: Experiment, kind: str, round_number: int, run: str = "run", arrays: Mapping[str, Any] | None = None
) -> RecordDict:
    """What a server with this description sends; training starts from the initial model unless ``arrays`` are given."""
    server_data = prepare(tiny().data)
    content = RecordDict({CONFIG: told(made, round_number, run, server_data)})
    if kind == "train":
        content[ARRAYS] = to_record(arrays or arrays_of(initial_model(tiny(), server_data)))
    return content


def deliver(grid: InProcessGrid, content: RecordDict, kind: str, node: int = 1) -> RecordDict:
    """Deliver a message and return its reply's content."""
    (reply,) = grid.send_and_receive([Message(content, dst_node_id=node, message_type=kind)])
    return reply.content


def ask(
    grid: InProcessGrid,
    made: Experiment,
    kind: str,
    node: int = 1,
    round_number: int = 1,
    arrays: Mapping[str, Any] | None = None,
) -> RecordDict:
    """Ask a node to introduce itself (``query``; the last finished round) or to ``train`` for a round."""
    return deliver(grid, request(made, kind, round_number, arrays=arrays), kind, node)


def join(grid: InProcessGrid, made: Experiment, rounds: Sequence[int] = (), node: int = 1) -> list[RecordDict]:
    """Introduce a node before round 1 and let it train for these rounds; return all replies."""
    replies = [ask(grid, made, "query", node, 0)]
    return replies + [ask(grid, made, "train", node, number) for number in rounds]


@contextlib.contextmanager
def own_log() -> Iterator[list[str]]:
    """What the nodes of this process write in their own logs meanwhile."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("flwr").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("flwr").removeHandler(handler)


def refusal(reply: RecordDict) -> str:
    """The sentence of a refusal; fails where there is none."""
    assert list(reply) == ["client"], f"no refusal, but {list(reply)}"
    return str(reply["client"]["refusal"])
