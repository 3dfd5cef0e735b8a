"""int8 post-training quantization: kernels to score, and their differentiable twin to attack.

Static quantization of the weights and activations of every convolution and linear layer, calibrated on public images;
normalisation, group norm, ReLU, pooling and additions stay in float (torch's own int8 group norm gives wrong results on
large batches of small maps).

Both models come from one graph: ``prepare_qat_fx`` puts a ``FakeQuantize`` wherever a number will be quantized. With
observers on it is calibrated; with observers off and rounding on it is the twin, whose gradients pass the rounding
unchanged (straight-through; Bengio et al. 2013, arXiv 1308.3432); ``convert_fx`` of its copy gives the int8 kernels
with the same scales. No training takes place.

``torch.ao.quantization`` is deprecated, so this module alone touches it.
"""

import copy
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from common.description import Compression
from common.errors import UserError
from common.records import as_float
from server.processor import quantized_engine, quiet_quantization, saturates

LEAST_RECORDS = 8
"""Fewer public images than this cannot calibrate a model."""
_LAYERS = (nn.Conv2d, nn.Linear)
_BATCH = 64


@dataclass(frozen=True)
class Int8:
    """A compressed model, twice; both map images [N, C, H, W] in [0, 1] to logits, in eval mode, frozen.

    Attributes:
        kernels: int8 convolutions and linear layers, on the CPU; its output has no gradient.
        twin: the same scales and roundings in float32; straight-through gradients to the images. May be moved to a GPU.
        activation_bits: 7 or 8, of the calibrated range of activations; weights always have 8.
        calibration_records: public images that were used.
        image_shape: (C, H, W) of the calibration images.
    """

    kernels: nn.Module
    twin: nn.Module
    activation_bits: int
    calibration_records: int
    image_shape: tuple[int, int, int]


def compress(model: nn.Module, public_images: Tensor, compression: Compression) -> Int8:
    """Quantize a copy of ``model``; the model itself, its mode and the global random state stay as they are.

    Args:
        model: images in [0, 1] in, logits out, without batch norm.
        public_images: [N, C, H, W], uint8 or float32 in [0, 1], shuffled by the caller; the first
            ``compression.calibration_records`` calibrate, or all if there are fewer.
        compression: the description's section.

    Raises:
        UserError: fewer than 8 images; a network that torch.fx cannot trace or that has nothing to quantize; logits
            that are not finite; a torch or a machine without int8.
    """
    images = as_float(public_images[: compression.calibration_records].cpu())
    if len(images) < LEAST_RECORDS:
        raise UserError(
            f"int8 calibration has {len(images)} public images and needs {LEAST_RECORDS} or more; "
            "raise data.public_records or data.public_fraction"
        )
    bits = compression.activation_bits or (7 if saturates() else 8)
    original = copy.deepcopy(model).cpu().eval()
    _check_finite(original, images)
    api = _api()
    with quiet_quantization(), torch.random.fork_rng(devices=[]), _engine():
        twin = _prepare(api, original, images[:1], bits, compression.calibration)
        _calibrate(api, twin, images, whole=compression.calibration == "histogram")
        kernels = api.quantize_fx.convert_fx(copy.deepcopy(twin), backend_config=_backend(api))
    twin.apply(_use_whole_byte)
    if not any("quantized" in type(module).__module__ for module in kernels.modules()):
        raise UserError("model: int8 compression found no convolution or linear layer in the network; choose another")
    channels, height, width = images.shape[1:]
    return Int8(
        kernels.eval().requires_grad_(False),
        twin.eval().requires_grad_(False),
        bits,
        len(images),
        (channels, height, width),
    )


def with_rounded_weights(twin: nn.Module) -> nn.Module:
    """Return a copy of a twin whose weights are rounded once and for all, not in every pass; all else bit for bit.

    For attacks; the ONNX file is written from the twin itself, which still has the weights' scales at work.
    """
    copied = copy.deepcopy(twin)
    for layer in copied.modules():
        quantizer: Any = getattr(layer, "weight_fake_quant", None)
        weight = getattr(layer, "weight", None)
        if quantizer is not None and isinstance(weight, Tensor):
            with torch.no_grad():
                weight.copy_(quantizer(weight))
            quantizer.disable_fake_quant()
    return copied


