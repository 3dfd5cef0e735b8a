"""The deployed file: the int8 model as ONNX, which onnxruntime runs without torch and without this project.

The file holds the same scales and roundings as the kernels that are attacked: it is written from their fake-quantized
twin, whose every rounding becomes a QuantizeLinear–DequantizeLinear pair around a convolution or linear layer, with
weights stored as int8 and biases as int32. Group norm and the rest stay in float.
"""

import copy
import io
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.folder import write_bytes
from common.records import as_float
from server.int8 import Int8
from server.latency import medians
from server.processor import saturates

_BATCH = 64
_OPSET = 17  # the first with per-channel QuantizeLinear and all else used here in every onnxruntime that we support


def export_onnx(int8: Int8, path: Path, classes: Sequence[str] = ()) -> None:
    """Write the int8 model as ONNX, whole or not at all.

    Input "images": float32 [batch, C, H, W] in [0, 1]; output "logits": float32 [batch, classes]; any batch size, the
    image size of the calibration. The metadata hold ``activation_bits`` and, if given, ``classes`` (a JSON list).

    Raises:
        UserError: a layer that ONNX does not have, or a file that cannot be written.
    """
    import onnx

    content = onnx.load_from_string(_export(int8.twin, int8.image_shape))
    _inline_identities(content.graph)
    _store_weights(content.graph)
    _store_biases(content.graph)
    metadata = {"activation_bits": str(int8.activation_bits), "input": "RGB or grey images in [0, 1], N x C x H x W"}
    if classes:
        metadata["classes"] = json.dumps(list(classes))
    onnx.helper.set_model_props(content, metadata)
    content.producer_name = "psreval"
    onnx.checker.check_model(content)
    write_bytes(path, content.SerializeToString())


