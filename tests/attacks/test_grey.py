"""The backward of a convolution over one channel, against autograd's own in float64."""

import pytest
import torch
from torch import Tensor, nn

from attacks.grey import convolved, is_grey


@pytest.mark.parametrize(
    ("size", "stride", "padding", "side"),
    [
        ((7, 7), (2, 2), (3, 3), (32, 32)),
        ((3, 3), (1, 1), (1, 1), (9, 6)),
        ((5, 2), (3, 1), (0, 2), (11, 7)),
        ((1, 1), (2, 2), (0, 0), (5, 5)),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_autograds_own(
    size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], side: tuple[int, int],
    layout: torch.memory_format, bias: bool,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(1, 4, size, stride, padding, bias=bias).double().requires_grad_(False)
    plain.weight.data = plain.weight.data.contiguous(memory_format=layout)
    images = torch.rand(3, 1, *side, generator=generator, dtype=torch.float64).requires_grad_()
    maps = plain(images)
    upstream = torch.rand(maps.shape, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    (expected,) = torch.autograd.grad(maps, images, upstream)
    found = convolved(plain, images)
    assert torch.equal(found, maps)
    torch.testing.assert_close(torch.autograd.grad(found, images, upstream)[0], expected, rtol=1e-12, atol=1e-12)


def test_an_empty_batch_and_a_single_image_without_batch_pass() -> None:
    plain = nn.Conv2d(1, 4, 3).requires_grad_(False)
    images = torch.rand(0, 1, 5, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(convolved(plain, images).sum(), images)
    assert gradient.shape == images.shape
    assert convolved(plain, torch.rand(1, 5, 5)).shape == (4, 3, 3)


def test_what_is_no_plain_convolution_over_one_channel_is_told_apart() -> None:
    class Own(nn.Conv2d):
        pass

    def replaced(images: Tensor) -> Tensor:
        return images

    changed = nn.Conv2d(1, 4, 3)
    vars(changed)["forward"] = replaced
    assert is_grey(nn.Conv2d(1, 4, 3))
    others = (
        nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3, padding="same"), nn.Conv2d(1, 4, 3, dilation=2), Own(1, 4, 3), changed,
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.Linear(1, 4),
    )  # fmt: skip
    assert not any(is_grey(one) for one in others)
