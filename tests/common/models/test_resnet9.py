"""ResNet-9 against the paper's counts and an independent composition of torch functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.models.resnet9 import ResNet9


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_the_papers() -> None:
    assert count(ResNet9(3, 10)) == 2_447_946
    assert count(ResNet9(1, 3)) == 2_439_619


def test_equals_its_definition() -> None:
    model = ResNet9(3, 5, width=64)
    weights = iter(model.parameters())

    def unit(maps: Tensor) -> Tensor:
        maps = F.conv2d(maps, next(weights), padding=1)
        return F.group_norm(maps, min(32, maps.shape[1]), next(weights), next(weights)).relu()

    images = torch.rand(2, 3, 32, 32)
    maps = unit(images)
    maps = F.max_pool2d(unit(maps), 2)
    maps = maps + unit(unit(maps))
    maps = F.max_pool2d(unit(maps), 2)
    maps = F.max_pool2d(unit(maps), 2)
    maps = maps + unit(unit(maps))
    expected = F.linear(F.adaptive_max_pool2d(maps, 2).flatten(1), next(weights), next(weights))
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 45), (3, 64)])
def test_takes_any_image_size(channels: int, size: int) -> None:
    assert ResNet9(channels, 4, width=8)(torch.rand(2, channels, size, size)).shape == (2, 4)
