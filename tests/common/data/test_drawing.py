"""Laws of what drawings are made of."""

import numpy as np

from common.data.drawing import Columns, bump, halve, spread, step


def test_spreading_keeps_a_constant() -> None:
    assert np.allclose(spread(np.full((2, 6, 6), 3.0, dtype=np.float32), 17), 3.0, atol=1e-5)


def test_columns_are_handed_out_one_after_the_other() -> None:
    column = Columns(np.array([[0.0, 0.5], [1.0, 0.25]], dtype=np.float32))
    assert column(2, 4)[:, 0, 0].tolist() == [2.0, 4.0]
    assert column(0, 8)[:, 0, 0].tolist() == [4.0, 2.0]


def test_steps_bumps_and_halves() -> None:
    assert step(np.array([-2.0, 0.0, 2.0]), 1.0).tolist() == [0.0, 0.5, 1.0]
    assert bump(np.array([0.0, 1.0])).tolist() == [1.0, 0.25]
    assert halve(np.arange(4.0).reshape(1, 2, 2)).tolist() == [[[1.5]]]
