"""U-Net against an independent composition of torch functions."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common import description
from common.models.unet import UNet
from server.deployment import export_onnx, run_onnx
from server.int8 import compress


def test_equals_its_definition() -> None:
    width = 16
    model = UNet(1, 6, width)
    assert sum(parameter.numel() for parameter in model.parameters()) == 536_406
    weights = model.state_dict()

    def unit(maps: Tensor, name: str) -> Tensor:
        maps = F.conv2d(maps, weights[f"{name}.0.weight"], padding=1)
        return F.group_norm(maps, width // 2, weights[f"{name}.1.weight"], weights[f"{name}.1.bias"]).relu()

    def pair(maps: Tensor, name: str) -> Tensor:
        return unit(unit(maps, f"{name}.0"), f"{name}.1")

    images = torch.rand(2, 1, 32, 48)
    first = pair(images, "down1")
    second = pair(F.max_pool2d(first, 2), "down2")
    third = pair(F.max_pool2d(second, 2), "down3")
    maps = pair(F.max_pool2d(third, 2), "inner")
    for skip, level in ((third, 3), (second, 2), (first, 1)):
        larger = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        maps = pair(torch.cat([skip, unit(larger, f"grow{level}.1")], dim=1), f"up{level}")
    expected = F.conv2d(maps, weights["head.weight"], weights["head.bias"])
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize(("channels", "size", "width"), [(1, 16, 4), (3, 40, 8), (1, 64, 12)])
def test_every_pixel_has_its_logits(channels: int, size: int, width: int) -> None:
    assert UNet(channels, 5, width)(torch.rand(2, channels, size, size)).shape == (2, 5, size, size)


def test_int8_and_its_onnx_file_agree_with_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = UNet(1, 4, 8).eval(), torch.rand(16, 1, 16, 16)
    int8 = compress(model, images, description.Compression())
    with torch.no_grad():
        kernels, plain = int8.kernels(images), model(images)
    assert kernels.shape == plain.shape == (16, 4, 16, 16)
    assert (kernels.argmax(1) == plain.argmax(1)).double().mean() > 0.9
    path = tmp_path / "model.onnx"
    export_onnx(int8, path)
    assert (run_onnx(path, images).argmax(1) == kernels.argmax(1)).double().mean() > 0.97
