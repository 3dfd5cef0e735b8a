"""The mean of updates whose Euclidean norm is bounded; multi-Krum: the mean of those that are nearest together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peers.secure.ball import ball, bound_for
from peers.secure.layout import Layout
from peers.secure.rules.scaling import clipped, rounded, unit
from peers.secure.terms import Terms


@dataclass(frozen=True)
class NormBounded:
    """The mean; each update counts for at most ``norm``.

    Sun et al. 2019, "Can you really backdoor federated learning?" (arXiv 1911.07963).

    Attributes:
        norm: Euclidean, in units of the weights; a longer update is shortened.
    """

    norm: float
    leaks: str = "Nothing of an update but its part in the sum."

    def terms(self, layout: Layout, size: int) -> Terms:
        """Return that an update is in a ball."""
        return Terms(ball(layout, size, bound_for(size)))

    def encode(self, update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Return the update, clipped, in whole units."""
        return rounded(clipped(update, self.norm), self.norm, generator)

    def decode(self, total: NDArray[np.int64], accepted: float) -> NDArray[np.float64]:
        """Return the mean, in units of the weights."""
        return np.asarray(unit(total.size, self.norm) * total / accepted, np.float64)


@dataclass(frozen=True)
class MultiKrum(NormBounded):
    """The mean of the n − f − 2 of n updates that are nearest to their neighbours (``common.rules.krum``).

    Where that are fewer than t + 2, from whose mean t peers could tell another's update, it is of t + 2.

    Attributes:
        num_malicious_nodes: f; None: as many as the number of updates allows.
    """

    num_malicious_nodes: int | None = None
    leaks: str = "The distance between any two peers' updates, and whose updates are in the mean."

    def terms(self, layout: Layout, size: int) -> Terms:
        """Return that an update is in a ball, and that distances are opened."""
        return Terms(ball(layout, size, bound_for(size)), distances=True, malicious=self.num_malicious_nodes)
