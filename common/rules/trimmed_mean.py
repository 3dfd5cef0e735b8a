"""The coordinate-wise trimmed mean."""

import math

import numpy as np

from common.rules.columns import Matrix, Vector, sorted_blocks
from common.rules.options import enough, number


def least_for_trimmed_mean(beta: float = 0.2) -> int:
    """Return the fewest updates of which ``beta`` trims anybody. Raises ValueError for a beta outside [0, 0.5)."""
    share = number("beta", beta, 0.0, 0.5)
    return math.ceil(1 / share - 1e-9) if share else 1


def trimmed(clients: int, beta: float) -> int:
    """Return how many values a side are left out: floor(beta · clients), as beta is written in decimal."""
    return math.floor(beta * clients + 1e-9)  # 0.29 * 100 is 28.999999999999996


def trimmed_mean(differences: Matrix, *, beta: float = 0.2) -> Vector:
    """Return each parameter's mean over the clients without the ``floor(beta · n)`` lowest and highest values.

    Source: Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning" (ICML 2018).
    Withstands floor(beta · n) malicious of n: the result stays between two honest values in every parameter.
    Costs a sort of n numbers for each parameter.

    Args:
        differences: [clients, parameters].
        beta: share to leave out on each side, 0 ≤ beta < 0.5; 0 is the plain mean.

    Raises:
        ValueError: beta is out of its range.
        TooFewUpdatesError: so few updates that nobody would be left out.
    """
    clients = len(differences)
    enough(f"trimmed-mean with beta = {beta:g}", clients, least_for_trimmed_mean(beta))
    cut = trimmed(clients, beta)
    result = np.empty(differences.shape[1])
    for columns, ordered in sorted_blocks(differences):
        kept = ordered[:, cut : clients - cut]
        result[columns] = np.clip(kept.mean(axis=1), kept[:, 0], kept[:, -1])
    return result
