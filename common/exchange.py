"""What travels between server and clients, and how it is packed into Flower's records."""

import functools
import io
import math
from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.common.constant import SType
from torch import Tensor, nn

from common.code import code_digest
from common.config import Experiment
from common.data import Dataset, normalisation

ARRAYS, CONFIG, METRICS, CLIENT = "arrays", "config", "metrics", "client"
"""Names of the records in a message: weights, settings, numbers for the strategy, what a client says of itself."""
EXAMPLES = "num-examples"
"""The metric that Flower's strategies weight by: records trained on."""
EXPERIMENT, ROUND, RUN, CODE = "experiment", "server-round", "run", "code"
"""Of ``CONFIG``: the description as TOML, the round (0 when introducing before the first; at an introduction: the last
finished one), the token of this server start, the digest of the code that client and server must share."""
COUNTED = "counted"
"""Of ``CONFIG`` where updates are compressed: the round in which this client's update last counted; 0: none has."""
CLASSES, CHANNELS, IMAGE_SIZE, MEAN, STD = "classes", "channels", "image-size", "mean", "std"
"""Of ``CONFIG``: what the server's data look like, and their public split's normalisation."""
NAME, RECORDS, STRATEGY, HONEST, PRIVATE = "name", "records", "strategy", "honest", "private"
"""Of ``CLIENT`` in an introduction."""
ACCOUNTANT, DELTA, NOISE, SAMPLING, STEPS = (
    "accountant",
    "delta",
    "noise_multiplier",
    "sampling_rate",
    "steps_per_round",
)
"""Of ``CLIENT`` in a private client's introduction: what it plans to spend a round."""
LEDGER, REPLY_ROUND, REFUSAL = "ledger", "round", "refusal"
"""Of ``CLIENT`` in a reply; ``RUN`` is echoed there, too. A refusal comes alone, as one sentence."""

PLAIN = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8")
"""Types of numbers that are unpacked without asking numpy what their header says."""

END = "end"
"""The query that tells a node that the run is over."""


def told(experiment: Experiment, round: int, run: str, dataset: Dataset) -> ConfigRecord:
    """Return the ``CONFIG`` record of a message to a client.

    Args:
        experiment: the description.
        round: the round to train for, counted from 1; in an introduction the last finished one, 0 before the first.
        run: a random token of this server start; the client's reply repeats it.
        dataset: the server's data.
    """
    mean, std = _normalisation(dataset)
    return ConfigRecord(
        {
            EXPERIMENT: experiment.to_toml(),
            ROUND: round,
            RUN: run,
            CODE: code_digest(),
            CLASSES: list(dataset.classes),
            CHANNELS: dataset.channels,
            IMAGE_SIZE: dataset.image_size,
            MEAN: list(mean),
            STD: list(std),
        }
    )


@functools.lru_cache(maxsize=2)
def _normalisation(dataset: Dataset) -> tuple[list[float], list[float]]:
    return normalisation(dataset.public)  # a pass over all public images: once, not for every message


def arrays_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of a model's parameters, name → CPU tensor; buffers (the normalisation) stay at home."""
    return {name: parameter.detach().cpu().clone() for name, parameter in model.named_parameters()}


def load_arrays(model: nn.Module, arrays: Mapping[str, Tensor]) -> None:
    """Set a model's parameters, in place.

    Raises:
        ValueError: names or shapes are not the model's.
    """
    parameters = dict(model.named_parameters())
    if parameters.keys() != arrays.keys():
        raise ValueError(f"arrays are named {sorted(arrays)}; the model has {sorted(parameters)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != arrays[name].shape:
                raise ValueError(f"{name} has shape {tuple(arrays[name].shape)}, not {tuple(parameter.shape)}")
            parameter.copy_(arrays[name])


def to_record(arrays: Mapping[str, Tensor]) -> ArrayRecord:
    """Pack named tensors."""
    return ArrayRecord({name: packed_array(array.detach().cpu().numpy()) for name, array in arrays.items()})


def from_record(record: ArrayRecord) -> dict[str, Tensor]:
    """Unpack named tensors; nothing is unpickled (Flower packs .npy without objects)."""
    return {name: torch.from_numpy(_unpacked(array)) for name, array in record.items()}


def packed_array(array: np.ndarray) -> Array:
    """Return what Flower packs an array into, in one copy."""
    if not array.flags.c_contiguous:
        return Array(array)
    kind = str(array.dtype)
    return Array(kind, array.shape, SType.NUMPY, _header(kind, array.shape) + array.tobytes())


def _unpacked(array: Array) -> np.ndarray:
    """Return an array of its own; most begin as we pack them, and what is in them needs no parsing."""
    if array.stype == SType.NUMPY and array.dtype in PLAIN:
        numbers = numbers_of(array.data, array.dtype, array.shape)
        if numbers is not None:
            return numbers
    return np.asarray(array.numpy())


def numbers_of(data: bytes, kind: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the numbers in what numpy writes for a C-ordered array of just this type and shape; None: it is not."""
    header, size = _header(kind, tuple(map(int, shape))), np.dtype(kind).itemsize * math.prod(shape)
    if len(data) != len(header) + size or not data.startswith(header):
        return None
    return np.frombuffer(data, kind, offset=len(header)).reshape(shape).copy()


@functools.lru_cache(maxsize=4096)
def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    """Return what ``numpy.save`` writes before the numbers of an array in C order."""
    file = io.BytesIO()
    told = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)
    return file.getvalue()


def array_bytes(record: ArrayRecord) -> int:
    """Return the bytes of all arrays as they are packed."""
    return sum(len(array.data) for array in record.values())
