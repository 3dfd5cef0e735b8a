"""Models whose best perturbation is known, and small ones whose is not."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Module):
    """Two classes: class 1 where weight · x + bias > 0. The nearest boundary is at |weight · x + bias| / |weight|₁."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(bias))

    def score(self, images: Tensor) -> Tensor:
        return (images * self.weight).flatten(1).sum(dim=1) + self.bias

    def forward(self, images: Tensor) -> Tensor:
        score = self.score(images)
        return torch.stack([torch.zeros_like(score), score], dim=1)


class Normalised(nn.Module):
    """A small convolutional network that owns its normalisation."""

    def __init__(self, classes: int, channels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 0.47))
        self.register_buffer("std", torch.full((1, channels, 1, 1), 0.25))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.second = nn.Conv2d(width, 8, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = (images - self.mean) / self.std
        x = F.max_pool2d(F.relu(self.norm(self.first(x))), 2)
        x = F.adaptive_avg_pool2d(F.relu(self.second(x)), 2)
        return 20 * self.last(self.drop(x.flatten(1)))


class Bright(nn.Module):
    """Segmentation: class 1 where a pixel's channels sum to more than ``middle``; each pixel answers for itself."""

    def __init__(self, middle: float = 1.5) -> None:
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(middle))

    def forward(self, images: Tensor) -> Tensor:
        light = 4 * (images.sum(dim=1) - self.middle)
        return torch.stack([-light, light], dim=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def linear() -> Linear:
    """Weights of both signs for images [N, 3, 6, 6], none of them near zero."""
    weight = torch.randn(1, 3, 6, 6, generator=generator())
    return Linear(weight + 0.1 * weight.sign(), 0.3).eval()


@pytest.fixture
def bright() -> Bright:
    """Segmentation of images [N, 3, H, W] by brightness."""
    return Bright().eval()


@pytest.fixture
def grey() -> Tensor:
    """Eight images in [0.4, 0.6], so that small budgets never meet the range."""
    return 0.4 + 0.2 * torch.rand(8, 3, 6, 6, generator=generator(1))


@pytest.fixture
def network() -> Callable[..., nn.Module]:
    """Build an untrained network; equal arguments, equal weights."""

    def build(classes: int = 4, channels: int = 3, width: int = 8, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Normalised(classes, channels, width).eval()

    return build


@pytest.fixture
def images() -> Tensor:
    """Twelve images over the whole range, black and white values among them."""
    drawn = torch.rand(12, 3, 12, 12, generator=generator(2))
    return (1.4 * drawn - 0.2).clamp(0, 1)


@pytest.fixture
def predicted() -> Callable[[nn.Module, Tensor], Tensor]:
    """What a model says of images, as labels that it gets right."""

    def labels(model: nn.Module, images: Tensor) -> Tensor:
        with torch.no_grad():
            said: Tensor = model(images).argmax(dim=1)
        return said

    return labels
