import math

import numpy as np
import pytest
import torch
from flwr.app import Array

from common.exchange import to_record
from common.update_compression import compress
from server.refusal import RefusedError
from server.weights import HEADER_BYTES, distance, most_bytes, read_weights

RECEIVED = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([0.5, -0.5]), "scalar": torch.tensor(2.0)}


def test_weights_come_out_as_they_went_in() -> None:
    read = read_weights(to_record(RECEIVED), RECEIVED, compressed=False)
    assert {name: array.tolist() for name, array in read.items()} == {n: t.tolist() for n, t in RECEIVED.items()}


def test_fortran_order_is_the_same_array() -> None:
    record = to_record(RECEIVED)
    record["w"] = Array(np.asfortranarray(RECEIVED["w"].numpy()))
    assert read_weights(record, RECEIVED, compressed=False)["w"].tolist() == RECEIVED["w"].tolist()


def test_what_a_record_says_of_an_array_is_not_believed() -> None:
    record = to_record(RECEIVED)
    record["w"] = Array("float32", (2, 3), "numpy.ndarray", Array(np.zeros((3, 2), np.float32)).data)
    with pytest.raises(RefusedError, match=r"w has shape \(3, 2\) instead of \(2, 3\)"):
        read_weights(record, RECEIVED, compressed=False)


def test_the_other_byte_order_is_refused() -> None:
    record = to_record(RECEIVED)
    record["w"] = Array(RECEIVED["w"].numpy().astype(">f4"))
    with pytest.raises(RefusedError, match="w has type >f4 instead of float32"):
        read_weights(record, RECEIVED, compressed=False)


def test_a_compressed_update_becomes_weights_of_the_model_s_form() -> None:
    sent = {name: tensor + 0.25 for name, tensor in RECEIVED.items()}
    packed, _ = compress(sent, RECEIVED, {})
    read = read_weights(to_record(packed), RECEIVED, compressed=True)
    for name, tensor in sent.items():
        np.testing.assert_allclose(read[name], tensor.numpy(), atol=0.25 / 127)


def test_absurd_scales_are_refused() -> None:
    packed, _ = compress({name: tensor + 1 for name, tensor in RECEIVED.items()}, RECEIVED, {})
    packed["scales"] = torch.full_like(packed["scales"], 3e38)
    with pytest.raises(RefusedError, match="holds NaN or infinity"):
        read_weights(to_record(packed), RECEIVED, compressed=True)


def test_the_bytes_that_an_update_needs_are_known_before_it_comes() -> None:
    assert most_bytes(RECEIVED, compressed=False) == (6 + 2 + 1) * 4 + 3 * HEADER_BYTES
    packed, _ = compress(RECEIVED, RECEIVED, {})
    assert most_bytes(RECEIVED, compressed=True) == sum(array.nbytes for array in packed.values()) + 2 * HEADER_BYTES
    for arrays, compressed in ((RECEIVED, False), (packed, True)):
        sent = sum(len(name) + len(array.data) for name, array in to_record(arrays).items())
        assert sent <= most_bytes(RECEIVED, compressed=compressed)


def test_the_distance_is_over_all_parameters() -> None:
    arrays = {name: tensor.numpy() + np.float32(0.5) for name, tensor in RECEIVED.items()}
    assert distance(arrays, RECEIVED) == math.sqrt(9 * 0.25)


def test_the_distance_of_weights_near_the_largest_is_finite() -> None:
    assert distance({"w": np.full(4, 3e38, np.float32)}, {"w": torch.full((4,), -3e38)}) == pytest.approx(1.2e39)
