import numpy as np
import pytest
import torch

from peers.secure.vector import difference, moved, size_of

BEFORE = {
    "b": torch.tensor([1.0, 2.0]),
    "a": torch.tensor([[0.5]], dtype=torch.float64),
    "steps": torch.tensor(3),
    "c": torch.zeros(0),
}


def test_a_difference_is_in_the_order_of_names() -> None:
    now = BEFORE | {"b": torch.tensor([1.5, 2.0]), "a": torch.tensor([[0.25]], dtype=torch.float64)}
    assert difference(now, BEFORE).tolist() == [-0.25, 0.5, 0.0]
    assert size_of(BEFORE) == 3


def test_a_step_undoes_a_difference() -> None:
    now = BEFORE | {"b": torch.tensor([7.0, -1.0])}
    back = moved(now, -difference(now, BEFORE))
    assert all(torch.equal(back[name], array) and back[name].dtype == array.dtype for name, array in BEFORE.items())
    assert list(back) == list(BEFORE)


def test_integers_are_no_part_of_an_update() -> None:
    assert not difference(BEFORE | {"steps": torch.tensor(9)}, BEFORE).any()
    assert moved(BEFORE, np.ones(3))["steps"] == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_update(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        difference(BEFORE | {"b": torch.tensor([value, 0.0])}, BEFORE)


@pytest.mark.parametrize("change", [{"b": torch.zeros(3)}, {"d": torch.zeros(1)}])
def test_other_names_or_shapes_are_no_update(change: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="names or shapes"):
        difference(BEFORE | change, BEFORE)
