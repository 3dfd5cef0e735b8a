"""Updates as whole numbers in a ball (``peers.secure.ball``), and back."""

import math

import numpy as np
from numpy.typing import NDArray

from peers.secure.ball import bound_for


def unit(size: int, norm: float) -> float:
    """Return what 1 stands for, so that an update [``size``] of Euclidean norm ``norm`` fits, rounded, in its ball."""
    return norm / math.sqrt(bound_for(size) ** 2 - size / 2)


def rounded(update: NDArray[np.float64], norm: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return an update in whole units, rounded up or down at random so that it is right on average.

    Args:
        update: [d], of a norm of at most ``norm``.
        norm: the longest that an update may be.
        generator: of the lots. An update that is too long once it is rounded, by bad luck, is shortened by 1 %.
    """
    exact, bound = update / unit(update.size, norm), bound_for(update.size)
    while True:
        whole = np.floor(exact + generator.random(update.shape)).astype(np.int64)
        if int((whole * whole).sum()) <= bound**2:
            return whole
        exact *= 0.99


def clipped(update: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    """Return an update, shortened to ``norm`` if it is longer."""
    length = float(np.linalg.norm(update))
    return update if length <= norm else update * (norm / length)


def stretched(update: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    """Return an update of norm ``norm`` in the same direction; one of zeros stays."""
    length = float(np.linalg.norm(update))
    return update if length == 0 else update * (norm / length)
