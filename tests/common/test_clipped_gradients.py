"""Clipped sums by book-keeping against a plain loop: one record, autograd, clip, add."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from common import clipped_gradients
from common.clipped_gradients import add_clipped_gradients, book_keeping_fit
from common.clipping import Sums
from common.errors import UserError
from common.models.resnet9 import ResNet9
from common.models.resnet18 import ResNet18
from common.models.unet import UNet
from common.task import loss
from tests.common.made_fixture import Made


def images(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def clipped(model: nn.Module, pictures: Tensor, labels: Tensor, clip_norm: float, at_once: int = 1000) -> Tensor:
    layers, _ = book_keeping_fit(model, torch.zeros_like(pictures[0]))
    sums: Sums = {}
    for some, true in zip(torch.split(pictures, at_once), torch.split(labels, at_once), strict=True):
        add_clipped_gradients(model, layers, clip_norm, some, true, sums)
    return torch.cat([sums[own].flatten() for own in model.parameters() if own.requires_grad])


def by_loop(model: nn.Module, pictures: Tensor, labels: Tensor, clip_norm: float) -> Tensor:
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = torch.zeros(sum(parameter.numel() for parameter in own), dtype=own[0].dtype)
    for image, label in zip(pictures, labels, strict=True):
        rows = torch.autograd.grad(loss(model(image[None]), label[None]), own)
        gradient = torch.cat([row.flatten() for row in rows])
        total += gradient * min(1.0, clip_norm / (gradient.norm().item() + 1e-6))
    return total


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.GroupNorm(2, 6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2), nn.InstanceNorm2d(8, affine=True), nn.Tanh(),
        nn.ConvTranspose2d(8, 4, 2, stride=2), nn.ReLU(), nn.Conv2d(4, 20, 4, padding=1), nn.ReLU(), nn.Flatten(2),
        nn.Linear(25, 12), nn.LayerNorm(12), nn.Flatten(), nn.Dropout(0.0), nn.Linear(240, 5),
    )  # fmt: skip


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "small": (small, (2, 6, 6)),
    "resnet9": (lambda: ResNet9(3, 4, 4), (3, 16, 16)),
    "resnet18": (lambda: ResNet18(1, 4, 4), (1, 32, 32)),
    "resnet18 of few positions": (lambda: ResNet18(1, 4, 16), (1, 32, 32)),
    "unet": (lambda: UNet(1, 3, 4), (1, 16, 16)),
}


def case(name: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    build, shape = MODELS[name]
    labels = torch.arange(count) % 3
    if name == "unet":
        labels = labels.view(-1, 1, 1).expand(-1, *shape[1:])
    return seeded(build), images(count, *shape), labels


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("count", "at_once"), [(1, 9), (2, 9), (7, 9), (7, 3)])
def test_it_is_the_sum_of_a_loop_over_records(name: str, count: int, at_once: int) -> None:
    model, pictures, labels = case(name, count)
    model.double()
    gradient = by_loop(model, pictures[:1].double(), labels[:1], 1e9).norm().item()
    for clip_norm in (0.7 * gradient, 1e6):
        expected = by_loop(model, pictures.double(), labels, clip_norm)
        ours = clipped(model, pictures.double(), labels, clip_norm, at_once)
        assert (ours - expected).norm() <= 1e-10 * expected.norm()


@pytest.mark.parametrize("name", MODELS)
def test_it_takes_both_ways_and_every_record_alone_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, pictures, labels = case(name, 3)
    expected = by_loop(model.double(), pictures.double(), labels, 0.5)
    for cancelled in (0.0, math.inf):
        monkeypatch.setattr(clipped_gradients, "_CANCELLED", cancelled)
        assert (clipped(model, pictures.double(), labels, 0.5) - expected).norm() <= 1e-10 * expected.norm()
    for ghost in (False, True):
        monkeypatch.setattr(
            clipped_gradients, "has_ghost_norm", lambda layer, *_, ghost=ghost: ghost and _linear(layer)
        )
        assert (clipped(model, pictures.double(), labels, 0.5) - expected).norm() <= 1e-10 * expected.norm()


def _linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)


def test_frozen_parameters_are_left_out() -> None:
    model, pictures, labels = case("small", 4)
    for place in (0, 3, 4, 11):
        for parameter in model.get_submodule(str(place)).parameters():
            parameter.requires_grad_(False)
    model.get_parameter("15.weight").requires_grad_(False)
    model.get_parameter("12.bias").requires_grad_(False)
    expected = by_loop(model.double(), pictures.double(), labels, 0.3)
    assert (clipped(model, pictures.double(), labels, 0.3) - expected).norm() <= 1e-10 * expected.norm()
    assert not model.get_parameter("0.weight").requires_grad


def test_numbers_held_are_of_the_layers_without_ghost_norm() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(48, 5))
    layers, numbers = book_keeping_fit(model, torch.zeros(1, 6, 6))
    assert list(layers) == ["0", "1", "3"]
    assert numbers == 3 * 9 + 3 + 3 + 3 + 5


class Cancelling(nn.Module):
    """Adds up a layer's positions, the second half with the sign turned, as large as a server likes."""

    def __init__(self, layer: nn.Module, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.layer(pictures if isinstance(self.layer, nn.Conv2d) else pictures[:, 0])
        first, second = maps.flatten(2).transpose(1, 2).chunk(2, dim=1) if maps.ndim == 4 else maps.chunk(2, dim=1)
        return (first - second).sum(1)[:, :3] * self.scale


def cancelling(kind: str, scale: float, difference: float) -> tuple[nn.Module, Tensor]:
    """Return a model and pictures whose positions differ by about ``difference`` where gradients are opposite."""
    if kind == "linear":
        half = images(4, 1, 4, 64)
        pictures = torch.cat([half, half.roll(1, dims=2)], dim=2)
        layer: Callable[[], nn.Module] = lambda: nn.Linear(64, 48)  # noqa: E731
    else:
        pictures = images(4, 16, 2, 6).repeat(1, 1, 3, 1)  # rows 0 and 1 of the positions are rows 2 and 3
        layer = lambda: nn.Conv2d(16, 96, 3)  # noqa: E731
    return seeded(lambda: Cancelling(layer(), scale)), pictures + difference * images(*pictures.shape, seed=1)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("difference", [0.0, 1e-7, 1e-4])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8, 1e12])
