"""The coordinate-wise median."""

import numpy as np

from common.rules.columns import Matrix, Vector, middle, sorted_blocks
from common.rules.options import enough


def least_for_median() -> int:
    """Return the fewest updates that a round needs."""
    return 1


def median(differences: Matrix) -> Vector:
    """Return each parameter's median over the clients; of an even number, the mean of the middle two.

    Source: Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning" (ICML 2018).
    Withstands (n - 1) // 2 malicious of n: the result stays between two honest values in every parameter.
    Costs a sort of n numbers for each parameter.

    Raises:
        TooFewUpdatesError: no update.
    """
    enough("median", len(differences), least_for_median())
    result = np.empty(differences.shape[1])
    for columns, ordered in sorted_blocks(differences):
        result[columns] = middle(ordered)
    return result
