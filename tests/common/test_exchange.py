import io
from typing import Literal

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.code import code_digest
from common.config import Experiment, parse_toml
from common.data import normalisation, prepare
from common.description import Data
from common.exchange import array_bytes, arrays_of, from_record, load_arrays, to_record, told


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


@given(
    st.sampled_from(["float32", "float64", "float16", "int64", "int8", "uint8", "bool"]),
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from("CF"),
)
def test_packing_is_flower_s_own_and_unpacking_numpy_s(kind: str, shape: list[int], order: Literal["C", "F"]) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape).astype(kind), order=order)
    record, flower = to_record({"x": torch.from_numpy(array)}), Array(array)
    assert vars(record["x"]) == vars(flower)
    back = from_record(ArrayRecord({"x": flower}))["x"]
    assert (str(back.dtype), back.shape) == (f"torch.{kind}", array.shape)
    assert np.array_equal(back.numpy(), array)
    before = bytes(bytearray(flower.data))
    back.fill_(1)
    assert flower.data == before  # the tensor has memory of its own


@pytest.mark.parametrize(
    ("shape", "kind"), [((3, 2), "float32"), ((6,), "float32"), ((2, 3), "int32"), ((2, 3), "no type")]
)
def test_the_bytes_decide_and_not_what_is_said_of_them(shape: tuple[int, ...], kind: str) -> None:
    true = np.arange(6, dtype=np.float32).reshape(2, 3)
    said = Array(kind, shape, "numpy.ndarray", Array(true).data)
    assert np.array_equal(from_record(ArrayRecord({"x": said}))["x"].numpy(), true)


def test_objects_are_never_unpickled() -> None:
    file = io.BytesIO()
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        from_record(ArrayRecord({"x": Array("float32", (1,), "numpy.ndarray", file.getvalue())}))


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


def test_a_request_tells_all_that_a_client_needs_to_know_of_the_server() -> None:
    made = Experiment(data=Data(train_records=20, public_records=12, test_records=9), seed=5)
    dataset = prepare(made.data)
    record = told(made, 3, "token", dataset)
    assert parse_toml(str(record["experiment"])) == made
    mean, std = normalisation(dataset.public)
    assert dict(record) == {
        "experiment": made.to_toml(),
        "server-round": 3,
        "run": "token",
        "code": code_digest(),
        "classes": ["normal", "bacterial", "viral"],
        "channels": 1,
        "image-size": 32,
        "mean": mean,
        "std": std,
    }


def test_each_request_is_a_record_of_its_own() -> None:
    made = Experiment(data=Data(train_records=20, public_records=12, test_records=9))
    first, second = (told(made, 1, "token", prepare(made.data)) for _ in range(2))
    first.clear()
    assert second["mean"]