def test_positions_that_cancel_let_no_record_through(kind: str, difference: float, scale: float) -> None:
    model, pictures = cancelling(kind, scale, difference)
    for record in range(4):
        this = slice(record, record + 1)
        alone = clipped(model, pictures[this], torch.tensor([0]), 1.0).double()
        assert alone.isfinite().all()
        assert alone.norm() <= 1 + 1e-5
    together = clipped(model, pictures, torch.zeros(4, dtype=torch.int64), 1.0).double()
    without = clipped(model, pictures[1:], torch.zeros(3, dtype=torch.int64), 1.0).double()
    assert (together - without).norm() <= 1 + 1e-5


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_gram_matrices_alone_would_let_such_a_record_through(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipped_gradients, "_CANCELLED", math.inf)
    found = []
    for difference in (0.0, 1e-7):
        model, pictures = cancelling(kind, 1e12, difference)
        found.append(clipped(model, pictures[:1], torch.tensor([0]), 1.0).norm().item())
    assert max(found) > 1.01


@pytest.mark.parametrize("name", ["small", "resnet18 of few positions"])
@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_a_record_that_overflows_leaves_the_others_alone(name: str, number: float) -> None:
    model, pictures, labels = case(name, 5)
    rest = torch.tensor([0, 1, 3, 4])
    expected = clipped(model, pictures[rest], labels[rest], 0.4)
    wild = pictures.clone()
    wild[2, 0, 1, 1] = number
    torch.testing.assert_close(clipped(model, wild, labels, 0.4), expected, rtol=1e-4, atol=1e-6)


def test_equal_arguments_give_equal_bytes() -> None:
    model, pictures, labels = case("resnet18 of few positions", 6)
    assert clipped(model, pictures, labels, 0.5).equal(clipped(model, pictures, labels, 0.5))


