"""Bulyan: Krum's choice of updates, then a trimmed mean of their parameters."""

from collections.abc import Sequence

import numpy as np

from common.rules.columns import Matrix, Vector, middle, sorted_blocks
from common.rules.distances import squared_distances
from common.rules.krum import ranking
from common.rules.options import enough, whole_number


def least_for_bulyan(num_malicious_nodes: int | None = None) -> int:
    """Return the fewest updates: 4f + 3, with f = 1 if it is not given. Raises ValueError for an f below 0."""
    # With f = 0 it withstands nobody; whoever wants that must say so.
    told = 1 if num_malicious_nodes is None else whole_number("num_malicious_nodes", num_malicious_nodes, 0)
    return 4 * told + 3


def bulyan(differences: Matrix, *, num_malicious_nodes: int | None = None) -> Vector:
    """Return, for each parameter, the mean of the n - 4f values nearest to the median of the n - 2f updates chosen.

    The updates are chosen as in the paper: Krum names one, it leaves the set, and Krum goes on with the others. Among
    the last 2f + 3 it ranks once, and the best three are chosen: of fewer Krum says nothing.
    Source: El Mhamdi, Guerraoui, Rouault, "The hidden vulnerability of distributed learning in Byzantium" (ICML 2018).
    Withstands f malicious of n ≥ 4f + 3, also in single parameters: the median of the chosen lies between two honest
    values, and so many honest ones are chosen that the n - 4f nearest are no farther from it than honest ones.
    For equal scores see ``ranking``; of equally near values the lower one counts.
    Costs n² / 2 · d operations and a sort of n numbers for each of d parameters.

    Args:
        differences: [clients, parameters].
        num_malicious_nodes: f; None: as many as the updates allow, (n - 3) // 4, at least 1.

    Raises:
        ValueError: f below 0.
        TooFewUpdatesError: fewer than 4f + 3 updates; without f, fewer than 7.
    """
    clients = len(differences)
    given = "" if num_malicious_nodes is None else f" with num_malicious_nodes = {num_malicious_nodes}"
    enough(f"bulyan{given}", clients, least_for_bulyan(num_malicious_nodes))
    malicious = (clients - 3) // 4 if num_malicious_nodes is None else num_malicious_nodes
    chosen = choice(squared_distances(differences), malicious, clients - 2 * malicious)
    result = np.empty(differences.shape[1])
    for columns, ordered in sorted_blocks(differences, chosen):
        result[columns] = mean_around_the_middle(ordered, clients - 4 * malicious)
    return result


def choice(squared: Matrix, num_malicious_nodes: int, wanted: int) -> Sequence[int]:
    """Return the rows that Krum names one after the other, the last three at once, in ascending order.

    Args:
        squared: squared distances [clients, clients].
        num_malicious_nodes: f.
        wanted: how many rows, n - 2f.
    """
    left = list(range(len(squared)))
    chosen: list[int] = []
    while len(chosen) < wanted:
        order = ranking(squared[np.ix_(left, left)], num_malicious_nodes)
        # Krum means nothing among fewer than 2f + 3; the last of its rankings that does names all who are still wanted.
        names = 1 if len(left) > 2 * num_malicious_nodes + 3 else wanted - len(chosen)
        best = [left[place] for place in order[:names]]
        chosen += best
        left = [row for row in left if row not in best]
    return sorted(chosen)


def mean_around_the_middle(ordered: Matrix, count: int) -> Vector:
    """Return the mean of the ``count`` values nearest to the median, for each row of ``ordered`` [parameters, values].

    In ascending order these values stand side by side: the farther end goes, until ``count`` are left.
    """
    parameters, values = ordered.shape
    center, each = middle(ordered), np.arange(parameters)
    low, high = np.zeros(parameters, dtype=np.int64), np.full(parameters, values - 1)
    for _ in range(values - count):
        low_is_farther = center - ordered[each, low] > ordered[each, high] - center
        low += low_is_farther
        high -= ~low_is_farther
    place = np.arange(values)
    inside = (place >= low[:, None]) & (place <= high[:, None])
    mean = np.where(inside, ordered, 0.0).sum(axis=1) / count
    return np.asarray(np.clip(mean, ordered[each, low], ordered[each, high]))
