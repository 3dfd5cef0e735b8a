"""Krum and Multi-Krum: the updates that are nearest to their neighbours."""

import numpy as np

from common.rules.columns import Matrix, Vector, mean_of_rows
from common.rules.distances import squared_distances
from common.rules.options import enough, whole_number


def least_for_krum(num_malicious_nodes: int | None = None) -> int:
    """Return the fewest updates: 2f + 3, with f = 1 if it is not given. Raises ValueError for an f below 0."""
    return 2 * _told(num_malicious_nodes) + 3


def krum(differences: Matrix, *, num_malicious_nodes: int | None = None) -> Vector:
    """Return the one update whose n - f - 2 nearest neighbours are nearest, in squared L2 distance.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries" (NeurIPS 2017).
    Withstands f malicious of n ≥ 2f + 3: the result is an honest update, or within √((n - f - 2) / (n - 2f - 1)) · D of
    one, where D is the largest distance between two honest updates.
    For equal scores see ``ranking``; two updates that agree in everything: the client that the description names first.
    Costs n² / 2 · d operations for d parameters.

    Args:
        differences: [clients, parameters].
        num_malicious_nodes: f; None: as many as the updates allow, (n - 3) // 2, at least 1.

    Raises:
        ValueError: f below 0.
        TooFewUpdatesError: fewer than 2f + 3 updates; without f, fewer than 5.
    """
    enough(_named("krum", num_malicious_nodes), len(differences), least_for_krum(num_malicious_nodes))
    malicious = most_malicious(len(differences)) if num_malicious_nodes is None else num_malicious_nodes
    return np.array(differences[ranking(squared_distances(differences), malicious)[0]])


def least_for_multi_krum(num_malicious_nodes: int | None = None, num_nodes_to_select: int | None = None) -> int:
    """Return the fewest updates: 2f + 3, and f more than are selected, with f = 1 if it is not given.

    Raises:
        ValueError: an option out of its range.
    """
    malicious = _told(num_malicious_nodes)
    selected = 1 if num_nodes_to_select is None else whole_number("num_nodes_to_select", num_nodes_to_select, 1)
    return max(2 * malicious + 3, malicious + selected)


def multi_krum(
    differences: Matrix, *, num_malicious_nodes: int | None = None, num_nodes_to_select: int | None = None
) -> Vector:
    """Return the plain mean of the m updates that Krum ranks best; records do not weigh, since a client claims them.

    Source: El Mhamdi, Guerraoui, Rouault, "Fast and robust distributed learning in high dimension" (2019), which proves
    it for m ≤ n - f - 2; up to n - f the selected updates are still honest ones when the malicious are far.
    Withstands f malicious of n ≥ 2f + 3: what is said of Krum's result holds for each selected update. Ties and cost as
    for Krum.

    Args:
        differences: [clients, parameters].
        num_malicious_nodes: f; None: as many as the updates and m allow, at least 1.
        num_nodes_to_select: m; None: n - f - 2.

    Raises:
        ValueError: an option out of its range.
        TooFewUpdatesError: fewer than 2f + 3 or f + m updates; without f, fewer than 5 or 1 + m.
    """
    clients = len(differences)
    name = _named("multi-krum", num_malicious_nodes)
    if num_nodes_to_select is not None:
        name += f"{' and' if num_malicious_nodes is not None else ' with'} num_nodes_to_select = {num_nodes_to_select}"
    enough(name, clients, least_for_multi_krum(num_malicious_nodes, num_nodes_to_select))
    malicious = num_malicious_nodes
    if malicious is None:
        malicious = min(most_malicious(clients), clients - (num_nodes_to_select or 1))
    selected = num_nodes_to_select or clients - malicious - 2
    best = ranking(squared_distances(differences), malicious)[:selected]
    return mean_of_rows(differences, sorted(best))


def ranking(squared: Matrix, num_malicious_nodes: int) -> list[int]:
    """Return the rows from the best Krum score to the worst.

    Two updates that are each other's nearest neighbour have the same score when one neighbour counts. Of equal scores
    that row comes first whose next neighbours are nearer, and of rows that agree in all of them the lower one.

    Args:
        squared: squared distances [clients, clients].
        num_malicious_nodes: f; each score sums the n - f - 2 smallest distances, of others, at least one.
    """
    clients = len(squared)
    if clients == 1:
        return [0]
    neighbours = min(max(1, clients - num_malicious_nodes - 2), clients - 1)
    others = squared.copy()
    np.fill_diagonal(others, np.inf)
    # Summed in ascending order, a score does not depend on the order of the clients.
    sums = np.cumsum(np.sort(others, axis=1)[:, :-1], axis=1)
    scores_first = sums[:, neighbours - 1 :].T[::-1]  # lexsort's last key counts most
    return [int(row) for row in np.lexsort(scores_first)]


def most_malicious(clients: int) -> int:
    """Return the largest f for which Krum works with so many updates, at least 3."""
    return (clients - 3) // 2


def _told(num_malicious_nodes: int | None) -> int:
    # With f = 0 Krum withstands nobody; whoever wants that must say so.
    return 1 if num_malicious_nodes is None else whole_number("num_malicious_nodes", num_malicious_nodes, 0)


def _named(rule: str, num_malicious_nodes: int | None) -> str:
    return rule if num_malicious_nodes is None else f"{rule} with num_malicious_nodes = {num_malicious_nodes}"
