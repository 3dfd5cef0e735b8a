"""What travels between server and clients, and how it is packed into Flower's records."""

from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor, nn

ARRAYS, CONFIG, METRICS, CLIENT = "arrays", "config", "metrics", "client"
"""Names of the records in a message: weights, settings, numbers for the strategy, what a client says of itself."""
EXAMPLES = "num-examples"
"""The metric that Flower's strategies weight by: records trained on."""


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
    return ArrayRecord({name: Array(array.detach().cpu().numpy()) for name, array in arrays.items()})


def from_record(record: ArrayRecord) -> dict[str, Tensor]:
    """Unpack named tensors; nothing is unpickled (Flower packs .npy without objects)."""
    return {name: torch.from_numpy(array.numpy().copy()) for name, array in record.items()}


def array_bytes(record: ArrayRecord) -> int:
    """Return the bytes of all arrays as they are packed."""
    return sum(len(array.data) for array in record.values())
