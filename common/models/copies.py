"""Copies of the built-in networks; ``copy.deepcopy`` takes as long as a training step of a small one."""

from typing import TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def copied(network: Network) -> Network:
    """Return a copy that shares nothing that changes with its original.

    Args:
        network: whose modules hold tensors, modules and plain settings alone, and no module or tensor twice.
    """
    copy = network.__new__(type(network))
    for name, value in vars(network).items():
        if name == "_modules":
            value = {key: None if module is None else copied(module) for key, module in value.items()}
        elif name == "_parameters":
            value = {key: None if tensor is None else _parameter(tensor) for key, tensor in value.items()}
        elif name == "_buffers":
            value = {key: None if tensor is None else _tensor(tensor) for key, tensor in value.items()}
        elif isinstance(value, dict | list | set):
            value = value.copy()
        vars(copy)[name] = value
    return copy


def _parameter(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(_tensor(parameter), parameter.requires_grad)


def _tensor(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
