"""The same network, laid out as a processor computes it faster; for as long as an attack runs.

Convolution weights are laid out channels-last, those whose only window covers the whole map lose the taps that meet
nothing but the zeros around it, and those over one channel get a backward of their own (``attacks.grey``). Nothing of
this changes what the network computes beyond the order of sums.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    Each step is tried out first, on two random images and never on the caller's, and left out where a model then
    answers otherwise or not at all: one that views its maps as rows, say, cannot do with channels-last.
    """
    networks, parameters = list(dict.fromkeys(models)), list[nn.Parameter]()
    parameters += dict.fromkeys(parameter for model in networks for parameter in model.parameters())
    kept = [parameter.data for parameter in parameters]
    grey = list(dict.fromkeys(module for model in networks for module in model.modules() if is_grey(module)))
    paddings: dict[nn.Conv2d, Any] = {}
    # A record must not decide how others are attacked, a black image shows nothing, and the maps of a single one can be
    # viewed in ways that those of several cannot.
    pair = torch.rand(2, *image.shape[1:], generator=torch.Generator().manual_seed(0)).to(image)
    try:
        answers = {model: _answer(model, pair) for model in networks}
        if None not in answers.values():
            windows = {one: window for model in networks for one, window in _windows(model, pair).items()}
            paddings |= {convolution: convolution.padding for convolution in windows}
            for convolution, (rows, columns) in windows.items():
                convolution.weight.data = convolution.weight.data[:, :, rows, columns]
                convolution.padding = (0, 0)
            if windows and not _all_same(answers, pair):  # a weight is read elsewhere, too
                _put_back(parameters, kept, paddings)
            trimmed = [parameter.data for parameter in parameters]
            for parameter in parameters:
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
            for convolution in grey:
                vars(convolution)["forward"] = partial(convolved, convolution)
            if not _all_same(answers, pair):
                _put_back(parameters, trimmed, {}, grey)
        yield
    finally:
        _put_back(parameters, kept, paddings, grey)


def _put_back(
    parameters: Sequence[nn.Parameter],
    data: Sequence[Tensor],
    paddings: Mapping[nn.Conv2d, Any],
    grey: Sequence[nn.Conv2d] = (),
) -> None:
    for convolution in grey:
        vars(convolution).pop("forward", None)
    for parameter, own in zip(parameters, data, strict=True):
        parameter.data = own
    for convolution, padding in paddings.items():
        convolution.padding = padding


def _windows(model: nn.Module, images: Tensor) -> dict[nn.Conv2d, Window]:
    """Return the convolutions that can be trimmed, each with what is left of its kernel."""
    sizes: dict[nn.Conv2d, set[tuple[int, ...]]] = {}

    def note(module: nn.Module, given: Any, output: Any) -> None:
        assert isinstance(module, nn.Conv2d)
        if given and isinstance(output, Tensor):  # not where it came by keyword, or a hook makes it something else
            sizes.setdefault(module, set()).add((*given[0].shape[-2:], *output.shape[-2:]))

    # A subclass or a forward of its own may use a weight as it likes; one that is no parameter would not be put back.
    plain = (module for module in model.modules() if type(module) is nn.Conv2d and "forward" not in vars(module))
    handles = [module.register_forward_hook(note) for module in plain if isinstance(module.weight, nn.Parameter)]
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


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model makes of images: its logits, and the gradient that comes back to the images; None: none does."""

    logits: Tensor
    gradient: Tensor | None


def _answer(model: nn.Module, images: Tensor) -> Answer | None:
    """Return what a model answers; None: it fails."""
    shown = images.clone().requires_grad_()
    try:
        with torch.enable_grad():
            logits = model(shown)
    except Exception:  # whatever a model of one's own may raise
        return None
    if not isinstance(logits, Tensor) or logits.ndim < 2:
        return None
    weights = torch.linspace(1, 2, logits.shape[1]).to(logits)  # the sum of logits may be the same for all images
    try:
        (gradient,) = torch.autograd.grad((logits.transpose(1, -1) * weights).sum(), shown, allow_unused=True)
    except Exception:
        gradient = None
    return Answer(logits.detach(), gradient)


def _all_same(before: Mapping[nn.Module, Answer | None], images: Tensor) -> bool:
    return all(_is_same(answer, _answer(model, images)) for model, answer in before.items())


def _is_same(before: Answer | None, after: Answer | None) -> bool:
    if before is None or after is None or (before.gradient is None) != (after.gradient is None):
        return False
    same = (after.logits - before.logits).abs().max() <= 1e-3 * before.logits.abs().max()
    if before.gradient is not None and after.gradient is not None:
        # By its length: where two values of a maximum are as good as equal, either may have the gradient.
        same &= (after.gradient - before.gradient).norm() <= 1e-2 * before.gradient.norm()
    return bool(same)
