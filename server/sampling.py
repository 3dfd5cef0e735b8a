"""What a Flower strategy samples clients from: those who are there, with a seed."""

import random
from collections.abc import Iterable

POLLING = 3
"""A strategy asks for the nodes once or twice; more often, it waits."""


class Present:
    """The part of a Grid that a Flower strategy samples from: only these nodes, in this order.

    Flower's strategies poll for more nodes without end; here nobody joins within a round, so polling is an error.
    """

    def __init__(self, nodes: Iterable[int]) -> None:
        self._nodes = list(nodes)
        self._asked = 0

    def get_node_ids(self) -> list[int]:
        """Return the node ids. Raises RuntimeError when asked as often as only polling does."""
        self._asked += 1
        if self._asked > POLLING:
            raise RuntimeError(f"it waits for more than the {len(self._nodes)} clients that can take part")
        return self._nodes


class seeded_sampling:  # noqa: N801  (a context manager that reads like a phrase)
    """Seed Python's global random state, which Flower's strategies sample with, and put it back afterwards."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._before = random.getstate()
        random.seed(self._seed)

    def __exit__(self, *_: object) -> None:
        random.setstate(self._before)
