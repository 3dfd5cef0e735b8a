"""How a cost grows with a size: its exponent where the size is large, and what the cost is made of."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import nnls

Points = Sequence[tuple[float, float]]
"""Sizes and costs, all above 0, by size."""
UPPER = 3
"""Points that tell how a cost grows where the size is large."""
LEAST_SHARE = 0.05
"""Of a cost, below which at every point a term is noise."""


def power_law(points: Points) -> tuple[float, float]:
    """Return c and k of y = c xᵏ, by least squares of logarithms."""
    x, y = np.log(np.array(points, float)).T
    k, log_c = np.polyfit(x, y, 1)
    return float(np.exp(log_c)), float(k)


def exponent(points: Points) -> float:
    """Return k of y = c xᵏ, by least squares of logarithms."""
    return power_law(points)[1]


def terms(points: Points, powers: Sequence[int] = (0, 1, 2)) -> dict[int, float]:
    """Return what a cost is made of, by power: c of y ≈ Σ c[p] xᵖ, with no c below 0.

    Least squares of the relative errors (non-negative: Lawson and Hanson 1974), so that a small cost counts as much as
    a large one. A term that is nowhere 5 % of the cost, or has no point of its own to be fitted to, is left out.
    """
    x, y = np.array(points, float).T
    powers = list(powers)[: len(points)]
    while True:
        parts = np.array([x**power / y for power in powers]).T
        scale = parts.max(axis=0)
        weights = nnls(parts / scale, np.ones(len(x)))[0] / scale
        shares = (parts * weights).max(axis=0)
        kept = [power for power, share in zip(powers, shares, strict=True) if share >= LEAST_SHARE]
        if len(kept) == len(powers):
            return {power: float(weight) for power, weight in zip(powers, weights, strict=True)}
        powers = kept


def cost(made_of: Mapping[int, float], x: float) -> float:
    """Return the cost of size x that ``terms`` make."""
    return sum(weight * x**power for power, weight in made_of.items())


def bends(made_of: Mapping[int, float]) -> list[float]:
    """Return the sizes at which each term overtakes the one before it, where the cost bends on logarithmic axes."""
    ordered = sorted(made_of.items())
    return [(low / high) ** (1 / (q - p)) for (p, low), (q, high) in pairwise(ordered)]
