"""What this processor does to 8-bit arithmetic."""

import functools
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def quiet_quantization() -> Iterator[None]:
    """Hold back torch's two notices that its quantization will move elsewhere; pyproject.toml pins torch for that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor, torch.quantize_per_channel")
        yield


def quantized_engine() -> str:
    """Return the torch engine for int8 on this machine: ``x86`` on x86-64, ``qnnpack`` elsewhere, or "" if none."""
    wanted = "x86" if platform.machine().lower() in {"x86_64", "amd64"} else "qnnpack"
    return wanted if wanted in torch.backends.quantized.supported_engines else ""


DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "dot", "i8mm")
"""What torch calls 8-bit dot products: VNNI on x86; on ARM ``asimddp`` (each Apple chip has it) and ``i8mm``."""


@functools.cache
def has_vnni() -> bool:
    """Tell whether the processor multiplies and sums 8-bit numbers in 32 bits in one step (VNNI, or ARM's own)."""
    return any(torch.cpu.get_capabilities().get(name, False) for name in DOT_PRODUCTS)


@functools.cache
def saturates() -> bool:
    """Tell whether torch's int8 convolution loses sums of two products above 16 bits here.

    Seen by trial rather than from a list of processors: the largest activations (255) times the largest weights (127).
    AVX2 without VNNI holds the sum of two such products (64,770) in 16 bits and cuts it to 32,767, silently, so
    activations must then keep to 7 bits. Without an int8 engine the answer is True, the safe one.
    """
    if not quantized_engine():
        return True
    with quiet_quantization():
        channels = 32
        images = torch.quantize_per_tensor(torch.full((1, channels, 8, 8), 255.0), 1.0, 0, torch.quint8)
        weights = torch.quantize_per_channel(
            torch.full((channels, channels, 3, 3), 127.0),
            torch.ones(channels, dtype=torch.float64),
            torch.zeros(channels, dtype=torch.int64),
            0,
            torch.qint8,
        )
        exact = 255.0 * 127.0 * channels * 9
        packed = torch.ops.quantized.conv2d_prepack(weights, None, [1, 1], [0, 0], [1, 1], 1)
        result = torch.ops.quantized.conv2d(images, packed, exact / 200, 0).dequantize()
        return bool((result < 0.98 * exact).any())
