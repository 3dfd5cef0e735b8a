"""ResNet-18 against the paper's counts and torchvision's."""

import math

import pytest
import torch
from torch import nn

from common.errors import UserError
from common.models.resnet18 import ResNet18


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_the_papers() -> None:
    assert count(ResNet18(3, 10)) == 11_181_642
    assert count(ResNet18(1, 3)) == 11_171_779


def test_equals_torchvisions_with_group_norm() -> None:
    vision = pytest.importorskip("common.vision")
    try:
        models = vision.import_torchvision("torchvision.models")
    except UserError as error:
        pytest.skip(str(error))
    theirs = models.resnet18(num_classes=7, norm_layer=lambda c: nn.GroupNorm(math.gcd(32, c), c)).eval()
    ours = ResNet18(3, 7).eval()
    their_weights = list(theirs.state_dict().values())
    assert [tensor.shape for tensor in their_weights] == [tensor.shape for tensor in ours.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), their_weights, strict=True)))
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 45), (3, 64)])
def test_takes_any_image_size(channels: int, size: int) -> None:
    assert ResNet18(channels, 4, width=8)(torch.rand(2, channels, size, size)).shape == (2, 4)


@pytest.mark.parametrize("width", [4, 8, 64])
def test_the_smallest_maps_leave_a_gradient(width: int) -> None:
    # At 28 pixels the last maps are 1×1: groups of one or two channels would be constant after their norm.
    images = torch.rand(1, 1, 28, 28, requires_grad=True)
    logits = ResNet18(1, 3, width=width)(images)
    (gradient,) = torch.autograd.grad(logits[0, 0] - logits[0, 1], images)
    assert gradient.abs().mean() > 1e-5
