"""The networks: images in [0, 1] in, logits out, normalisation inside, group norm everywhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from common import description
from common.errors import UserError
from common.loading import load
from common.models.blocks import Normalised
from common.models.custom import build_custom
from common.models.resnet9 import ResNet9
from common.models.resnet18 import ResNet18
from common.models.unet import SMALLEST, STEP, UNet
from common.records import Task
from common.seeds import derive

MODELS: dict[str, str] = {
    "resnet9": "ResNet-9 with group norm, 2.4 million parameters at width 64; the paper's for CIFAR-10",
    "resnet18": "ResNet-18 with group norm (7x7 stem), 11.2 million parameters at width 64; the paper's for X-rays",
    "unet": "U-Net with group norm, for segmentation: three times down and up, 0.5 million parameters at width 16",
}
"""Built-in networks and what they are; ``file.py:function`` names a user's own."""

_NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"resnet9": ResNet9, "resnet18": ResNet18, "unet": UNet}
_OF_PIXELS = ("unet",)
"""Networks that give logits for every pixel."""


def build(
    model: description.Model,
    channels: int,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int,
    image_size: int = 32,
    task: Task = "classification",
) -> nn.Module:
    """Build the network that a description names, on the CPU, in train mode.

    The result maps images [N, channels, H, W], float32 in [0, 1], to logits [N, classes], for segmentation
    [N, classes, H, W]; it holds its normalisation in the buffers ``mean`` and ``std``. Equal arguments give equal
    weights, and the global random state is as before.

    Args:
        model: the description's section; ``width`` does not concern a user's own network.
        channels: 1 (grey) or 3 (colour), or any other number.
        classes: number of logits.
        mean: of each channel, in units of [0, 1].
        std: of each channel, likewise; positive.
        seed: of the initial weights.
        image_size: side in pixels, at which a user's own network is probed; of the built-in ones ``unet`` takes
            multiples of 8 from 16, the others any from 28.
        task: what the data's labels teach.

    Raises:
        UserError: an unknown name, a network for the other task or for other sizes, normalisation that does not fit, or
            a user's network that fails its checks.
    """
    chosen = load(model.name, _NETWORKS, "model.name")
    if model.name in _NETWORKS:
        _check_fit(model.name, task, image_size)
    with seeded_weights(seed):
        if model.name in _NETWORKS:
            network = chosen(channels, classes, model.width)
        elif callable(chosen):
            network = build_custom(chosen, model.name, channels, classes, image_size, task)
        else:
            raise UserError(f"model.name = '{model.name}' is not a function; name one with build(channels, classes)")
    return Normalised(network, mean, std, channels).train()


def _check_fit(name: str, task: Task, image_size: int) -> None:
    if task == "segmentation" and name not in _OF_PIXELS:
        raise UserError(
            f"model.name = '{name}' gives one answer an image, but every pixel of these data has a class; "
            "set model.name = 'unet'"
        )
    if task == "classification" and name in _OF_PIXELS:
        raise UserError(
            f"model.name = '{name}' gives an answer for every pixel, but these data have one class an image; "
            "set model.name = 'resnet9', or data.source = 'brain' or 'masks:DIR'"
        )
    if name in _OF_PIXELS and (image_size < SMALLEST or image_size % STEP):
        near = max(SMALLEST, round(image_size / STEP) * STEP)
        raise UserError(
            f"model.name = '{name}' halves images three times, so their side must be a multiple of {STEP}, from "
            f"{SMALLEST} pixels; these are {image_size} wide, so set data.image_size = {near}"
        )


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed`` inside the block; afterwards torch's global random state is as before."""
    # torch's layers draw from the global generator only, so it is borrowed and given back; torch.manual_seed would
    # also reseed every accelerator.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        yield


__all__ = ["MODELS", "build", "seeded_weights"]
