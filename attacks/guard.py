"""An attack leaves no trace: the model's parameters, gradients, mode and the global random state stay as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(*models: nn.Module) -> Iterator[None]:
    """Within the block the models are frozen and in eval mode, gradients are on, and random state may be spoiled.

    Afterwards, also after an exception, every module's training flag, every parameter's ``requires_grad`` and
    ``.grad`` and the global random states of torch (all devices), numpy and ``random`` are as before. Frozen
    parameters also halve the cost of attacks that call ``backward`` (torchattacks' FAB), and keep their
    gradients out of the next optimiser step. Buffers are not copied; eval mode leaves them alone.

    Args:
        models: the models that the attack calls.
    """
    modules = list(dict.fromkeys(module for model in models for module in model.modules()))
    modules = [module for module in modules if hasattr(module, "training")]  # a frozen TorchScript module has no modes
    parameters = list(dict.fromkeys(parameter for model in models for parameter in model.parameters()))
    training = [module.training for module in modules]
    frozen = [(parameter.requires_grad, parameter.grad) for parameter in parameters]
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    numpy_state, random_state = np.random.get_state(), random.getstate()
    try:
        for module in modules:
            module.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
        with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(random_state)
        # In the order above: what could not be changed has changed nothing after it, and fails here again.
        for module, flag in zip(modules, training, strict=True):
            module.training = flag
        with torch.inference_mode():  # where alone the flag of a parameter that was made there can be set
            for parameter, (requires_grad, gradient) in zip(parameters, frozen, strict=True):
                parameter.requires_grad_(requires_grad)
                parameter.grad = gradient


def seed_everything(seed: int) -> None:
    """Seed the global generators; only ever inside ``undisturbed``, for code that draws from nothing else."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
