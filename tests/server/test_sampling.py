import random

import pytest

from server.sampling import POLLING, Present, seeded_sampling


def test_sampling_is_seeded_and_leaves_the_global_state_alone() -> None:
    before = random.getstate()
    with seeded_sampling(3):
        first = random.sample(range(100), 5)
    with seeded_sampling(3):
        assert random.sample(range(100), 5) == first
    assert random.getstate() == before


def test_who_polls_is_told_that_nobody_will_come() -> None:
    present = Present([5, 3])
    for _ in range(POLLING):
        assert present.get_node_ids() == [5, 3]
    with pytest.raises(RuntimeError, match="waits for more than the 2 clients"):
        present.get_node_ids()
