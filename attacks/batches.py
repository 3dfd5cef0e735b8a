"""How many images at once: small batches whose activations stay in the processor's cache are faster on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn

CPU_BYTES, CPU_LEAST, CPU_MOST = 8 * 2**20, 8, 128
"""Measured on two 2-core machines: 1.3 and 1.8 times the speed of batches of 128, for the paper's ResNet-9."""
CUDA_BYTES, CUDA_LEAST, CUDA_MOST = 256 * 2**20, 16, 1024
WIDE = 64
"""Output channels of the first convolution from which channels-last is used: 0.9 to 1.3 times the speed, by machine."""


def largest_activation(model: nn.Module, image: Tensor) -> int:
    """Return the bytes of the largest output of any module in a forward pass of one ``image`` [1, C, H, W].

    A model whose modules cannot be watched (an exported one) counts as its image.
    """
    largest = image.numel() * image.element_size()

    def note(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return max(largest, 1)


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
