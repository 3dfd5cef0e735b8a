"""The same network, laid out as a processor computes it faster; for as long as an attack runs.

Convolution weights are laid out channels-last, those whose only window covers the whole map lose the taps that meet
nothing but the zeros around it, and those over one channel get a backward of their own (``attacks.grey``). Nothing of
this changes what the network computes beyond the order of sums.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attacks.grey import convolved, is_grey

Window = tuple[slice, slice]
"""The rows and columns of a kernel that meet the map."""


@contextmanager
def laid_out(*models: nn.Module, image: Tensor) -> Iterator[None]:
    """Within the block the models are laid out for images of the size of ``image`` [1, C, H, W]; then as before.

    Channels-last is what the processor's kernels take without copies. Trimmed convolutions pay where maps are no larger
    than kernels, as the last of ResNet-18 at 32 pixels, and the more so in small batches, which are bound by weights.

    The models must be frozen (``attacks.guard.undisturbed``): a parameter's data is another tensor in the meantime.
    Each step is tried out first, and left out where a model then answers otherwise or not at all: one that views its
    maps as rows, say, cannot do with channels-last.
    """
    networks, parameters = list(dict.fromkeys(models)), list[nn.Parameter]()
    parameters += dict.fromkeys(parameter for model in networks for parameter in model.parameters())
    kept = [parameter.data for parameter in parameters]
    grey = list(dict.fromkeys(module for model in networks for module in model.modules() if is_grey(module)))
    paddings: dict[nn.Conv2d, Any] = {}
    pair = image.repeat(2, 1, 1, 1)  # a single image's maps can be viewed in ways that several cannot
    try:
        answers = {model: _answer(model, pair) for model in networks}
        if None not in answers.values():
            for model in networks:
                _trim(model, pair, answers[model], paddings)
            trimmed = [parameter.data for parameter in parameters]
            for parameter in parameters:
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
            for convolution in grey:
                vars(convolution)["forward"] = partial(convolved, convolution)
            if not all(_same(model, pair, answer) for model, answer in answers.items()):
                _put_back(grey, parameters, trimmed)
        yield
    finally:
        _put_back(grey, parameters, kept)
        for convolution, padding in paddings.items():
            convolution.padding = padding


def _put_back(grey: Sequence[nn.Conv2d], parameters: Sequence[nn.Parameter], data: Sequence[Tensor]) -> None:
    for convolution in grey:
        vars(convolution).pop("forward", None)
    for parameter, own in zip(parameters, data, strict=True):
        parameter.data = own


def _trim(model: nn.Module, images: Tensor, answer: "Answer | None", paddings: dict[nn.Conv2d, Any]) -> None:
    """Trim the model's convolutions, and note their paddings; a model that then answers otherwise stays as it is."""
    windows = _windows(model, images)
    whole = {convolution: (convolution.weight.data, convolution.padding) for convolution in windows}
    for convolution, (rows, columns) in windows.items():
        convolution.weight.data = convolution.weight.data[:, :, rows, columns]
        convolution.padding = (0, 0)
    if windows and not _same(model, images, answer):  # a weight is read elsewhere, too
        for convolution, (weight, padding) in whole.items():
            convolution.weight.data, convolution.padding = weight, padding
        return
    paddings.update({convolution: padding for convolution, (_, padding) in whole.items()})


def _windows(model: nn.Module, images: Tensor) -> dict[nn.Conv2d, Window]:
    """Return the convolutions that can be trimmed, each with what is left of its kernel."""
    sizes: dict[nn.Conv2d, set[tuple[int, ...]]] = {}

    def note(module: nn.Module, given: Any, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        if given:  # not where it came by keyword
            sizes.setdefault(module, set()).add((*given[0].shape[-2:], *output.shape[-2:]))

    # A subclass may use its weight as it likes.
    handles = [module.register_forward_hook(note) for module in model.modules() if type(module) is nn.Conv2d]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    windows = {}
    for convolution, seen in sizes.items():
        ((height, width, *out), *others) = seen
        padding = convolution.padding
        if others or out != [1, 1] or isinstance(padding, str):
            continue
        if convolution.padding_mode == "zeros" and convolution.dilation == (1, 1) and padding != (0, 0):
            windows[convolution] = (slice(padding[0], padding[0] + height), slice(padding[1], padding[1] + width))
    return windows


@dataclass(frozen=True)
class Answer:
    """What a model makes of images: its logits, and whether a gradient comes back to the images."""

    logits: Tensor
    gradient: bool


def _answer(model: nn.Module, images: Tensor) -> Answer | None:
    """Return what a model answers; None: it fails."""
    shown = images.clone().requires_grad_()
    try:
        with torch.enable_grad():
            logits = model(shown)
    except Exception:  # whatever a model of one's own may raise
        return None
    try:
        torch.autograd.grad(logits.sum(), shown, allow_unused=True)
    except Exception:
        return Answer(logits.detach(), gradient=False)
    return Answer(logits.detach(), gradient=True)


def _same(model: nn.Module, images: Tensor, before: Answer | None) -> bool:
    after = _answer(model, images)
    if before is None or after is None or before.gradient != after.gradient:
        return False
    return torch.allclose(after.logits, before.logits, rtol=1e-3, atol=1e-4, equal_nan=True)
