"""Small data sets and models, made by hand, for what is measured beside a study's cells."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.config import Experiment, parse
from common.data import Dataset, Split
from experiments.study.faults import Group, Repeat


def split(count: int, channels: int = 1, size: int = 32, classes: int = 3, seed: int = 0) -> Split:
    """Images whose brightness tells their class, classes one after another as on a disk; black and white occur."""
    labels = np.sort(np.arange(count, dtype=np.int64) % classes)
    noise = np.random.default_rng(seed).integers(0, 60, (count, channels, size, size))
    images = (noise + 90 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8)
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 255
    return Split(images, labels)


def dataset(channels: int = 1, train: int = 65, test: int = 120) -> Dataset:
    return Dataset(
        source="made up",
        classes=("normal", "bacterial", "viral"),
        train=split(train, channels, seed=1),
        public=split(30, channels, seed=2),
        test=split(test, channels, seed=3),
        synthetic=True,
        checksum="made up",
        notes=(),
    )


def description(**changes: Any) -> Experiment:
    """Phantom images and a narrow network; changes with dots written as double underscores."""
    base = parse({"name": "made-up"}, "made up")
    small = {"model.width": 4, "federation.rounds": 1, "training.batch_size": 32, "data.image_size": 32}
    return base.change({**small, **{key.replace("__", "."): value for key, value in changes.items()}})


class Network(nn.Module):
    """One convolution, and logits that do tell brightness: white-box attacks move them little by little."""

    def __init__(self, channels: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.convolution = nn.Conv2d(channels, 4, 3, stride=2)
            self.linear = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(torch.relu(self.convolution(images)).mean(dim=(2, 3)))
        return logits


class Always(nn.Module):
    """Says one class of every image."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.nn.functional.one_hot(torch.tensor(number), 3).float())

    def forward(self, images: Tensor) -> Tensor:
        return self.bias + 0 * images.flatten(1).sum(dim=1, keepdim=True)


def group(*models: nn.Module, data: str = "made up", images: Dataset | None = None, **changes: Any) -> Group:
    images = dataset() if images is None else images
    return Group(
        data,
        tuple(
            Repeat(description(seed=seed, **changes), images, model.eval())
            for seed, model in enumerate(models, start=1)
        ),
    )