def _api() -> ModuleType:
    try:
        quantization = importlib.import_module("torch.ao.quantization")
        importlib.import_module("torch.ao.quantization.quantize_fx")
    except ImportError:
        raise UserError(
            f"torch {torch.__version__} no longer has torch.ao.quantization, which int8 compression uses; "
            "install torch==2.13.0"
        ) from None
    needed = ("FakeQuantize", "QConfig", "QConfigMapping", "MinMaxObserver", "HistogramObserver", "disable_observer")
    missing = [name for name in needed if not hasattr(quantization, name)]
    if missing:
        raise UserError(
            f"torch {torch.__version__} lacks torch.ao.quantization.{missing[0]}, which int8 compression uses; "
            "install torch==2.13.0"
        )
    if not quantized_engine():
        raise UserError(
            f"this build of torch {torch.__version__} has no int8 engine for this processor (x86 or qnnpack); "
            "compress on another machine"
        )
    return quantization


def _prepare(api: ModuleType, model: nn.Module, example: Tensor, bits: int, calibration: str) -> Any:
    observer = api.HistogramObserver if calibration == "histogram" else api.MinMaxObserver
    activations = api.FakeQuantize.with_args(
        observer=observer,
        quant_min=0,
        quant_max=2**bits - 1,
        dtype=torch.quint8,
        qscheme=torch.per_tensor_affine,
    )
    # From -127: with -128 each channel's largest weight would lie halfway between two steps.
    weights = api.FakeQuantize.with_args(
        observer=api.PerChannelMinMaxObserver,
        quant_min=-127,
        quant_max=127,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )
    layers = api.QConfig(activation=activations, weight=weights)
    mapping = api.QConfigMapping().set_global(None)
    for layer in _LAYERS:
        mapping = mapping.set_object_type(layer, layers)
    backend = _backend(api)
    try:
        return api.quantize_fx.prepare_qat_fx(model.train(), mapping, (example,), backend_config=backend)
    except Exception as error:
        # Tracing runs the user's forward, so anything can come out of it.
        raise UserError(
            f"model: torch.fx cannot trace the network for int8 compression ({type(error).__name__}: {error}); "
            "keep control flow that depends on the images out of forward()"
        ) from error


def _backend(api: ModuleType) -> Any:
    """Return torch's rules for the layers that we quantize alone, so that none is fused with what stays in float."""
    counterparts = importlib.import_module("torch.ao.nn.qat")
    patterns = (*_LAYERS, counterparts.Conv2d, counterparts.Linear)
    ours = [rule for rule in api.backend_config.get_native_backend_config().configs if rule.pattern in patterns]
    return api.backend_config.BackendConfig("psreval").set_backend_pattern_configs(ours)


def _calibrate(api: ModuleType, twin: nn.Module, images: Tensor, *, whole: bool) -> None:
    twin.eval()
    twin.apply(api.enable_observer)
    twin.apply(api.disable_fake_quant)
    # A histogram's search for the best range follows every batch and costs more than the forward: one batch then.
    with torch.no_grad():
        for batch in torch.split(images, len(images) if whole else _BATCH):
            twin(batch)
    twin.apply(api.disable_observer)
    twin.apply(_avoid_ties)
    twin.apply(api.enable_fake_quant)


def _avoid_ties(module: nn.Module) -> None:
    # A calibrated range that is exactly symmetric puts its ends, often black and white pixels, halfway between two
    # steps, where kernels and twin may round apart (one prediction in ten, at worst). A hair's wider range mends it.
    quantizer: Any = module
    observer: Any = getattr(module, "activation_post_process", None)
    if type(observer).__name__ != "MinMaxObserver" or observer.dtype != torch.quint8:
        return
    scale, _ = quantizer.calculate_qparams()
    steps_below_zero = -float(observer.min_val) / float(scale)
    if abs(steps_below_zero % 1 - 0.5) < 0.02:
        observer.max_val += 0.25 * scale.reshape(())
        scale, zero_point = quantizer.calculate_qparams()
        quantizer.scale.copy_(scale)
        quantizer.zero_point.copy_(zero_point)


def _use_whole_byte(module: nn.Module) -> None:
    # The int8 kernels store whole bytes: beyond the calibrated range activations saturate at 255, even where scales
    # were chosen for 7 bits. The twin must do the same, or adversarial images would part the two.
    observer = getattr(module, "activation_post_process", None)
    if observer is not None:
        limits = torch.iinfo(observer.dtype)
        observer.quant_min, observer.quant_max = limits.min, limits.max


def _check_finite(model: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        for batch in torch.split(images, _BATCH):
            if not model(batch).isfinite().all():
                raise UserError(
                    "model: its logits on the public images are not finite, so it cannot be compressed; "
                    "lower training.learning_rate"
                )


@contextmanager
def _engine() -> Iterator[None]:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = quantized_engine()
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
