"""Intervals: how far a measured accuracy may be from the true one."""

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev

Z95 = 1.959963984540054


def wilson(share: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval (low, high) of a proportion ``share`` in [0, 1] seen over ``n`` records.

    Source: E. B. Wilson, JASA 22 (1927). With n = 0 nothing is known: (0, 1).
    """
    if n <= 0:
        return 0.0, 1.0
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and 1 the interval ends exactly there; rounding would leave the share outside by 1e-17.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def student(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval (low, high) of a mean by Student's t; None for fewer than two values.

    It says how far the mean over so many repeats may be from that over infinitely many, if they scatter normally.
    Equal values give an interval of no width, which says little about three repeats: show ``n`` beside it.
    """
    if len(values) < 2:
        return None
    from scipy.stats import t  # heavy, and the command line imports this module

    centre, spread = mean(values), stdev(values)
    half = float(t.ppf(0.975, len(values) - 1)) * spread / sqrt(len(values))
    return centre - half, centre + half