class Failing(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        if len(maps) > 4:
            raise RuntimeError("out of memory")
        return maps


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_on_the_model(fails: bool) -> None:
    model, pictures, labels = case("small", 5)
    model = nn.Sequential(model, Failing()) if fails else model
    before = copy.deepcopy(model)
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            clipped(model, pictures, labels, 0.5)
    else:
        clipped(model, pictures, labels, 0.5)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    for parameter, old in zip(model.parameters(), before.parameters(), strict=True):
        assert parameter.grad is None
        assert parameter.requires_grad
        assert not vars(parameter)
        assert parameter.equal(old)
        assert parameter.stride() == old.stride()


class Moody(nn.Module):
    """Another path for many records than for the trial's few."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.first, self.second, self.twice = nn.Linear(4, 4), nn.Linear(4, 3), twice

    def forward(self, pictures: Tensor) -> Tensor:
        inner = self.first(pictures.flatten(1))
        if len(pictures) > 3:
            inner = self.first(inner) if self.twice else pictures.flatten(1)
        return functional.relu(self.second(inner))


@pytest.mark.parametrize(
    ("twice", "sentence"),
    [
        (True, "the model changes from batch to batch: layer 'first' is used more than once"),
        (False, r"does not depend on its parameter 'first\.weight'"),
    ],
)
def test_a_model_that_changes_after_the_trial_is_refused(twice: bool, sentence: str) -> None:
    model = Moody(twice)
    with pytest.raises(UserError, match=sentence):
        clipped(model, images(5, 1, 2, 2), torch.zeros(5, dtype=torch.int64), 1.0)
    assert not model.first._forward_hooks


@pytest.mark.parametrize("clip_norm", [1.0, 1e-3])
@pytest.mark.parametrize("scale", [1.0, 1.3, 1.6])
def test_an_input_near_overflow_does_not_lift_a_gradient_over_the_clip_norm(scale: float, clip_norm: float) -> None:
    """Clipped, the gradient falls among the smallest numbers, and the input would lift what rounding left of it."""
    wide = nn.Sequential(nn.Flatten(), nn.Linear(4, 512), nn.GroupNorm(1, 512), nn.Linear(512, 64), nn.Linear(64, 2))
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.zero_()
        wide[2].bias.fill_(3e38 / scale)
        wide[4].weight[0].fill_(1e-34)
        wide[4].weight[1].fill_(-1e-34)
    found = clipped(wide, images(1, 1, 2, 2), torch.tensor([0]), clip_norm)
    assert 0 < found.double().norm() <= clip_norm * (1 + 1e-5)


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_gradient_that_a_hook_rewrites_after_it_was_measured_is_refused(first: str) -> None:
    def way(self: nn.Module, pictures: Tensor) -> Tensor:
        flat, found = pictures.flatten(1), {}
        for name in (first, "b" if first == "a" else "a"):
            found[name] = getattr(self, name)(flat) if name == "a" else getattr(self, name)(flat) + 0
        found["b"].register_hook(lambda gradient: gradient.mul_(100))
        return self.c(torch.tanh(found["a"] + found["b"]))  # type: ignore[no-any-return, operator]

    model = seeded(lambda: Made(way, a=nn.Linear(16, 8), b=nn.Linear(16, 8), c=nn.Linear(8, 3)))
    try:
        found = clipped(model, images(1, 1, 4, 4), torch.tensor([0]), 0.01)
    except UserError as error:
        assert "is changed in place in the backward pass" in str(error)  # noqa: PT017 - either order is safe
    else:
        assert found.norm() <= 0.01 * (1 + 1e-6)


def test_a_weight_that_is_used_beside_its_layer_for_real_images_only_is_refused() -> None:
    def way(self: nn.Module, pictures: Tensor) -> Tensor:
        flat = pictures.flatten(1)
        found: Tensor = self.a(flat)  # type: ignore[operator]
        if bool(flat.abs().sum() > 0):
            found = found + functional.linear(flat, self.a.weight).square()  # type: ignore[union-attr, arg-type]
        return found

    with pytest.raises(UserError, match=r"changes from batch to batch: its parameter 'a\.weight' is used 2 times"):
        clipped(Made(way, a=nn.Linear(16, 3)), images(3, 1, 4, 4), torch.tensor([0, 1, 2]), 1.0)


def test_rows_that_are_not_the_records_in_larger_batches_are_refused() -> None:
    def way(self: nn.Module, pictures: Tensor) -> Tensor:
        flat, count = pictures.flatten(1), len(pictures)
        if count > 3:
            return self.a(torch.cat([flat, flat])).view(2, count, -1).mean(0)  # type: ignore[no-any-return, operator]
        return self.a(flat)  # type: ignore[no-any-return, operator]

    with pytest.raises(UserError, match="the first dimension of layer 'a' is not the records'"):
        clipped(Made(way, a=nn.Linear(16, 3)), images(4, 1, 4, 4), torch.tensor([0, 1, 2, 0]), 1.0)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_gpu_multiplies_whole_numbers_meanwhile(allowed: bool) -> None:
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        with clipped_gradients.exact_products(torch.device("cuda")):
            assert not any(backend.allow_tf32 for backend in backends)
        assert all(backend.allow_tf32 is allowed for backend in backends)
        with clipped_gradients.exact_products(torch.device("cpu")):
            assert all(backend.allow_tf32 is allowed for backend in backends)
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value
