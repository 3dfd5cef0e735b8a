"""The honest client, and what every strategy is: prepare the records, train, send."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from common.config import Experiment
from common.description import Client
from common.errors import UserError
from common.optimizer_state import KeptOptimizer
from common.privacy import Ledger, Plan
from common.private_training import train_privately
from common.records import Records
from common.seeds import derive
from common.training import train


class StrategyError(UserError):
    """A strategy raised, or returned something that cannot be trained on or sent; the sentence names its method."""


@dataclass(frozen=True)
class Setting:
    """What a strategy may know of its place in one round; it is in ``self.setting`` before any method is called.

    Attributes:
        experiment: the whole description.
        client: this client's part of it.
        number: position among the clients, from 0; also the partition that it holds.
        round: from 1.
        classes: number of classes.
        device: where to train.
        ledger: this client's privacy ledger; training privately enters what it spent.
        plan: how to train privately; None: without differential privacy.
        optimizer: the optimiser's state between this client's local updates, where it is kept; None: it is not.
        discreet: the server is somebody else's, so what an exception says, which may quote records, is kept from it.
    """

    experiment: Experiment
    client: Client
    number: int
    round: int
    classes: int
    device: str | torch.device
    ledger: Ledger
    plan: Plan | None = None
    discreet: bool = False
    optimizer: KeptOptimizer | None = None

    def fixed_seed(self, *purpose: str | int) -> int:
        """Return a seed that this client has in every round."""
        return derive(self.experiment.seed, "client", self.number, *purpose)

    def round_seed(self, *purpose: str | int) -> int:
        """Return a seed that this client has in this round only."""
        return derive(self.experiment.seed, "client", self.number, "round", self.round, *purpose)

    def title(self, work: str) -> str:
        """Return a title for progress: ``round 2/3, hospital-a: training``."""
        return f"round {self.round}/{self.experiment.federation.rounds}, {self.client.name}: {work}"


class Honest:
    """Trains on its own records as it is asked to, privately if its plan says so, and sends what came of it.

    Subclass it and override one method for another behaviour. A malicious client overrides the one that it abuses.
    """

    honest: ClassVar[bool] = True
    """Does it keep to the rules? The ε that the report guarantees is the worst of the honest clients'."""

    setting: Setting

    def prepare(self, records: Records, model: nn.Module) -> Records:
        """Return what to train on.

        Args:
            records: this client's own, [N, C, H, W] uint8.
            model: the round's global model, on ``setting.device``; to look at, not to change.

        Under differential privacy each record may become another, or be left out; more records are refused.
        """
        return records

    def train(self, model: nn.Module, records: Records) -> dict[str, float]:
        """Train the model in place on the prepared records; return metrics, all of which the server will see."""
        setting = self.setting
        training, title, seed = setting.experiment.training, setting.title("training"), setting.round_seed("training")
        if setting.plan is None:
            return train(
                model, records, training, seed=seed, device=setting.device, kept=setting.optimizer, title=title
            )
        metrics, _ = train_privately(
            model,
            records,
            training,
            setting.experiment.privacy,
            setting.plan,
            round=setting.round,
            seed=seed,
            device=setting.device,
            ledger=setting.ledger,
            kept=setting.optimizer,
            title=title,
        )
        return metrics

    def send(self, update: dict[str, Tensor], received: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights to send.

        Args:
            update: the trained weights, name → tensor on the CPU.
            received: the round's global weights, under the same names.
        """
        return update
