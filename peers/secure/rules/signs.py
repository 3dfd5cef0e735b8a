"""RSA: every peer votes, number by number, in which direction the weights should go.

Li et al. 2019, "RSA: Byzantine-robust stochastic aggregation methods for distributed learning from heterogeneous
datasets" (arXiv 1811.03761): x ← x + λ Σ sign(xᵢ − x), here with the mean of the votes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peers.secure.rules.rule import OfSigns


def signs(update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Return 1 and −1 for each number of an update [d]; where it is zero, one of them by lot."""
    lots = generator.integers(0, 2, update.shape) * 2 - 1
    return np.where(update > 0, 1, np.where(update < 0, -1, lots))


@dataclass(frozen=True)
class Signs(OfSigns):
    """Votes of 1 and −1.

    Attributes:
        step_size: what a unanimous vote changes a weight by.
    """

    step_size: float
    leaks: str = "Nothing of an update but its part in the sum of votes."

    def encode(self, update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Return the signs; where a number is zero, one by lot, so that it counts for nothing on average."""
        return signs(update, generator)

    def decode(self, total: NDArray[np.int64], accepted: float) -> NDArray[np.float64]:
        """Return the mean vote, times the step size."""
        return np.asarray(self.step_size * total / accepted, np.float64)
