"""The parts that the networks share: convolution with group norm and ReLU, and the normalisation inside a model."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.errors import UserError


def norm_groups(channels: int, width: int) -> int:
    """Return the groups that group norm splits ``channels`` into, in a network of this ``width``.

    At width 64 it is gcd(32, channels), the paper's rule. A narrower network has fewer groups, each with as many
    channels as at width 64: groups of one or two channels on the last, smallest maps (1×1 for ResNet-18 at 32 pixels)
    would be normalised to constants and leave an attacker no gradient.
    """
    return math.gcd(min(32, max(1, width // 2)), channels)


def norm(channels: int, width: int) -> nn.GroupNorm:
    """Return the group norm of a layer with so many channels in a network of this width."""
    return nn.GroupNorm(norm_groups(channels, width), channels)


def convolution(inside: int, outside: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias (the norm after it has one), padded so that stride 1 keeps the map's size."""
    return nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)


def unit(inside: int, outside: int, width: int) -> nn.Sequential:
    """Return convolution 3×3, group norm, ReLU."""
    # No in-place ReLU here or elsewhere: DP-SGD needs each layer's own activations.
    return nn.Sequential(convolution(inside, outside), norm(outside, width), nn.ReLU())


class Normalised(nn.Module):
    """A network behind the normalisation of its input, so that images outside stay in [0, 1].

    Input: images [N, C, H, W], float32 in [0, 1]; output: the network's logits, [N, classes] or [N, classes, H, W].
    The buffers ``mean`` and ``std`` [1, C, 1, 1] are constants of the experiment, not trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float], channels: int) -> None:
        """Wrap ``network``; ``mean`` and ``std`` hold one number a channel, in units of [0, 1].

        Raises:
            UserError: a length other than ``channels``, or a std that is not positive and finite.
        """
        super().__init__()
        if len(mean) != channels or len(std) != channels:
            raise UserError(
                f"normalisation has {len(mean)} means and {len(std)} deviations for images of {channels} channels; "
                "give one of each per channel"
            )
        if not all(math.isfinite(value) for value in mean) or not all(0 < value < math.inf for value in std):
            raise UserError(
                f"normalisation with mean {list(mean)} and std {list(std)} is impossible; "
                "a channel of the public images is constant or holds no numbers, so give other images"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's logits of images [N, C, H, W] in [0, 1]."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits
