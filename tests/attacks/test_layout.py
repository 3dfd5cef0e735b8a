"""Laid out for speed a model answers the same, and afterwards nothing of it is left."""

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from attacks.gradients import input_gradient
from attacks.guard import undisturbed
from attacks.layout import laid_out
from common.models.blocks import Normalised
from common.models.resnet18 import ResNet18


@pytest.fixture
def small() -> nn.Module:
    """ResNet-18, whose last maps are 2×2 and 1×1 for images of 32 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Normalised(ResNet18(1, 4, width=8), [0.47], [0.25], 1).eval()


def images(number: int = 3, side: int = 32) -> Tensor:
    return torch.rand(number, 1, side, side, generator=torch.Generator().manual_seed(1))


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def trimmed(model: nn.Module, shown: Tensor) -> list[tuple[int, ...]]:
    """Return the kernel sizes that change."""
    before = [tuple(one.weight.shape[2:]) for one in convolutions(model)]
    with undisturbed(model), laid_out(model, image=shown):
        after = [tuple(one.weight.shape[2:]) for one in convolutions(model)]
    return [new for old, new in zip(before, after, strict=True) if new != old]


@pytest.mark.parametrize("side", [28, 32, 33, 48, 64])
def test_logits_and_gradients_are_the_same(small: nn.Module, side: int) -> None:
    shown, labels = images(side=side), torch.tensor([0, 1, 2])
    with undisturbed(small):
        gradient, logits = input_gradient(small, shown, labels)
        with laid_out(small, image=shown[:1]):
            fast_gradient, fast_logits = input_gradient(small, shown, labels)
    torch.testing.assert_close(fast_logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast_gradient, gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_as_before(small: nn.Module, fails: bool) -> None:
    weights = [parameter.clone() for parameter in small.parameters()]
    addresses = [parameter.data_ptr() for parameter in small.parameters()]
    strides = [parameter.stride() for parameter in small.parameters()]
    paddings = [one.padding for one in convolutions(small)]
    try:
        with undisturbed(small), laid_out(small, small, image=images(1)):
            kernels = [one.weight for one in convolutions(small)]
            assert all(one.is_contiguous(memory_format=torch.channels_last) for one in kernels)
            assert "forward" in vars(small.network.conv)
            if fails:
                raise RuntimeError("in the middle")
    except RuntimeError:
        assert fails
    assert all(torch.equal(one, other) for one, other in zip(small.parameters(), weights, strict=True))
    assert [parameter.data_ptr() for parameter in small.parameters()] == addresses
    assert [parameter.stride() for parameter in small.parameters()] == strides
    assert [one.padding for one in convolutions(small)] == paddings
    assert not any("forward" in vars(module) or module._forward_hooks for module in small.modules())


def test_only_what_covers_the_whole_map_is_trimmed(small: nn.Module) -> None:
    assert trimmed(small, images(1)) == [(2, 2), (1, 1), (1, 1), (1, 1)]  # the last stage; its shortcut is 1×1 already
    assert trimmed(small, images(1, 64)) == []


class Other(nn.Module):
    """One convolution over 1×1 maps, used in ways that forbid trimming, or not."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        circular = {"padding_mode": "circular"} if way == "circular" else {}
        self.first = nn.Conv2d(
            2, 2, 3, padding="same" if way == "same" else 1, dilation=1 + (way == "dilated"), **circular
        )
        self.second = nn.Conv2d(2, 2, 3, padding=1)
        if way == "shared":
            self.second.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(self.first(images))
        if self.way == "elsewhere":
            maps = maps + self.first.weight.mean()
        if self.way == "shape":
            maps = maps + self.first.weight.reshape(2, 18).mean()
        if self.way == "two sizes":
            maps = maps + self.first(images.repeat(1, 1, 2, 2)).mean()
        return maps.flatten(1)


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("plain", 2),
        ("dilated", 1),
        ("same", 1),
        ("circular", 0),
        ("two sizes", 1),
        ("shared", 0),
        ("elsewhere", 0),
        ("shape", 0),
    ],
)
def test_weights_that_are_more_than_a_window_stay_whole(way: str, number: int) -> None:
    model, image = Other(way).eval(), torch.rand(1, 2, 1, 1)
    if way == "circular":
        model.second = nn.Conv2d(2, 2, 1)
    if way == "dilated":
        model.first.padding = (2, 2)
    assert len(trimmed(model, image)) == number
    before = model(image)
    with undisturbed(model), laid_out(model, image=image):
        torch.testing.assert_close(model(image), before)


def test_a_subclass_is_left_alone() -> None:
    class Own(nn.Conv2d):
        pass

    model = nn.Sequential(Own(1, 2, 3, padding=1), nn.Flatten()).eval()
    assert trimmed(model, torch.rand(1, 1, 1, 1)) == []
    with undisturbed(model), laid_out(model, image=torch.rand(1, 1, 1, 1)):
        assert "forward" not in vars(model[0])


@pytest.mark.parametrize("way", ["forward", "hook"])
def test_a_convolution_that_returns_its_own_kind_is_left_alone(way: str) -> None:
    class First(nn.Module):
        def forward(self, given: tuple[Tensor, int]) -> Tensor:
            return given[0].flatten(1)

    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), First()).eval()
    if way == "forward":
        plain = model[0].forward
        vars(model[0])["forward"] = lambda images: (plain(images), 0)
    else:
        model[0].register_forward_hook(lambda module, given, output: (output, 0))
    image = torch.rand(1, 2, 1, 1)
    assert trimmed(model, image) == []
    before = model(image)
    with undisturbed(model), laid_out(model, image=image):
        torch.testing.assert_close(model(image), before)
    assert ("forward" in vars(model[0])) == (way == "forward")


def test_a_forward_of_its_own_keeps_its_kernel_whole() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten()).eval()
    vars(model[0])["forward"] = model[0].forward
    assert trimmed(model, torch.rand(1, 2, 1, 1)) == []


