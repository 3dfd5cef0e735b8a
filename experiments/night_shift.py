"""A strategy of your own in twenty lines: ``strategy = "night_shift.py:NightShift"`` in a description beside this file.

Derive from ``Honest`` and override what differs: ``prepare`` (the records to train on), ``train`` or ``send``.
"""

from torch import nn

from clients.honest import Honest
from common.records import Records, as_float


class NightShift(Honest):
    """A hospital whose night scanner darkens from round to round, and nobody notices."""

    honest = True  # it keeps to the rules: its ε counts for the guarantee

    def __init__(self, drift: float = 0.05) -> None:
        self.drift = drift  # options = {drift = 0.1} in the description; the annotation is checked

    def prepare(self, records: Records, model: nn.Module) -> Records:
        """Scale every image by (1 - drift) once a round; one record stays one record, as privacy asks."""
        brightness = (1 - self.drift) ** self.setting.round
        return Records((as_float(records.images) * brightness).clamp(0, 1), records.labels)
