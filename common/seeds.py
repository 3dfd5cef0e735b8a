"""Seeds: every random draw comes from (experiment seed, purpose …), never from a shared global state."""

import hashlib

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed that depends on all arguments: ``derive(experiment.seed, client, round, "batches")``."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *purpose: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator of its own for this purpose."""
    return torch.Generator(device=device).manual_seed(derive(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a numpy generator of its own for this purpose."""
    return np.random.default_rng(derive(seed, *purpose))
