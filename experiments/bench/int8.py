"""int8 beside fp32: bytes of the file, and milliseconds a pass in the same runtime and in torch, by batch size.

The networks are untrained and the images drawn at random: neither sizes nor times depend on that.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from common.description import Compression, Model
from common.models import build
from common.seeds import torch_generator
from experiments.bench.findings import Finding, at_least
from experiments.bench.subjects import one_thread
from server.deployment import export_onnx, measure_compression
from server.int8 import compress
from server.latency import BATCH_SIZES
from server.processor import has_vnni

PAIRS = (
    ("onnxruntime int8", "onnxruntime fp32"),
    ("int8 kernels", "torch fp32"),
    ("onnxruntime int8", "torch fp32"),
)
"""int8 and the fp32 that it is compared with, first in the same runtime."""
NAMES = {"int8 kernels": "torch int8"}
REDUCTION = 74.4
"""Per cent of the fp32 weights' bytes that were to be saved, for the paper's ResNet-9."""


def find(repeats: int) -> list[Finding]:
    """Measure the paper's networks on images of 32 pixels, one thread."""
    one_thread()
    return [*findings("resnet9", 64, repeats, at_least(REDUCTION)), *findings("resnet18", 64, repeats)]


def findings(name: str, width: int, repeats: int, target: Any = None, *, seconds: float = 1.0) -> list[Finding]:
    """Return what is saved in bytes, and the times for each pair and batch size.

    Args:
        name, width: of the network; 3 channels, 10 classes.
        repeats: each a median of its own.
        target: of the reduction of bytes, in per cent; None: a fact.
        seconds: for each batch size in each repeat.
    """
    images = torch.rand(max(BATCH_SIZES), 3, 32, 32, generator=torch_generator(1, "bench"))
    model = build(Model(name=name, width=width), 3, 10, [0.5] * 3, [0.25] * 3, seed=1).eval()
    int8 = compress(model, images[:64], Compression(calibration_records=64))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        export_onnx(int8, path)
        told = [measure_compression(model, int8, path, images[:64], images, seconds=seconds) for _ in range(repeats)]
    network = f"{name} width {width}, 32 px"
    sizes = f"{told[0]['fp32_bytes'] / 1e6:.3g} MB of weights, a file of {told[0]['int8_bytes'] / 1e6:.3g} MB"
    found = [
        Finding(f"int8, {network}, saved", "", "% of the bytes", [100 * told[0]["size_reduction"]], [], target, sizes)
    ]
    here = f"{'an' if has_vnni() else 'no'} 8-bit dot product here"
    for size in told[0]["repeats"]:
        for ours, other in PAIRS:
            first, second = ([one["latency_ms"][side][size] for one in told] for side in (ours, other))
            name_of = f"{NAMES.get(ours, ours)}, {network}, batch {size}"
            found.append(Finding(name_of, other, "wall ms", first, second, None, here))
    return found
