import pytest
import torch
from torch import nn

from common.exchange import array_bytes, arrays_of, from_record, load_arrays, to_record


def model() -> nn.Module:
    made = nn.Sequential(nn.Linear(3, 2), nn.GroupNorm(1, 2))
    made.register_buffer("mean", torch.ones(1))
    return made


def test_parameters_travel_and_buffers_stay_at_home() -> None:
    assert set(arrays_of(model())) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_packing_and_unpacking_gives_the_same_bits() -> None:
    arrays = arrays_of(model())
    back = from_record(to_record(arrays))
    assert all(torch.equal(arrays[name], back[name]) for name in arrays)
    assert array_bytes(to_record(arrays)) > sum(array.numel() * 4 for array in arrays.values())


def test_arrays_are_copies() -> None:
    made = model()
    arrays = arrays_of(made)
    arrays["0.weight"].zero_()
    assert made[0].weight.abs().sum() > 0


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_other_names_or_shapes_are_refused(change: str) -> None:
    arrays = arrays_of(model())
    if change == "missing":
        del arrays["0.bias"]
    elif change == "extra":
        arrays["x"] = torch.zeros(1)
    else:
        arrays["0.bias"] = torch.zeros(1)
    with pytest.raises(ValueError):
        load_arrays(model(), arrays)
