"""How many malicious updates, at any distance, each rule withstands; and that more of them break it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from common.rules.bulyan import bulyan
from common.rules.centered_clipping import centered_clipping
from common.rules.columns import Matrix, Vector
from common.rules.geometric_median import geometric_median
from common.rules.krum import krum, multi_krum
from common.rules.median import median
from common.rules.trimmed_mean import trimmed_mean
from tests.common.rules.updates_fixture import PLACEMENTS, honest, malicious, spread

PARAMETERS = 40


@dataclass(frozen=True)
class Case:
    rule: Callable[[Matrix], Vector]
    clients: int
    stated: int
    """Malicious updates that the rule's description says it withstands."""
    bounded: int
    """Malicious updates with which the result is bounded: Krum counts one neighbour more than f needs for that."""
    broken: int
    """Malicious updates that can put the result anywhere."""
    reach: Callable[[Matrix, int], float]
    """(honest updates, malicious) → largest distance of the result from the honest mean."""


def inside_the_box(good: Matrix, _: int) -> float:
    """A point that is in the honest range in every parameter."""
    center, _ = spread(good)
    return float(np.linalg.norm(np.maximum(good.max(axis=0) - center, center - good.min(axis=0))))


def one_range_outside(good: Matrix, _: int) -> float:
    """Bulyan's values are as near to a value in the honest range as an honest one."""
    return inside_the_box(good, 0) + float(np.linalg.norm(np.ptp(good, axis=0)))


def near_an_honest_one(good: Matrix, _: int) -> float:
    """Krum's winner scores no more than an honest update, and counts an honest neighbour."""
    widest = max(np.linalg.norm(one - other) for one in good for other in good)
    return spread(good)[1] + float(np.sqrt(len(good)) * widest)


def of_the_geometric_median(good: Matrix, bad: int) -> float:
    return 2 * len(good) / (len(good) - bad) * spread(good)[1]


CASES = {
    "median of 7": Case(median, 7, 3, 3, 4, inside_the_box),
    "median of 8": Case(median, 8, 3, 3, 4, inside_the_box),
    "trimmed mean, 0.2 of 7": Case(trimmed_mean, 7, 1, 1, 2, inside_the_box),
    "trimmed mean, 0.4 of 10": Case(partial(trimmed_mean, beta=0.4), 10, 4, 4, 5, inside_the_box),
    "krum, f = 2 of 7": Case(partial(krum, num_malicious_nodes=2), 7, 2, 3, 4, near_an_honest_one),
    "krum of 7": Case(krum, 7, 2, 3, 4, near_an_honest_one),
    "krum, f = 1 of 9": Case(partial(krum, num_malicious_nodes=1), 9, 1, 2, 5, near_an_honest_one),
    "multi-krum, f = 2 of 7": Case(partial(multi_krum, num_malicious_nodes=2), 7, 2, 3, 4, near_an_honest_one),
    "multi-krum of 9": Case(multi_krum, 9, 3, 4, 5, near_an_honest_one),
    "multi-krum, 6 of 9": Case(partial(multi_krum, num_nodes_to_select=6), 9, 3, 3, 4, near_an_honest_one),
    "bulyan, f = 1 of 7": Case(partial(bulyan, num_malicious_nodes=1), 7, 1, 2, 5, one_range_outside),
    "bulyan of 11": Case(bulyan, 11, 2, 3, 7, one_range_outside),
    "geometric median of 7": Case(geometric_median, 7, 3, 3, 4, of_the_geometric_median),
    "geometric median of 8": Case(geometric_median, 8, 3, 3, 4, of_the_geometric_median),
}


@pytest.mark.parametrize("magnitude", [1e3, 1e10, 1e20, 1e30])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_malicious_updates_at_any_distance_leave_the_result_near_honest_ones(case: Case, magnitude: float) -> None:
    assert case.stated <= case.bounded
    for bad in range(case.bounded + 1):
        good = honest(case.clients - bad, PARAMETERS, seed=bad)
        for placement in PLACEMENTS:
            far = malicious(bad, good, magnitude, placement)
            for updates in (np.vstack([good, far]), np.vstack([far, good])):
                away = np.linalg.norm(case.rule(updates) - spread(good)[0])
                assert away <= case.reach(good, bad) * (1 + 1e-9), (bad, placement)


@pytest.mark.parametrize("magnitude", [1e3, 1e6, 1e30])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_more_malicious_updates_put_the_result_where_they_like(case: Case, magnitude: float) -> None:
    good = honest(case.clients - case.broken, PARAMETERS)
    far = malicious(case.broken, good, magnitude, "together")
    away = np.linalg.norm(case.rule(np.vstack([far, good])) - spread(good)[0])
    assert away > 0.1 * magnitude


def test_one_malicious_update_puts_the_mean_where_it_likes() -> None:
    good = honest(6, PARAMETERS)
    far = malicious(1, good, 1e30, "together")
    away = np.linalg.norm(trimmed_mean(np.vstack([far, good]), beta=0) - spread(good)[0])
    assert away > 1e29


@pytest.mark.parametrize("iterations", [1, 3, 300])
@pytest.mark.parametrize("clip_norm", [0.1, 1.0, 30.0])
def test_a_minority_cannot_pull_the_clipping_center_away_however_long(iterations: int, clip_norm: float) -> None:
    for clients in (7, 8):
        for bad in range((clients - 1) // 2 + 1):
            good = honest(clients - bad, PARAMETERS, seed=bad)
            center, radius = spread(good)
            bound = max(radius + clip_norm, (len(good) * radius + clients * clip_norm / 2) / (len(good) - bad))
            for placement in PLACEMENTS:
                for magnitude in (1e3, 1e30):
                    far = malicious(bad, good, magnitude, placement)
                    result = centered_clipping(np.vstack([good, far]), clip_norm=clip_norm, iterations=iterations)
                    away = np.linalg.norm(result - center)
                    assert away <= max(np.linalg.norm(center), bound + clip_norm) * (1 + 1e-9)


def test_a_majority_pulls_the_clipping_center_on_and_on_but_never_more_than_a_clipped_step_each() -> None:
    good = honest(3, PARAMETERS)
    far = malicious(4, good, 1e30, "together")
    ends = [
        float(np.linalg.norm(centered_clipping(np.vstack([good, far]), clip_norm=1.0, iterations=iterations)))
        for iterations in (1000, 2000, 4000)
    ]
    assert ends[1] - ends[0] > 100
    assert ends[2] - ends[1] > 200
    assert all(end <= iterations for end, iterations in zip(ends, (1000, 2000, 4000), strict=True))
