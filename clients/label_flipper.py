"""A malicious client that lies about labels."""

from typing import ClassVar

from torch import nn

from attacks.poison import chosen, flip_labels
from clients.honest import Honest
from clients.options import ClassNumber, FlipRule, Fraction
from common.errors import UserError
from common.records import Records


class LabelFlipper(Honest):
    """Malicious: changes the labels of a fixed fraction of its own records (of one class, with ``source``)."""

    honest: ClassVar[bool] = False

    def __init__(
        self, fraction: Fraction = 1.0, labels: FlipRule = "random", source: ClassNumber | None = None
    ) -> None:
        """Take the options; ``source`` limits the flips to records of one class."""
        self.fraction, self.labels, self.source = fraction, labels, source

    def prepare(self, records: Records, model: nn.Module) -> Records:
        """Change the chosen labels; the same ones, to the same classes, in every round."""
        setting = self.setting
        if self.source is not None and self.source >= setting.classes:
            raise UserError(f"source = {self.source} must be a class number from 0 to {setting.classes - 1}")
        # Chosen by number and only then by class: under differential privacy no record may decide for another.
        index = chosen(len(records), self.fraction, setting.fixed_seed("flip"))
        if self.source is not None:
            index = index[records.labels[index] == self.source]
        return flip_labels(
            records, index, labels=self.labels, classes=setting.classes, seed=setting.fixed_seed("flipped labels")
        )
