"""What a user's own network must be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import description
from common.errors import UserError
from common.models import build
from common.models.custom import build_custom


def small(channels: int, classes: int, *between: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3), *between, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes)
    )


class BatchMean(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return F.batch_norm(maps, None, None, training=True)


class NotANumber(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps * float("nan")


def check(function: Callable[[int, int], Any]) -> nn.Module:
    return build_custom(function, "mine.py:net", channels=3, classes=4, image_size=32)


def test_a_network_from_a_file_is_built_and_normalised(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "def net(channels, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 32 * 32, classes))\n"
    )
    model = build(description.Model(name=f"{file}:net"), 1, 3, [0.4], [0.2], seed=1)
    images = torch.rand(5, 1, 32, 32)
    torch.testing.assert_close(model(images), model.network((images - 0.4) / 0.2))


def test_in_place_activations_are_made_ordinary() -> None:
    network = check(lambda c, k: small(c, k, nn.ReLU(inplace=True)))
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_double_precision_is_made_single() -> None:
    assert {p.dtype for p in check(lambda c, k: small(c, k).double()).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda c, k: small(c, k, nn.BatchNorm2d(8)), r"layer '1' is a BatchNorm2d.*GroupNorm"),
        (lambda c, k: small(c, k, nn.InstanceNorm2d(8, track_running_stats=True)), "InstanceNorm2d.*GroupNorm"),
        (lambda c, k: small(c, k, nn.BatchNorm2d(8, track_running_stats=False)), "BatchNorm2d"),
        (lambda c, k: small(c, k, BatchMean()), "other images of its batch"),
        (lambda c, k: 1 / 0, "ZeroDivisionError"),
        (lambda c: None, "TypeError"),
        (lambda c, k: "net", "returned a str; return a torch.nn.Module"),
        (lambda c, k: small(c, k + 1), r"gave \(2, 5\); return logits of shape \(2, 4\)"),
        (lambda c, k: small(c + 1, k), r"failed on images of shape \[2, 3, 32, 32\]"),
        (lambda c, k: small(c, k, NotANumber()), "not finite"),
    ],
)
def test_a_network_that_will_not_do_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check(function)
    assert str(caught.value).startswith("model.name = 'mine.py:net'")


def test_instance_norm_without_statistics_and_group_norm_pass() -> None:
    check(lambda c, k: small(c, k, nn.InstanceNorm2d(8), nn.GroupNorm(4, 8), nn.Dropout()))


def test_for_segmentation_every_pixel_needs_its_logits() -> None:
    def of_pixels(channels: int, classes: int) -> nn.Module:
        return nn.Conv2d(channels, classes, 3, padding=1)

    def of_images(channels: int, classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * 256, classes))

    assert isinstance(build_custom(of_pixels, "x.py:f", 1, 3, 16, "segmentation"), nn.Conv2d)
    with pytest.raises(UserError, match=r"gave \(2, 3\); return logits of shape \(2, 3, 16, 16\)"):
        build_custom(of_images, "x.py:f", 1, 3, 16, "segmentation")
    with pytest.raises(UserError, match=r"gave \(2, 3, 16, 16\); return logits of shape \(2, 3\)"):
        build_custom(of_pixels, "x.py:f", 1, 3, 16)
