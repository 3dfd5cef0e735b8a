"""The coordinate-wise median, by votes that halve where it can be (after Franzese et al. 2023).

Each weight's change is thought to be in ±radius. In vote after vote each peer says on which side of the middle its own
change is; the middle moves by half of what is left to the side of the majority. After v votes it is within radius / 2^v
of the median; of an even number of peers, of a number between the two in the middle.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peers.secure.rules.rule import OfSigns
from peers.secure.rules.signs import signs


@dataclass(frozen=True)
class Vote(OfSigns):
    """One of the votes.

    Attributes:
        distance: how far the middle moves, in units of the weights.
    """

    distance: float
    leaks: str = "How many peers' numbers are on which side of each vote's middle."

    def encode(self, update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Return on which side of the middle each number is; ``update`` counts from there. On it, by lot."""
        return signs(update, generator)

    def decode(self, total: NDArray[np.int64], accepted: float) -> NDArray[np.float64]:
        """Return where the majority wants the middle to go."""
        return self.distance * np.sign(total)


def median(radius: float, votes: int) -> tuple[Vote, ...]:
    """Return the votes, in order; each update counts from where the middle then is."""
    return tuple(Vote(radius / 2 ** (vote + 1)) for vote in range(votes))
