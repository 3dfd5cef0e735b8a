"""A malicious client that lies about labels."""

from typing import ClassVar

import torch
from torch import nn

from attacks.poison import chosen, flip_labels
from clients.honest import Honest
from clients.options import ClassNumber, FlipRule, Fraction
from common.errors import UserError
from common.records import Records


class LabelFlipper(Honest):
    """Malicious: changes the labels of a fixed fraction of its own records (of one class, with ``source``).

    In masks it changes pixels, of one class with ``source``.
    """

    honest: ClassVar[bool] = False

    def __init__(
        self, fraction: Fraction = 1.0, labels: FlipRule = "random", source: ClassNumber | None = None
    ) -> None:
        """Take the options; ``source`` limits the flips to records, or pixels, of one class."""
        self.fraction, self.labels, self.source = fraction, labels, source

    def prepare(self, records: Records, model: nn.Module) -> Records:
        """Change the chosen labels; the same ones, to the same classes, in every round."""
        setting = self.setting
        if self.source is not None and self.source >= setting.classes:
            raise UserError(f"source = {self.source} must be a class number from 0 to {setting.classes - 1}")
        # Chosen by number and only then by class: under differential privacy no record may decide for another.
        index = chosen(len(records), self.fraction, setting.fixed_seed("flip"))
        flipped = flip_labels(
            records, index, labels=self.labels, classes=setting.classes, seed=setting.fixed_seed("flipped labels")
        )
        if self.source is None:
            return flipped
        return Records(records.images, torch.where(records.labels == self.source, flipped.labels, records.labels))
