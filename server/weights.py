"""Weights out of a reply: measured before anything is unpacked, then read, one array after the other."""

import io
import math
from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from common import update_compression
from common.exchange import numbers_of
from server.refusal import RefusedError, short

HEADER_BYTES = 512
"""Room for an array's name and its .npy header beside its own bytes."""


def most_bytes(received: Mapping[str, Tensor], *, compressed: bool) -> int:
    """Return the bytes that all arrays of an update may have together, names and headers among them."""
    return sum(tensor.nbytes + HEADER_BYTES for tensor in _form(received, compressed).values())


def read_weights(record: ArrayRecord, received: Mapping[str, Tensor], *, compressed: bool) -> dict[str, np.ndarray]:
    """Return a client's weights: names, shapes and dtypes of the global ones, all finite.

    Args:
        record: what the client sent; nothing of it is believed, its own account of shapes and dtypes included.
        received: the global weights that it was sent.
        compressed: whether the record holds an int8 update (``common.update_compression``) instead of weights.

    Raises:
        RefusedError: other names, shapes or dtypes, more bytes than they need, NaN or infinity.
        ValueError: bytes that are no .npy file.
    """
    wanted = _form(received, compressed)
    missing, extra = sorted(wanted.keys() - record.keys()), sorted(record.keys() - wanted.keys())
    if missing or extra:
        raise RefusedError(f"array names differ: missing {missing[:3]}, unknown {[short(name) for name in extra[:3]]}")
    arrays = {name: _array(name, record[name], tensor) for name, tensor in wanted.items()}
    if not compressed:
        return arrays
    tensors = update_compression.decompress({n: torch.from_numpy(array) for n, array in arrays.items()}, received)
    return {name: _finite(name, tensor.numpy()) for name, tensor in tensors.items()}


def distance(arrays: Mapping[str, np.ndarray], received: Mapping[str, Tensor]) -> float:
    """Return the L2 norm of the update over all parameters, in float64: differences are small beside the weights."""
    return math.sqrt(
        sum(
            float(np.square(array.astype(np.float64) - received[name].numpy().astype(np.float64)).sum())
            for name, array in arrays.items()
        )
    )


def size_of(received: Mapping[str, Tensor]) -> float:
    """Return the L2 norm of weights over all parameters, in float64."""
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in received.values()))


def _form(received: Mapping[str, Tensor], compressed: bool) -> Mapping[str, Tensor]:
    """Return arrays of the names, shapes and dtypes that a reply must have."""
    return update_compression.template(received) if compressed else received


def _array(name: str, array: Array, tensor: Tensor) -> np.ndarray:
    wanted = tensor.numpy()
    if len(array.data) > wanted.nbytes + HEADER_BYTES:
        raise RefusedError(f"{name} has {len(array.data)} bytes instead of {wanted.nbytes}")
    numbers = numbers_of(array.data, str(wanted.dtype), wanted.shape)
    if numbers is not None:  # as nearly all are
        return _finite(name, numbers)
    # The header inside the bytes is read first: it decides how much memory reading would take.
    file = io.BytesIO(array.data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if shape != wanted.shape:
        raise RefusedError(f"{name} has shape {short(str(shape))} instead of {wanted.shape}")
    if dtype != wanted.dtype:
        raise RefusedError(f"{name} has type {short(str(dtype))} instead of {wanted.dtype}")
    return _finite(name, np.asarray(np.load(io.BytesIO(array.data), allow_pickle=False)))


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise RefusedError(f"{name} holds NaN or infinity")
    return values
