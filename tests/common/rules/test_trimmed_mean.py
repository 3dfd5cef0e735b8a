import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from common.rules.options import TooFewUpdatesError
from common.rules.trimmed_mean import least_for_trimmed_mean, trimmed, trimmed_mean


@given(seed=st.integers(0, 2**32), clients=st.integers(5, 20), beta=st.sampled_from([0.0, 0.2, 0.25, 0.4, 0.49]))
def test_the_trimmed_mean_is_that_of_scipy(seed: int, clients: int, beta: float) -> None:
    updates = np.random.default_rng(seed).standard_cauchy((clients, 4))
    np.testing.assert_allclose(trimmed_mean(updates, beta=beta), trim_mean(updates, beta), rtol=1e-9, atol=1e-12)


def test_five_numbers_in_one_out() -> None:
    assert trimmed_mean(np.array([[1e30], [1.0], [3.0], [-1e30], [2.0]])).tolist() == [2.0]


def test_a_share_counts_as_it_is_written() -> None:
    assert 0.29 * 100 < 29
    assert trimmed(100, 0.29) == 29
    assert trimmed(10, 0.3) == 3
    assert trimmed(9, 0.2) == 1


@pytest.mark.parametrize(("beta", "least"), [(0.0, 1), (0.2, 5), (0.1, 10), (0.3, 4), (0.49, 3), (0.25, 4)])
def test_it_needs_so_many_updates_that_somebody_is_left_out(beta: float, least: int) -> None:
    assert least_for_trimmed_mean(beta) == least
    assert trimmed(least, beta) == (1 if beta else 0)
    trimmed_mean(np.zeros((least, 2)), beta=beta)
    with pytest.raises(TooFewUpdatesError, match=f"beta = {beta:g} needs at least {least} updates"):
        trimmed_mean(np.zeros((least - 1, 2)), beta=beta)


@pytest.mark.parametrize("beta", [-0.1, 0.5, 0.7, float("nan"), "0.2", True])
def test_a_share_out_of_range_is_a_sentence(beta: object) -> None:
    with pytest.raises(ValueError, match=r"beta = .* must be a number, at least 0 and less than 0.5"):
        least_for_trimmed_mean(beta)  # type: ignore[arg-type]
