"""Matrices of updates that the rules are tested with: honest ones near a point, malicious ones anywhere."""

from collections.abc import Callable
from functools import partial

import numpy as np

from common.rules.bulyan import bulyan
from common.rules.centered_clipping import centered_clipping
from common.rules.columns import Matrix, Vector
from common.rules.geometric_median import geometric_median
from common.rules.krum import krum, multi_krum
from common.rules.median import median
from common.rules.trimmed_mean import trimmed_mean

RULES: dict[str, Callable[[Matrix], Vector]] = {
    "median": median,
    "trimmed-mean": trimmed_mean,
    "krum": krum,
    "multi-krum": multi_krum,
    "bulyan": bulyan,
    "geometric-median": partial(geometric_median, iterations=1000, tolerance=1e-13),
    "centered-clipping": partial(centered_clipping, clip_norm=1.0),
}

PLACEMENTS = ("together", "apart", "either side", "one parameter", "ladder", "against")


def honest(clients: int, parameters: int, seed: int = 0, center: float = 3.0) -> Matrix:
    """Updates drawn normally, with deviation 1, around ``center`` in every parameter."""
    return center + np.random.default_rng(seed).standard_normal((clients, parameters))


def malicious(clients: int, good: Matrix, magnitude: float, placement: str) -> Matrix:
    """Updates about ``magnitude`` away from the honest ones; "together" and "against" ones agree exactly."""
    generator = np.random.default_rng(1)
    parameters = good.shape[1]
    far = np.empty((clients, parameters))
    for row in range(clients):
        if placement == "together":
            far[row] = magnitude
        elif placement == "apart":
            far[row] = magnitude * generator.standard_normal(parameters)
        elif placement == "either side":
            far[row] = magnitude * (-1) ** row
        elif placement == "one parameter":
            far[row] = good.mean(axis=0)
            far[row, 0] = magnitude
        elif placement == "ladder":
            far[row] = magnitude ** ((row + 1) / clients)
        else:
            far[row] = -magnitude * good.mean(axis=0)
    return far


def spread(good: Matrix) -> tuple[Vector, float]:
    """The honest updates' mean, and the largest distance of one from it."""
    center = good.mean(axis=0)
    return center, float(np.linalg.norm(good - center, axis=1).max())
