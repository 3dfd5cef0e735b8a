"""The noise of DP-SGD, from generators that nothing else can reach."""

import math
import secrets

import numpy as np
import torch
from torch import Tensor

from common.seeds import numpy_generator


class Noise:
    """Normal noise from a generator of its own."""

    def __init__(self, seed: int, *, secure: bool, device: str | torch.device = "cpu") -> None:
        """Draw from ``seed``, or with ``secure`` from the operating system's entropy."""
        self._draws = 4 if secure else 1
        self._cuda: torch.Generator | None = None
        if torch.device(device).type == "cuda":
            self._cuda = torch.Generator(device).manual_seed(secrets.randbits(63) if secure else seed)
        else:
            # Not torch's CPU generator: it heeds 32 bits of its seed, so that two releases could share their noise.
            self._numpy = own_generator(seed, secure)

    def like(self, tensor: Tensor, std: float) -> Tensor:
        """Return noise of the tensor's shape, type and device."""
        # Half the sum of four draws is as normal as one, and its rounding does not tell the draws.
        total = self._normal(tensor)
        for _ in range(self._draws - 1):
            total += self._normal(tensor)
        return total.mul_(std / math.sqrt(self._draws)).to(tensor.dtype)

    def _normal(self, tensor: Tensor) -> Tensor:
        if self._cuda is not None:
            kind = torch.float64 if self._draws > 1 else tensor.dtype
            return torch.randn(tensor.shape, generator=self._cuda, device=tensor.device, dtype=kind)
        if self._draws > 1 or tensor.dtype != torch.float32:
            return torch.from_numpy(self._numpy.standard_normal(tensor.shape))
        return torch.from_numpy(self._numpy.standard_normal(tensor.shape, dtype=np.float32))


def own_generator(seed: int, secure: bool) -> np.random.Generator:
    """Return a generator of ``seed``, or with ``secure`` of 256 bits of the operating system's entropy."""
    return np.random.default_rng(secrets.randbits(256)) if secure else numpy_generator(seed)
