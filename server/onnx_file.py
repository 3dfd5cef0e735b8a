"""A network as ONNX bytes, and the int8 form of one that holds fake quantization.

torch's TorchScript exporter writes each fake quantization as a QuantizeLinear–DequantizeLinear pair. Around weights and
biases that pair is worked out here, once, so that the file stores int8 and int32 numbers instead of floats.
"""

import copy
import io
import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError

_OPSET = 17  # has all that is used here, and every onnxruntime since 1.12 runs it


def to_onnx(model: nn.Module, image_shape: tuple[int, int, int]) -> bytes:
    """Return ``model`` as ONNX: input "images" [batch, C, H, W], output "logits" [batch, classes], or
    [batch, classes, H, W], any batch size.

    The model itself stays as it is; fake quantization in it becomes QuantizeLinear–DequantizeLinear pairs.

    Raises:
        UserError: a layer that ONNX does not have.
    """
    example = torch.zeros(1, *image_shape)
    fixed = _fix_adaptive_pools(copy.deepcopy(model).cpu().eval().requires_grad_(False), example)
    content = io.BytesIO()
    target: Any = content  # torch's annotation forgets that a file object will do
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using the legacy TorchScript-based ONNX export")
            warnings.filterwarnings("ignore", message="The feature will be removed", category=DeprecationWarning)
            # torch's own group norm and fake quantization test sizes and switches, which are fixed here.
            own = r"torch\.(nn\.functional|ao\.quantization)"
            warnings.filterwarnings("ignore", message="Converting a tensor to a Python boolean", module=own)
            # dynamo=False: the newer exporter needs onnxscript and does not know fake quantization.
            torch.onnx.export(
                fixed,
                (example,),
                target,
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
    strides = {after - before for before, after in itertools.pairwise(starts)} or {1}
    stride = strides.pop()
    # A stride of 0 (fewer pixels than outputs) no ordinary pool has.
    return None if strides or len(lengths) != 1 or stride == 0 else (lengths.pop(), stride)


def store_integers(content: Any) -> None:
    """Store the weights and biases of a fake-quantized ``onnx.ModelProto`` as integers, in place."""
    _inline_identities(content.graph)
    _store_weights(content.graph)
    _store_biases(content.graph)
    _shorten_names(content.graph)


def _inline_identities(graph: Any) -> None:
    """Let every node name its initialiser itself (the exporter merges equal ones through Identity nodes)."""
    stored = {tensor.name for tensor in graph.initializer}
    source: dict[str, str] = {}
    for node in list(graph.node):
        if node.op_type == "Identity" and source.get(node.input[0], node.input[0]) in stored:
            source[node.output[0]] = source.get(node.input[0], node.input[0])
            graph.node.remove(node)
    _rename(graph, source)


def _store_weights(graph: Any) -> None:
    """Round the float weights once and for all: initialiser and QuantizeLinear become an int8 initialiser."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    names: dict[str, str] = {}
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in stored]:
        weights, scale, zero = (numpy_helper.to_array(stored[name]) for name in node.input)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [-1 if place == axis else 1 for place in range(weights.ndim)] if scale.size > 1 else [1] * weights.ndim
        limits = np.iinfo(zero.dtype)
        steps = np.rint(weights / scale.reshape(shape)) + zero.reshape(shape)
        rounded = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
        name = f"{node.input[0]}.{rounded.dtype}"
        names[node.output[0]] = name if name not in names.values() else node.output[0]
        graph.initializer.append(numpy_helper.from_array(rounded, names[node.output[0]]))
        graph.node.remove(node)
    _rename(graph, names)
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
        inputs, weights = (dequantized[name] for name in node.input[:2])
        bias = numpy_helper.to_array(stored[node.input[2]])
        input_scale = numpy_helper.to_array(stored[inputs.input[1]])
        name = f"{node.output[0]}.bias"
        least = np.abs(bias) / (input_scale * 2.0**30)
        scale = _widen(graph, weights, least, f"{node.output[0]}.weight") * input_scale
        stores = [f"{name}.int32", f"{name}.scale"]
        steps = np.rint(bias.astype(np.float64) / scale).astype(np.int32)
        graph.initializer.extend(map(numpy_helper.from_array, (steps, scale.astype(np.float32)), stores))
        graph.node.insert(place, helper.make_node("DequantizeLinear", stores, [name], axis=0))
        node.input[2] = name
    _drop_unused(graph)


def _widen(graph: Any, dequantize: Any, least: Any, name: str) -> Any:
    """Return the weights' scale [channels], after raising it to ``least`` where it is smaller.

    A channel whose weights are all but zero has so small a scale that its bias overflows 32 bits. Its weights may
    have any scale; onnxruntime would cut the bias off, silently, even if it were left in float.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    weights, before = (numpy_helper.to_array(stored[place]) for place in dequantize.input[:2])
    scale = np.maximum(before, least).astype(np.float32)
    if (scale > before).any():
        ratio = (before / scale).reshape(-1, *[1] * (weights.ndim - 1))
        names = [f"{name}.{weights.dtype}", f"{name}.scale"]
        rounded = np.rint(weights * ratio).astype(weights.dtype)
        graph.initializer.extend(map(numpy_helper.from_array, (rounded, scale), names))
        dequantize.input[:2] = names
    return scale


def _shorten_names(graph: Any) -> None:
    """Number what nodes compute; the exporter's long names are a fifth of a narrow network's file."""
    kept = {output.name for output in graph.output}
    computed = [name for node in graph.node for name in node.output if name not in kept]
    _rename(graph, {name: f"v{number}" for number, name in enumerate(computed)})
    for node in graph.node:
        node.name = ""


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
