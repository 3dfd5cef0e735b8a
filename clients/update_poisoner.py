"""A malicious client that trains honestly and sends something else."""

from typing import ClassVar

from torch import Tensor

from clients.honest import Honest
from clients.options import Factor


class UpdatePoisoner(Honest):
    """Malicious: multiplies what it learnt by ``factor``; -1 flips its sign, more than 1 drowns the others."""

    honest: ClassVar[bool] = False

    def __init__(self, factor: Factor = -1.0) -> None:
        """Take the options."""
        self.factor = factor

    def send(self, update: dict[str, Tensor], received: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return received + factor * (update - received)."""
        return {
            name: received[name] + self.factor * (array - received[name]) if array.is_floating_point() else array
            for name, array in update.items()
        }
