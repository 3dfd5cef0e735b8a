"""The smooth copy of a network, against the network that it becomes."""

import pytest
import torch
from torch import Tensor, nn

from attacks.smooth_network import SHARPEST, SOFTEST, sharpen, smoothed
from common.description import Model
from common.models import build


def drawn(number: int, side: int) -> Tensor:
    return torch.rand(number, 1, side, side, generator=torch.Generator().manual_seed(0))


def test_the_smooth_network_becomes_the_network_itself() -> None:
    model, images = build(Model(name="resnet9", width=8), 1, 3, [0.5], [0.25], seed=3), drawn(4, 16)
    smooth = smoothed(model)
    far, near = (_logits(smooth, images, sharpness) for sharpness in (SOFTEST, 100 * SHARPEST))
    logits = model(images).detach()
    assert float((near - logits).abs().max()) < 0.02 < float((far - logits).abs().max())


def _logits(smooth: nn.Module, images: Tensor, sharpness: float) -> Tensor:
    sharpen(smooth, sharpness)
    logits: Tensor = smooth(images).detach()
    return logits


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(3)])
def test_pooling_of_any_shape_is_kept_or_softened(pool: nn.Module) -> None:
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pool)
    images = drawn(2, 15)
    smooth = smoothed(layers)
    torch.testing.assert_close(_logits(smooth, images, 1e6), layers(images), atol=1e-3, rtol=0)


def test_soft_layers_have_their_closed_forms() -> None:
    images = 4 * drawn(2, 15) - 2
    relu, pool, framed = (
        smoothed(nn.Sequential(layer)) for layer in (nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(3, 3, 1))
    )
    sharpen(relu, 3.0)
    torch.testing.assert_close(relu(images), (1 + (3 * images).exp()).log() / 3)
    sharpen(pool, 1e-6)
    torch.testing.assert_close(pool(images), nn.functional.avg_pool2d(images, 2), atol=1e-5, rtol=0)
    sharpen(framed, 1e-6)
    assert torch.equal(framed(images), nn.functional.max_pool2d(images, 3, 3, 1))
