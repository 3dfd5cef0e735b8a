"""How many images at once: small batches whose activations stay in the processor's cache are faster on a CPU."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

CPU_BYTES, CPU_MOST = 8 * 2**20, 128
"""Of the largest activation, and images. With more, tensors leave the cache and come from fresh pages of memory."""
CUDA_BYTES, CUDA_LEAST, CUDA_MOST = 256 * 2**20, 16, 1024


def largest_activation(model: nn.Module, image: Tensor) -> int:
    """Return the bytes of the largest output of any module in a forward pass of one ``image`` [1, C, H, W].

    A model whose modules cannot be watched (an exported one) counts as its image.
    """
    largest = image.numel() * image.element_size()

    def note(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    handles = []
    try:
        with suppress(RuntimeError):  # a scripted model
            handles += [module.register_forward_hook(note) for module in model.modules()]
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return max(largest, 1)


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of the model's parameters, all of which every batch reads."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def micro_batch(activation_bytes: int, weights: int, device: torch.device) -> int:
    """Return the batch size for a model.

    Args:
        activation_bytes: of its largest activation of one image.
        weights: bytes of its parameters. On a CPU a batch's largest activation takes half of that at least: large
            networks on small maps (ResNet-18 at 32 pixels) spend small batches on reading their weights.
        device: where it computes.
    """
    if device.type == "cpu":
        return min(max(max(CPU_BYTES, weights // 2) // activation_bytes, 1), CPU_MOST)
    return min(max(CUDA_BYTES // activation_bytes, CUDA_LEAST), CUDA_MOST)


def batch_size(model: nn.Module, image: Tensor) -> int:
    """Return how many images like ``image`` [1, C, H, W], on the model's device, the model is best given at once."""
    return micro_batch(largest_activation(model, image), weight_bytes(model), image.device)


def device_of(model: nn.Module, images: Tensor) -> torch.device:
    """Return the device of the model's first parameter or buffer; of the images for a model that has neither."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return images.device
