"""Adversarial training: a defence, and an honest strategy."""

from torch import Tensor, nn

from attacks.poison import adversarial_copies, chosen
from clients.honest import Honest, Setting
from clients.options import Attack, Budget, Count, Fraction
from common.description import AdversarialTraining as Table
from common.records import Records, as_float, replace


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
        return with_adversarial_copies(records, model, self, self.setting)


def with_adversarial_copies(
    records: Records,
    model: nn.Module,
    how: AdversarialTraining | Table,
    setting: Setting,
    keep: Tensor | None = None,
) -> Records:
    """Return the records with a fraction of them replaced by adversarial copies, labels kept.

    Which ones is the same in every round; the copies are made anew against each round's global model. The number of
    records stays, so that one record has one clipped gradient. A record's copy depends on no other record's content:
    they are chosen by number, and under differential privacy crafted separately.

    Args:
        records: what to train on.
        model: the round's global model.
        how: attack, fraction, eps, step_size and steps.
        setting: this client's place in the round.
        keep: bool [N], records that stay as they are also where they are among the chosen; None: none.

    Raises:
        UserError: as ``attacks.craft.craft``.
    """
    index = chosen(len(records), how.fraction, setting.fixed_seed("adversarial training"))
    copies = adversarial_copies(
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
        separately=setting.plan is not None,
        title=setting.title("adversarial copies"),
    )
    if keep is None or not bool(keep.any()):
        return copies
    # Put back, not left out before: the place among the chosen ones decides over a copy's random start.
    kept = index[keep[index]]
    return replace(copies, kept, as_float(records.images[kept]), records.labels[kept])
