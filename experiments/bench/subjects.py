"""What the benches measure: small federations and briefly trained models on phantom images."""

from typing import Any

import torch
from torch import nn

from common.config import Experiment, parse
from common.data import normalisation, prepare
from common.models import build
from common.records import Records
from common.training import train


def description(**changes: Any) -> Experiment:
    """Return a federation: 2 clients, 3 rounds, ResNet-9 of width 16, 800 phantom images; ``a__b = 1`` sets a.b."""
    tree = {
        "name": "bench",
        "data": {"train_records": 800, "public_records": 50, "test_records": 100},
        "model": {"width": 16},
        "federation": {"rounds": 3},
        "clients": [{"count": 2}],
    }
    return parse(tree, "bench").change({key.replace("__", "."): value for key, value in changes.items()})


def trained(name: str, width: int, epochs: int = 1, **changes: Any) -> tuple[nn.Module, Records]:
    """Return a model after so many epochs, in eval mode, and the phantom images that it was trained on.

    Args:
        name, width: of the network.
        epochs: 0 leaves it as it was drawn.
        changes: as for ``description``.
    """
    experiment = description(model__name=name, model__width=width, **changes)
    dataset = prepare(experiment.data)
    mean, std = normalisation(dataset.public)
    model = build(experiment.model, dataset.channels, len(dataset.classes), mean, std, seed=1)
    records = dataset.train.records()
    for epoch in range(epochs):
        train(model, records, experiment.training, seed=epoch, device="cpu")
    return model.eval(), records


def one_thread() -> None:
    """Compute on one core, so that CPU and wall time mean the same."""
    torch.set_num_threads(1)
