"""A server that cheats: what it returns to all clients in place of the global model that its rule made.

A client of a central federation sees its own update and the model that comes back, and no other update: whatever comes
back may be the rule's result on updates that it does not know. Here that is shown, not hidden.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from common.description import ServerMisbehaviour
from common.seeds import numpy_generator


def returned_model(
    conduct: ServerMisbehaviour | None, before: Mapping[str, Tensor], made: Mapping[str, Tensor], *, seed: int
) -> dict[str, Tensor]:
    """Return what the server gives out as the global model: what was made, unless it cheats.

    ``wrong-mean``: before - factor * (made - before). ``stale``: before. ``garbage``: normal noise, each array with the
    mean and standard deviation of the made one.

    Args:
        conduct: how it cheats; None: not at all.
        before: the global model that the round began with.
        made: the one that the rule made in this round; the same names and shapes.
        seed: of the noise, another one for each round.
    """
    if conduct is None:
        return dict(made)
    if conduct.kind == "stale":
        return dict(before)
    if conduct.kind == "garbage":
        generator = numpy_generator(seed, "garbage of the server")
        return {name: _noise_like(array, generator) for name, array in made.items()}
    return {
        name: (before[name] - conduct.factor * (array - before[name])).to(array.dtype) for name, array in made.items()
    }


def _noise_like(array: Tensor, generator: np.random.Generator) -> Tensor:
    values = array.double()
    width = float(values.std(correction=0)) if values.numel() else 0.0
    drawn = generator.normal(float(values.mean()) if values.numel() else 0.0, width, tuple(array.shape))
    return torch.from_numpy(np.asarray(drawn)).to(array.dtype)
