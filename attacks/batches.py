"""How many images at once: small batches whose activations stay in the processor's cache are faster on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CPU_BYTES, CPU_LEAST, CPU_MOST = 8 * 2**20, 8, 128
"""Measured on two 2-core machines: at most 1.8 times the speed of batches of 128, for the paper's ResNet-9."""
CUDA_BYTES, CUDA_LEAST, CUDA_MOST = 256 * 2**20, 16, 1024
WIDE = 64
"""Output channels of a convolution from which a channels-last layout pays (1.1 to 1.5 times)."""


class _LargestOutput(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the largest tensor that any operation returns; leaves no hook on the model."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else (output,):
            # Weights that are merely cast or viewed have no batch dimension of 1.
            if isinstance(tensor, Tensor) and tensor.ndim == 4 and len(tensor) == 1:
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return output


def largest_activation(model: nn.Module, image: Tensor) -> int:
    """Return the bytes of the largest activation [1, C, H, W] in a forward pass of one ``image`` [1, C, H, W]."""
    with torch.no_grad(), _LargestOutput() as largest:
        model(image)
    return max(int(largest.bytes), image.numel() * image.element_size(), 1)


def micro_batch(activation_bytes: int, device: torch.device) -> int:
    """Return the batch size for a model whose largest activation of one image takes ``activation_bytes``."""
    if device.type == "cpu":
        return min(max(CPU_BYTES // activation_bytes, CPU_LEAST), CPU_MOST)
    return min(max(CUDA_BYTES // activation_bytes, CUDA_LEAST), CUDA_MOST)


def is_wide(model: nn.Module) -> bool:
    """Tell whether the first convolution has so many channels that a channels-last layout pays."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            return len(parameter) >= WIDE
    return False


def device_of(model: nn.Module, images: Tensor) -> torch.device:
    """Return the device of the model's first parameter or buffer; of the images for a model that has neither."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return images.device
