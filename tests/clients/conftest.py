"""A small world for strategies: a model, some records, a setting."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from clients.honest import Honest, Setting
from clients.strategies import build_strategy
from common.config import Experiment
from common.description import AdversarialTraining, Client, Federation, Privacy, Training
from common.privacy import Ledger, calibrate
from common.records import Records

CLASSES = 3


@pytest.fixture
def model() -> nn.Module:
    """Logits of 3 classes from images of 6×6 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES)
        )


@pytest.fixture
def records() -> Records:
    """Forty records, uint8."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (40, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Records(images, torch.randint(0, CLASSES, (40,), generator=generator))


@pytest.fixture
def build() -> Callable[..., Honest]:
    """Return ``build(strategy, options, round=, private=, ...)``, which gives a strategy with its setting."""

    def build(
        strategy: str = "honest",
        options: dict[str, Any] | None = None,
        *,
        round: int = 1,
        number: int = 0,
        private: bool = False,
        adversarial_training: AdversarialTraining | None = None,
        ledger: Ledger | None = None,
        seed: int = 1,
    ) -> Honest:
        client = Client(
            name="hospital", strategy=strategy, options=options or {}, adversarial_training=adversarial_training
        )
        experiment = Experiment(
            seed=seed,
            training=Training(batch_size=8, optimizer="sgd"),
            privacy=Privacy(enabled=private, epsilon=8, accountant="rdp"),
            federation=Federation(rounds=3),
            clients=(client, client.model_copy(update={"name": "other"})),
        )
        built = build_strategy(client)
        plan = calibrate(experiment.privacy, records=40, batch_size=8, local_epochs=1, rounds=3) if private else None
        built.setting = Setting(
            experiment, client, number, round, CLASSES, "cpu", Ledger() if ledger is None else ledger, plan
        )
        return built

    return build
