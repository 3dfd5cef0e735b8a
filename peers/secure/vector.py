"""A model's weights as one vector, which is what is dealt, and back."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def size_of(arrays: Mapping[str, Tensor]) -> int:
    """Return the numbers of an update: all that are not integers, such as counters of a layer."""
    return sum(array.numel() for array in arrays.values() if array.is_floating_point())


def difference(now: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """Return how weights have changed, [d] by name.

    Raises:
        ValueError: other names or shapes, or a number that is not finite.
    """
    if {name: array.shape for name, array in now.items()} != {name: array.shape for name, array in before.items()}:
        raise ValueError("its update has other names or shapes than the model")
    changes = [
        (now[name].double() - before[name].double()).reshape(-1)
        for name in sorted(before)
        if before[name].is_floating_point()
    ]
    vector = torch.cat([*changes, torch.zeros(0, dtype=torch.float64)]).numpy()
    if not np.isfinite(vector).all():
        raise ValueError("its update is not finite")
    return vector


def moved(arrays: Mapping[str, Tensor], step: NDArray[np.float64]) -> dict[str, Tensor]:
    """Return weights, changed by a step as ``difference`` orders it; types stay, and integers as they are."""
    result, start = dict(arrays), 0
    for name in sorted(arrays):
        array = arrays[name]
        if array.is_floating_point():
            change = torch.from_numpy(step[start : start + array.numel()].copy()).reshape(array.shape)
            result[name] = (array.double() + change).to(array.dtype)
            start += array.numel()
    return result