class Rows(nn.Module):
    """Views its maps as rows, in the forward pass or in the backward pass, which channels-last maps do not allow."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4 * 16, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images).relu()
        if self.way == "backward":
            return self.last(self.second(ViewedGradient.apply(maps)).flatten(1))  # type: ignore[no-any-return, no-untyped-call]
        maps = self.second(maps)
        if self.way == "batch":
            maps = maps.view(maps.shape[0] * maps.shape[1], 4, 4).view(maps.shape)
        return self.last(maps.view(len(maps), -1))  # type: ignore[no-any-return]


class ViewedGradient(torch.autograd.Function):
    """Nothing, with a backward that wants what comes in one piece."""

    @staticmethod
    def forward(context: object, maps: Tensor) -> Tensor:
        return maps.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient.view(-1).view_as(gradient)


@pytest.mark.parametrize("way", ["forward", "batch", "backward"])
def test_a_model_that_cannot_do_with_channels_last_is_attacked_as_it_is(way: str) -> None:
    model, shown = Rows(way).eval(), torch.rand(3, 2, 8, 8)
    labels = torch.tensor([0, 1, 2])
    with undisturbed(model):
        gradient, logits = input_gradient(model, shown, labels)
        with laid_out(model, image=shown[:1]):
            assert model.second.weight.is_contiguous()
            found, answered = input_gradient(model, shown, labels)
    assert torch.equal(found, gradient)
    assert torch.equal(answered, logits)


def test_one_of_two_models_that_cannot_keeps_both_as_they_are(small: nn.Module) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small

        def forward(self, images: Tensor) -> Tensor:
            maps = small.network.conv(images)
            return small(images) + maps.view(len(maps), -1).mean()  # type: ignore[no-any-return]

    shown = images()
    other = Both().eval()
    with undisturbed(small, other):
        before = small(shown), other(shown)
        with laid_out(small, other, image=shown[:1]):
            torch.testing.assert_close((small(shown), other(shown)), before, rtol=1e-4, atol=1e-5)
    assert not any("forward" in vars(module) for module in other.modules())


def test_a_model_that_takes_one_image_at_a_time_is_attacked_as_it_is() -> None:
    class One(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 1:
                raise ValueError("one at a time")
            return super().forward(images)  # type: ignore[no-any-return]

    model = One(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten()).eval()
    assert trimmed(model, torch.rand(1, 1, 1, 1)) == []


class Shared(nn.Module):
    """A kernel that two layers share, the second of them over a 1×1 map, behind a standardisation."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.last = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.last.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images - images.mean()).abs()
        return self.scale * self.last(maps.amax((2, 3), keepdim=True)).flatten(1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("scale", [1.0, 1e-5])
@pytest.mark.parametrize("filled", [0.0, float("nan")])
def test_a_first_image_that_shows_nothing_decides_nothing(scale: float, filled: float) -> None:
    model, others = Shared(scale).eval(), torch.rand(3, 2, 8, 8)
    with undisturbed(model):
        before = model(others)
        with laid_out(model, image=torch.full((1, 2, 8, 8), filled)):
            torch.testing.assert_close(model(others), before, rtol=1e-3, atol=1e-3 * scale)


def test_a_stem_that_follows_from_the_image_keeps_its_gradient() -> None:
    class Stem(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            weight = self.stem.weight * images.mean().exp()
            made = torch.func.functional_call(self.stem, {"weight": weight}, (images,))
            return made.square().flatten(2).mean(2)  # type: ignore[no-any-return]

    model, shown, labels = Stem().eval(), images(), torch.tensor([0, 1, 2])
    with undisturbed(model):
        gradient, _ = input_gradient(model, shown, labels)
        with laid_out(model, image=shown[:1]):
            found, _ = input_gradient(model, shown, labels)
    torch.testing.assert_close(found, gradient)


@pytest.mark.parametrize("buffer", [True, False])
def test_a_weight_that_is_no_parameter_stays(buffer: bool) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Flatten()).eval()
    weight = model[0].weight.detach()
    del model[0].weight
    if buffer:
        model[0].register_buffer("weight", weight)
    else:
        model[0].weight = weight
    shown = torch.rand(1, 2, 1, 1)
    before = model(shown)
    with undisturbed(model), laid_out(model, image=shown):
        torch.testing.assert_close(model(shown), before)
    assert model[0].weight.shape == (2, 2, 3, 3)
    assert torch.equal(model(shown), before)


@pytest.mark.parametrize("number", range(1, 14))
def test_whenever_it_is_stopped_all_is_as_before(small: nn.Module, number: int) -> None:
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt

    paddings, shapes = ([getattr(one, name) for one in convolutions(small)] for name in ("padding", "weight"))
    shapes = [weight.shape for weight in shapes]
    hook = small.register_forward_pre_hook(stop)
    with suppress(KeyboardInterrupt), undisturbed(small), laid_out(small, image=images(1)):
        pass
    hook.remove()
    assert [one.padding for one in convolutions(small)] == paddings
    assert [one.weight.shape for one in convolutions(small)] == shapes


def test_a_convolution_that_two_models_use_at_different_sizes_stays(small: nn.Module) -> None:
    class Enlarged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = small

        def forward(self, images: Tensor) -> Tensor:
            return self.same(nn.functional.interpolate(images, scale_factor=3))  # type: ignore[no-any-return]

    judge, shown = Enlarged().eval(), images()
    with undisturbed(small, judge):
        before = small(shown), judge(shown)
        with laid_out(small, judge, image=shown[:1]):
            torch.testing.assert_close((small(shown), judge(shown)), before, rtol=1e-4, atol=1e-4)
