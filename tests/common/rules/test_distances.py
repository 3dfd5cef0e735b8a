from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy.multikrum import compute_distances
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from common.rules.columns import Matrix
from common.rules.distances import distances_to, pull, squared_distances
from common.rules.krum import krum, ranking
from server.robust_strategy import differences_from

MATRICES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-1e30, 1e30).map(lambda value: 0.0 if abs(value) < 1e-100 else value),
)


def exact(one: np.ndarray, other: np.ndarray) -> Fraction:
    return sum(((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(one, other, strict=True)), Fraction(0))


@given(updates=MATRICES)
def test_squared_distances_are_those_of_exact_arithmetic_to_the_last_digits(updates: Matrix) -> None:
    squared = squared_distances(updates)
    for one in range(len(updates)):
        for other in range(len(updates)):
            wanted = exact(updates[one], updates[other])
            assert abs(Fraction(squared[one, other]) - wanted) <= wanted * Fraction(1e-15)


def test_distances_by_hand() -> None:
    updates = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert squared_distances(updates).tolist() == [[0, 25, 1], [25, 0, 18], [1, 18, 0]]
    assert distances_to(np.array([3.0, 4.0]), updates).tolist() == [5, 0, sqrt(18)]


def test_a_squared_distance_beyond_float64_is_infinite_and_the_others_stay() -> None:
    squared = squared_distances(np.array([[1e200], [1.0], [3.0]]))
    assert squared.tolist() == [[0, np.inf, np.inf], [np.inf, 0, 4], [np.inf, 4, 0]]


def test_a_far_update_costs_near_ones_no_digit() -> None:
    near = np.random.default_rng(0).standard_normal((5, 1000)) * 1e-8
    with_a_far_one = squared_distances(np.vstack([near, np.full(1000, 1e30)]))
    np.testing.assert_array_equal(with_a_far_one[:5, :5], squared_distances(near))


def test_pull_moves_the_point_by_hand() -> None:
    point = np.array([1.0, 0.0])
    distances, moved = pull(point, np.array([[3.0, 0.0], [1.0, 4.0]]), np.array([0.5, 0.25]))
    assert point.tolist() == [2.0, 1.0]  # + 0.5 · (2, 0) + 0.25 · (0, 4)
    assert distances.tolist() == [sqrt(2), sqrt(10)]
    assert moved == sqrt(2)


PARAMETERS = 1_000_000


@pytest.fixture(scope="module", params=range(3))
def near_convergence(request: pytest.FixtureRequest) -> tuple[np.ndarray, list[np.ndarray], int]:
    """A million weights ~ N(0, 1); six clients whose updates differ by about 1e-4, one of them nearest to the others.

    The seventh is malicious: its update is three times as far off, which in exact arithmetic is plain to see.
    """
    generator = np.random.default_rng(request.param)
    weights = generator.standard_normal(PARAMETERS, dtype=np.float32)
    scales = generator.permutation([0.2, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0])
    clients = [
        weights + np.float32(1e-4 * scale) * generator.standard_normal(PARAMETERS, dtype=np.float32) for scale in scales
    ]
    return weights, clients, int(np.argmin(scales))


def records(clients: list[np.ndarray]) -> list[ArrayRecord]:
    return [ArrayRecord({"w": Array(client)}) for client in clients]


def test_near_convergence_ours_are_exact_where_flowers_are_noise(
    near_convergence: tuple[np.ndarray, list[np.ndarray], int],
) -> None:
    weights, clients, _ = near_convergence
    ours = squared_distances(differences_from({"w": weights}, records(clients)))
    flowers = compute_distances(records(clients))
    wanted = np.zeros((7, 7))
    for one in range(7):
        for other in range(one):
            apart = clients[one].astype(np.longdouble) - clients[other].astype(np.longdouble)
            wanted[one, other] = wanted[other, one] = float((apart * apart).sum())
    between = ~np.eye(7, dtype=bool)
    assert 0.009 < wanted[between].min() < wanted[between].max() < 0.11
    assert (np.abs(ours - wanted)[between] / wanted[between]).max() < 1e-13
    assert np.abs(flowers - wanted)[between].max() > 2 * wanted.max()  # the error alone exceeds any distance


def test_near_convergence_ours_picks_the_nearest_client_and_ranks_the_malicious_one_last(
    near_convergence: tuple[np.ndarray, list[np.ndarray], int],
) -> None:
    weights, clients, nearest = near_convergence
    differences = differences_from({"w": weights}, records(clients))
    np.testing.assert_array_equal(krum(differences, num_malicious_nodes=1), differences[nearest])
    order = ranking(squared_distances(differences), 1)
    assert order[0] == nearest
    farthest = int(np.argmax(np.linalg.norm(differences, axis=1)))
    assert order[-1] == farthest
