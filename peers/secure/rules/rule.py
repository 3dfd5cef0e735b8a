"""What an aggregation rule is to the secure protocol: numbers that are allowed, and what their sum means."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from peers.secure.layout import Layout
from peers.secure.terms import SIGNS, Terms


class Rule(Protocol):
    """A compatible rule (Franzese et al. 2023): preprocessing, a set of allowed inputs, and what their sum means."""

    @property
    def leaks(self) -> str:
        """What the protocol shows of updates beside the aggregate, as a sentence."""

    def terms(self, layout: Layout, size: int) -> Terms:
        """Return what is checked of an update of ``size`` numbers. Raises UserError: the layout cannot."""

    def encode(self, update: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Return what a peer deals for an update [d] of its weights: integers that the rule allows."""

    def decode(self, total: NDArray[np.int64], accepted: float) -> NDArray[np.float64]:
        """Return the step [d] of the global weights from the sum of peers' integers; ``accepted`` is how many they are,
        or the sum of their trust scores."""


class OfSigns:
    """What rules have in common whose numbers are 1 and −1."""

    def terms(self, layout: Layout, size: int) -> Terms:
        """Return that each number is 1 or −1."""
        return SIGNS
