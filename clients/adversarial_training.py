"""Adversarial training: a defence, and an honest strategy."""

import torch
from torch import Tensor, nn

from attacks.poison import adversarial_copies, chosen
from clients.honest import Honest, Setting
from clients.options import Attack, Budget, Count, Fraction
from common.config import AdversarialTraining as Table
from common.records import Records


class AdversarialTraining(Honest):
    """Honest, with a fixed fraction of its records replaced by adversarial copies with their true labels."""

    def __init__(
        self,
        attack: Attack = "pgd",
        fraction: Fraction = 0.2,
        eps: Budget = 8 / 255,
        step_size: Budget = 2 / 255,
        steps: Count = 10,
    ) -> None:
        """Take the options; ``eps`` and ``step_size`` in units of [0, 1]."""
        self.attack, self.fraction, self.eps, self.step_size, self.steps = attack, fraction, eps, step_size, steps

    def prepare(self, records: Records, model: nn.Module) -> Records:
        """Replace the chosen records by copies made against the round's global model."""
        return with_adversarial_copies(records, torch.arange(len(records)), model, self, self.setting)


def with_adversarial_copies(
    records: Records, eligible: Tensor, model: nn.Module, how: AdversarialTraining | Table, setting: Setting
) -> Records:
    """Return the records with a fraction of the ``eligible`` ones replaced by adversarial copies, labels kept.

    Which ones is the same in every round; the copies are made anew against each round's global model. The number of
    records stays, so that one record has one clipped gradient.

    Args:
        records: what to train on.
        eligible: int64 [M], numbers of the records that may be replaced.
        model: the round's global model.
        how: attack, fraction, eps, step_size and steps.
        setting: this client's place in the round.

    Raises:
        UserError: as ``attacks.craft.craft``.
    """
    index = eligible[chosen(len(eligible), how.fraction, setting.fixed_seed("adversarial training"))]
    return adversarial_copies(
        model,
        records,
        index,
        attack=how.attack,
        eps=how.eps,
        step_size=how.step_size,
        steps=how.steps,
        labels="true",
        classes=setting.classes,
        seed=setting.round_seed("adversarial training"),
        title=setting.title("adversarial copies"),
    )