def run_onnx(path: Path, images: Tensor, *, threads: int = 1) -> Tensor:
    """Return the logits [N, classes] that an ONNX file gives for images [N, C, H, W], uint8 or float32 in [0, 1].

    Raises:
        UserError: the file is missing or is no ONNX model.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}") from None
    return _in_batches(_session(content, threads, str(path)), images)


def measure(model: nn.Module, int8: Int8, onnx_path: Path, images: Tensor, *, seconds: float = 10.0) -> dict[str, Any]:
    """Measure what compression gained and cost: the ``compression`` part of evaluation.json.

    Args:
        model: the fp32 model, on any device.
        int8: what ``compress`` made of it.
        onnx_path: what ``export_onnx`` wrote.
        images: [N, C, H, W], uint8 or float32 in [0, 1], on which agreement is counted (test images, all of them).
        seconds: about how long to take over the latencies of each batch size.

    Returns:
        ``fp32_bytes`` (of all weights and constants as float32), ``int8_bytes`` (of the ONNX file), ``size_reduction``
        (a fraction), ``activation_bits``, ``calibration_records``, ``saturates``, ``agreement`` (shares of equal
        predictions, over ``records``), ``latency_ms`` (runtime → batch size → median), ``threads``, ``repeats`` (batch
        size → number).

    Raises:
        UserError: the file is missing or is no ONNX model.
    """
    original = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    threads = torch.get_num_threads()
    try:
        content = onnx_path.read_bytes()
    except OSError as error:
        raise UserError(f"{onnx_path} could not be read: {error.strerror}") from None
    run_int8 = _session(content, threads, str(onnx_path))
    run_fp32 = _session(_export(original, int8.image_shape), threads, "the fp32 model")

    fp32, kernels, twin = (_predictions(_in_batches(_call(m), images)) for m in (original, int8.kernels, int8.twin))
    deployed = _predictions(_in_batches(run_int8, images))
    fp32_bytes = sum(tensor.numel() * 4 for tensor in original.state_dict().values())
    latency, repeats = medians(
        {
            "torch fp32": _call(original),
            "int8 kernels": _call(int8.kernels),
            "onnxruntime fp32": run_fp32,
            "onnxruntime int8": run_int8,
        },
        as_float(images[:_BATCH].cpu()),
        seconds=seconds,
    )
    return {
        "fp32_bytes": fp32_bytes,
        "int8_bytes": len(content),
        "size_reduction": 1 - len(content) / fp32_bytes,
        "activation_bits": int8.activation_bits,
        "calibration_records": int8.calibration_records,
        "saturates": saturates(),
        "agreement": {
            "int8_fp32": _share_equal(kernels, fp32),
            "int8_twin": _share_equal(kernels, twin),
            "onnx_int8": _share_equal(deployed, kernels),
            "records": len(images),
        },
        "latency_ms": latency,
        "threads": threads,
        "repeats": repeats,
    }


def _export(model: nn.Module, image_shape: tuple[int, int, int]) -> bytes:
    example = torch.zeros(1, *image_shape)
    fixed = _fix_adaptive_pools(copy.deepcopy(model).cpu().eval().requires_grad_(False), example)
    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using the legacy TorchScript-based ONNX export")
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
            # dynamo=False: the newer exporter needs onnxscript and does not know fake quantization.
            torch.onnx.export(
                fixed,
                (example,),
                content,
                dynamo=False,
                opset_version=_OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
            )
    except Exception as error:
        # The exporter raises errors of many kinds for what it does not know.
        raise UserError(
            f"model: the network cannot be written as ONNX ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "use layers that ONNX has"
        ) from error
    return content.getvalue()


def _fix_adaptive_pools(model: nn.Module, example: Tensor) -> nn.Module:
    """Replace adaptive pools, which ONNX lacks, by ordinary ones that cover the same windows at this image size."""
    sizes: dict[str, tuple[int, int]] = {}

    def remember(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: sizes.update({name: (inputs[0].shape[-2], inputs[0].shape[-1])})

    kinds = (nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
    pools = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    hooks = [module.register_forward_pre_hook(remember(name)) for name, module in pools.items()]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    for name, module in pools.items():
        out = module.output_size if isinstance(module.output_size, tuple) else (module.output_size,) * 2
        windows = [_windows(size, out[axis] or size) for axis, size in enumerate(sizes.get(name, ()))]
        if len(windows) == 2 and windows[0] is not None and windows[1] is not None:
            kernel, stride = zip(*windows, strict=True)
            ordinary = nn.MaxPool2d if isinstance(module, nn.AdaptiveMaxPool2d) else nn.AvgPool2d
            model.set_submodule(name, ordinary(kernel, stride))
    return model


def _windows(size: int, out: int) -> tuple[int, int] | None:
    """Return (kernel, stride) of an adaptive pool's windows along one axis, or None where they are uneven."""
    starts = [i * size // out for i in range(out)]
    lengths = {-(-(i + 1) * size // out) - start for i, start in enumerate(starts)}
    strides = {after - before for before, after in zip(starts, starts[1:], strict=False)} or {1}
    stride = strides.pop()
    # A stride of 0 (fewer pixels than outputs) no ordinary pool has.
    return None if strides or len(lengths) != 1 or stride == 0 else (lengths.pop(), stride)


def _inline_identities(graph: Any) -> None:
    """Let every node name its initialiser itself (the exporter merges equal ones through Identity nodes)."""
    stored = {tensor.name for tensor in graph.initializer}
    source: dict[str, str] = {}
    for node in list(graph.node):
        if node.op_type == "Identity" and source.get(node.input[0], node.input[0]) in stored:
            source[node.output[0]] = source.get(node.input[0], node.input[0])
            graph.node.remove(node)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = source.get(name, name)


def _store_weights(graph: Any) -> None:
    """Round the float weights once and for all: initialiser and QuantizeLinear become an int8 initialiser."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in stored]:
        weights, scale, zero = (numpy_helper.to_array(stored[name]) for name in node.input)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [-1 if place == axis else 1 for place in range(weights.ndim)] if scale.size > 1 else [1] * weights.ndim
        limits = np.iinfo(zero.dtype)
        steps = np.rint(weights / scale.reshape(shape)) + zero.reshape(shape)
        rounded = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
        graph.initializer.append(numpy_helper.from_array(rounded, node.output[0]))
        graph.node.remove(node)
    _drop_unused(graph)


def _store_biases(graph: Any) -> None:
    """Store biases as int32 steps of (input scale × weight scale), which integer kernels add before rescaling."""
    from onnx import helper, numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for place, node in reversed(list(enumerate(graph.node))):
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in stored:
            continue
        if node.input[0] not in dequantized or node.input[1] not in dequantized:
            continue
        scales = [numpy_helper.to_array(stored[dequantized[name].input[1]]) for name in node.input[:2]]
        bias = numpy_helper.to_array(stored[node.input[2]])
        scale = np.broadcast_to((scales[0] * scales[1]).astype(np.float32), bias.shape).copy()
        steps = np.clip(np.rint(bias.astype(np.float64) / scale), -(2**31), 2**31 - 1).astype(np.int32)
        name = f"{node.output[0]}_bias"
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}_int32"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        graph.node.insert(
            place, helper.make_node("DequantizeLinear", [f"{name}_int32", f"{name}_scale"], [name], axis=0)
        )
        node.input[2] = name
    _drop_unused(graph)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _session(content: bytes, threads: int, name: str) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    # Idle threads that spin would slow whatever is timed next to it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises classes of its own compiled module, with no common base but Exception.
        raise UserError(f"{name} is no ONNX model that onnxruntime can run: {str(error).splitlines()[0]}") from error
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _call(model: nn.Module) -> Callable[[Tensor], Tensor]:
    place = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))

    def call(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = model(images.to(place)).cpu()
        return logits

    return call


def _in_batches(call: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([call(as_float(batch.cpu())) for batch in images.split(_BATCH)])


def _predictions(logits: Tensor) -> Tensor:
    return logits.argmax(dim=1)


def _share_equal(first: Tensor, second: Tensor) -> float:
    return math.nan if len(first) == 0 else float((first == second).double().mean())
