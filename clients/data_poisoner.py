"""The paper's train-time adversary: it trains on adversarial images (Usynin et al. 2022, arXiv 2205.02652)."""

from typing import ClassVar

from torch import nn

from attacks.poison import adversarial_copies, chosen
from clients.honest import Honest
from clients.options import Attack, Budget, Count, Fraction, LabelRule
from common.records import Records


class DataPoisoner(Honest):
    """Malicious: replaces a fixed fraction of its own records by adversarial copies, labelled as the model sees them.

    The poisoned records are the same in every round; their images are crafted anew against each round's global model.
    """

    honest: ClassVar[bool] = False

    def __init__(
        self,
        attack: Attack = "pgd",
        fraction: Fraction = 0.4,
        labels: LabelRule = "predicted",
        eps: Budget = 8 / 255,
        step_size: Budget = 2 / 255,
        steps: Count = 10,
    ) -> None:
        """Take the options; ``eps`` and ``step_size`` in units of [0, 1]."""
        self.attack, self.fraction, self.labels = attack, fraction, labels
        self.eps, self.step_size, self.steps = eps, step_size, steps

    def prepare(self, records: Records, model: nn.Module) -> Records:
        """Replace the chosen records by poisoned ones."""
        return adversarial_copies(
            model,
            records,
            chosen(len(records), self.fraction, self.setting.fixed_seed("poison")),
            attack=self.attack,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
            labels=self.labels,
            classes=self.setting.classes,
            seed=self.setting.round_seed("poison"),
            separately=self.setting.plan is not None,
            title=self.setting.title("poisoning"),
        )
