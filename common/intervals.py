"""Intervals: how far a measured accuracy may be from the true one."""

from math import sqrt

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
