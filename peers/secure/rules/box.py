"""Centered box clipping: each number of an update counts for at most τ, around the model that all have.

After Franzese et al. 2023, and Karimireddy et al. 2021, "Learning from history for Byzantine robust optimization"
(arXiv 2012.10333), with a box in the ball's place. A clipped number in [−τ, τ] is sent as one of the two ends, drawn so
that it is right on average: then one bit is all that must be checked.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peers.secure.rules.rule import OfSigns


@dataclass(frozen=True)
class Box(OfSigns):
    """Numbers of an update, clipped and rounded to the ends of the box at random.

    Attributes:
        radius: τ, in units of the weights.
    """

    radius: float
    leaks: str = "Nothing of an update but its part in the sum."

    def encode(self, update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Return 1 with probability (1 + x/τ)/2, else −1, for each clipped number x."""
        clipped = np.clip(update / self.radius, -1, 1)
        return np.where(generator.random(update.shape) < (1 + clipped) / 2, 1, -1).astype(np.int64)

    def decode(self, total: NDArray[np.int64], accepted: float) -> NDArray[np.float64]:
        """Return the mean, in units of the weights."""
        return np.asarray(self.radius * total / accepted, np.float64)
