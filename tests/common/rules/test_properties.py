"""Laws that all rules obey, on drawn matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.rules.centered_clipping import centered_clipping
from common.rules.columns import WIDTH, Matrix
from tests.common.rules.updates_fixture import RULES, malicious

EVERY_RULE = pytest.mark.parametrize("name", RULES)
WITHOUT_A_FIXED_CENTER = pytest.mark.parametrize("name", [name for name in RULES if name != "centered-clipping"])


@st.composite
def drawn(draw: st.DrawFn) -> Matrix:
    """Updates of 7 to 12 clients with 1 to 9 parameters, some with a far client."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    updates = generator.standard_normal((draw(st.integers(7, 12)), draw(st.integers(1, 9))))
    updates[0] *= draw(st.sampled_from([1.0, 1e4]))
    return updates


@EVERY_RULE
@given(updates=drawn(), order=st.randoms(use_true_random=False))
def test_the_order_of_clients_does_not_matter(name: str, updates: Matrix, order: st.randoms) -> None:
    rows = list(range(len(updates)))
    order.shuffle(rows)
    np.testing.assert_allclose(RULES[name](updates[rows]), RULES[name](updates), rtol=1e-7, atol=1e-9)


@WITHOUT_A_FIXED_CENTER
@given(updates=drawn(), shift=st.floats(-100, 100))
def test_updates_moved_together_move_the_result_with_them(name: str, updates: Matrix, shift: float) -> None:
    np.testing.assert_allclose(RULES[name](updates + shift), RULES[name](updates) + shift, rtol=1e-7, atol=1e-7)


@WITHOUT_A_FIXED_CENTER
@given(updates=drawn(), exponent=st.integers(-60, 60))
def test_updates_scaled_together_scale_the_result(name: str, updates: Matrix, exponent: int) -> None:
    # Powers of two change no digit, so near convergence a rule decides exactly as far from it.
    np.testing.assert_array_equal(RULES[name](updates * 2.0**exponent), RULES[name](updates) * 2.0**exponent)


@given(updates=drawn(), exponent=st.integers(-60, 60))
def test_clipping_scales_with_its_clip_norm(updates: Matrix, exponent: int) -> None:
    scale = 2.0**exponent
    scaled = centered_clipping(updates * scale, clip_norm=1.5 * scale)
    np.testing.assert_array_equal(scaled, centered_clipping(updates, clip_norm=1.5) * scale)


@WITHOUT_A_FIXED_CENTER
@given(
    update=arrays(np.float64, st.integers(1, 6), elements=st.floats(-1e30, 1e30)),
    clients=st.integers(7, 12),
)
def test_updates_that_all_agree_are_the_result_exactly(name: str, update: np.ndarray, clients: int) -> None:
    np.testing.assert_array_equal(RULES[name](np.tile(update, (clients, 1))), update)


@EVERY_RULE
@given(updates=drawn())
def test_the_result_is_between_the_lowest_and_the_highest_value_of_each_parameter(name: str, updates: Matrix) -> None:
    span = np.vstack([updates, np.zeros_like(updates[0])]) if name == "centered-clipping" else updates
    slack = 1e-12 * np.abs(updates).max() if name in ("geometric-median", "centered-clipping") else 0.0
    result = RULES[name](updates)
    assert (result >= span.min(axis=0) - slack).all()
    assert (result <= span.max(axis=0) + slack).all()


@EVERY_RULE
@given(updates=drawn())
def test_a_rule_leaves_its_updates_as_they_are(name: str, updates: Matrix) -> None:
    before = updates.copy()
    result = RULES[name](updates)
    result += 1.0
    np.testing.assert_array_equal(updates, before)


@EVERY_RULE
def test_blocks_of_parameters_fit_together(name: str) -> None:
    """Zeros beside the parameters change no distance, so a matrix of three blocks must give what a small one gives."""
    generator = np.random.default_rng(3)
    small = generator.standard_normal((9, 6))
    small = np.vstack([small, malicious(2, small, 1e6, "apart")])
    places = [0, WIDTH - 1, WIDTH, 2 * WIDTH - 1, 2 * WIDTH, 2 * WIDTH + 4]
    large = np.zeros((11, 2 * WIDTH + 5))
    large[:, places] = small
    result = RULES[name](large)
    np.testing.assert_allclose(result[places], RULES[name](small), rtol=1e-12)
    assert np.count_nonzero(result) <= len(places)
