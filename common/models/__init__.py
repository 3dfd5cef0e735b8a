"""The networks: images in [0, 1] in, logits out, normalisation inside, group norm everywhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from common import config
from common.errors import UserError
from common.loading import load
from common.models.blocks import Normalised
from common.models.custom import build_custom
from common.models.resnet9 import ResNet9
from common.models.resnet18 import ResNet18
from common.seeds import derive

MODELS: dict[str, str] = {
    "resnet9": "ResNet-9 with group norm, 2.4 million parameters at width 64; the paper's for CIFAR-10",
    "resnet18": "ResNet-18 with group norm (7x7 stem), 11.2 million parameters at width 64; the paper's for X-rays",
}
"""Built-in networks and what they are; ``file.py:function`` names a user's own."""

_NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"resnet9": ResNet9, "resnet18": ResNet18}


def build(
    model: config.Model,
    channels: int,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int,
    image_size: int = 32,
) -> nn.Module:
    """Build the network that a description names, on the CPU, in train mode.

    The result maps images [N, channels, H, W], float32 in [0, 1], to logits [N, classes]; it holds its normalisation
    in the buffers ``mean`` and ``std``. Equal arguments give equal weights, and the global random state is as before.

    Args:
        model: the description's section; ``width`` does not concern a user's own network.
        channels: 1 (grey) or 3 (colour), or any other number.
        classes: number of logits.
        mean: of each channel, in units of [0, 1].
        std: of each channel, likewise; positive.
        seed: of the initial weights.
        image_size: side in pixels at which a user's own network is probed; the built-in ones take any from 28.

    Raises:
        UserError: an unknown name, normalisation that does not fit, or a user's network that fails its checks.
    """
    chosen = load(model.name, _NETWORKS, "model.name")
    with seeded_weights(seed):
        if model.name in _NETWORKS:
            network = chosen(channels, classes, model.width)
        elif callable(chosen):
            network = build_custom(chosen, model.name, channels, classes, image_size)
        else:
            raise UserError(f"model.name = '{model.name}' is not a function; name one with build(channels, classes)")
    return Normalised(network, mean, std, channels).train()


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed`` inside the block; afterwards torch's global random state is as before."""
    # torch's layers draw from the global generator only, so it is borrowed and given back; torch.manual_seed would
    # also reseed every accelerator.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        yield


__all__ = ["MODELS", "build", "seeded_weights"]
