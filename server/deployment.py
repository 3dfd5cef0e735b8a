"""The deployed file: the int8 model as ONNX, which onnxruntime runs without torch and without this project.

The file holds the same scales and roundings as the kernels that are attacked: it is written from their fake-quantized
twin, whose every rounding becomes a QuantizeLinear–DequantizeLinear pair around a convolution or linear layer, with
weights stored as int8 and biases as int32. Group norm and the rest stay in float.
"""

import copy
import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from attacks.batches import largest_activation
from common.description import Compression
from common.errors import UserError
from common.folder import write_bytes
from common.records import as_float
from common.seeds import torch_generator
from server.int8 import LEAST_RECORDS, Int8, compress
from server.latency import BATCH_SIZES, batch_sizes, medians
from server.onnx_file import store_integers, to_onnx
from server.processor import saturates

Images = Tensor | npt.NDArray[np.uint8]
"""[N, C, H, W]: a tensor, uint8 or float32 in [0, 1], or a (memory-mapped) array of uint8."""
_BATCH = 64


def export_onnx(int8: Int8, path: Path, classes: Sequence[str] = ()) -> None:
    """Write the int8 model as ONNX, whole or not at all.

    Input "images": float32 [batch, C, H, W] in [0, 1]; output "logits": float32 [batch, classes], or for segmentation
    [batch, classes, H, W]; any batch size, the image size of the calibration. The metadata hold ``activation_bits``
    and, if given, ``classes`` (a JSON list).

    Raises:
        UserError: a layer that ONNX does not have, or a file that cannot be written.
    """
    import onnx

    content = onnx.load_from_string(to_onnx(int8.twin, int8.image_shape))
    store_integers(content)
    metadata = {
        "activation_bits": str(int8.activation_bits),
        "input": "images: float32 [batch, channels, height, width] in [0, 1]",
    }
    if classes:
        metadata["classes"] = json.dumps(list(classes))
    onnx.helper.set_model_props(content, metadata)
    content.producer_name = "psreval"
    onnx.checker.check_model(content)
    write_bytes(path, content.SerializeToString())


def check_deployable(model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Compress and export an untrained model on random images (C, H, W), so that nothing is trained in vain.

    Takes about a second; worth it for a user's own network. The model and the global random state stay as they are.

    Raises:
        UserError: torch.fx, ONNX or torch's int8 kernels cannot take the network.
    """
    images = torch.rand(LEAST_RECORDS, *image_shape, generator=torch_generator(0, "deployable"))
    try:
        with torch.no_grad(), redirect_stderr(io.StringIO()):  # where torch.fx prints its code
            int8 = compress(model, images, Compression())
            int8.kernels(images[:2])
    except UserError:
        raise
    except Exception as error:  # whatever a kernel may raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"model.name: as int8 the network cannot be computed ({reason}); use reshape or flatten in the place of "
            "view, and layers that torch has int8 kernels for (no circular padding)"
        ) from None
    to_onnx(int8.twin, image_shape)


def run_onnx(path: Path, images: Images, *, threads: int = 1) -> Tensor:
    """Return the logits [N, classes], or [N, classes, H, W], that an ONNX file gives for images.

    Raises:
        UserError: the file is missing or is no ONNX model.
    """
    return _in_batches(_session(_read(path), threads, str(path)), images)


def measure_compression(
    model: nn.Module,
    int8: Int8,
    onnx_path: Path,
    images: Images,
    timed_images: Images | None = None,
    *,
    seconds: float | None = 10.0,
    predicted: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Any]:
    """Measure what compression gained and cost: the ``compression`` part of evaluation.json.

    Args:
        model: the fp32 model, on any device.
        int8: what ``compress`` made of it.
        onnx_path: what ``export_onnx`` wrote.
        images: [N, C, H, W], uint8 or float32 in [0, 1], on which agreement is counted (test images, all of them).
        timed_images: likewise, of which the first 256 are timed; None takes ``images``.
        seconds: about how long to take over the latencies of each batch size; None: they are not measured.
        predicted: the classes that the fp32 model and the int8 kernels give to ``images``, integers [N] each, where
            they are known already; None: both are asked.

    Returns:
        ``fp32_bytes`` (of all weights and constants as float32), ``int8_bytes`` (of the ONNX file), ``size_reduction``
        (a fraction), ``activation_bits``, ``calibration_records``, ``saturates``, ``agreement`` (shares of equal
        predictions, for segmentation of equal pixels, over ``records``), ``latency_ms`` (runtime → batch size → median;
        empty where not measured), ``threads``, ``repeats`` (batch size → number; likewise).

    Raises:
        UserError: the file is missing or is no ONNX model.
    """
    original = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    threads = torch.get_num_threads()
    content = _read(onnx_path)
    run_int8 = _session(content, threads, str(onnx_path))

    asked = (original, int8.kernels)
    fp32, kernels = predicted or tuple(_predictions(_call(one), images) for one in asked)
    twin, deployed = _predictions(_call(int8.twin), images), _predictions(run_int8, images)
    fp32_bytes = sum(tensor.numel() * 4 for tensor in original.state_dict().values())
    latency: dict[str, dict[str, float]] = {}
    repeats: dict[str, int] = {}
    if seconds is not None:
        runtimes = {
            "torch fp32": _call(original),
            "int8 kernels": _call(int8.kernels),
            "onnxruntime fp32": _session(to_onnx(original, int8.image_shape), threads, "the fp32 model"),
            "onnxruntime int8": run_int8,
        }
        timed = _as_batch((images if timed_images is None else timed_images)[: max(BATCH_SIZES)])
        sizes = batch_sizes(largest_activation(original, timed[:1]))
        latency, repeats = medians(runtimes, timed, seconds=seconds, sizes=sizes)
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}") from None


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


def _in_batches(call: Callable[[Tensor], Tensor], images: Images) -> Tensor:
    return torch.cat([call(_as_batch(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)])


def _as_batch(part: Images) -> Tensor:
    # A copy: memory-mapped images cannot be written to, which torch warns about.
    return as_float(part.cpu() if isinstance(part, Tensor) else torch.from_numpy(np.array(part)))


def _predictions(call: Callable[[Tensor], Tensor], images: Images) -> Tensor:
    # Batch by batch: all logits of masks at once would be as many floats as there are classes a pixel.
    return _in_batches(lambda batch: call(batch).argmax(dim=1).to(torch.int32), images)


def _share_equal(first: Tensor, second: Tensor) -> float:
    return float((first == second).double().mean())
