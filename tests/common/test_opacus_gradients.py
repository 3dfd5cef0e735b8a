"""The two ways to a clipped sum against each other and against Opacus' own optimiser, in single precision."""

import copy
from collections.abc import Callable

import pytest
import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from common.clipped_gradients import add_clipped_gradients, book_keeping_fit
from common.clipping import Sums
from common.errors import UserError
from common.models.resnet9 import ResNet9
from common.models.resnet18 import ResNet18
from common.models.unet import UNet
from common.opacus_gradients import opacus_gradients, refuse_wrong_gradients
from common.task import loss

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "resnet9": (lambda: ResNet9(3, 4, 16), (3, 32, 32)),
    "resnet18": (lambda: ResNet18(1, 4, 32), (1, 32, 32)),
    "unet": (lambda: UNet(1, 3, 8), (1, 16, 16)),
}


def case(name: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    build, shape = MODELS[name]
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    sides = shape[1:] if name == "unet" else ()
    return model, torch.rand(count, *shape, generator=draw), torch.randint(0, 3, (count, *sides), generator=draw)


def flat(model: nn.Module, sums: Sums) -> Tensor:
    return torch.cat([sums[parameter].flatten() for parameter in model.parameters()])


def hooked(model: nn.Module, images: Tensor, labels: Tensor, clip_norm: float) -> Tensor:
    sums: Sums = {}
    with opacus_gradients(model, clip_norm) as add:
        for some, true in zip(torch.split(images, 5), torch.split(labels, 5), strict=True):
            add(some, true, sums)
    return flat(model, sums)


@pytest.mark.parametrize("name", MODELS)
def test_book_keeping_and_opacus_give_equal_sums(name: str) -> None:
    model, images, labels = case(name, 8)
    layers, _ = book_keeping_fit(model, images[0])
    for clip_norm in (0.1, 1.0, 1e3):
        sums: Sums = {}
        add_clipped_gradients(model, layers, clip_norm, images, labels, sums)
        ours, theirs = flat(model, sums), hooked(copy.deepcopy(model), images, labels, clip_norm)
        assert (ours - theirs).abs().max() <= 1e-6 * min(clip_norm, theirs.norm().item())
        assert (ours - theirs).norm() <= 2e-6 * theirs.norm()


def test_it_is_what_opacus_own_optimiser_sums() -> None:
    model, images, labels = case("resnet9", 5)
    twin = copy.deepcopy(model)
    GradSampleHooks(twin, loss_reduction="sum")
    own = DPOptimizer(torch.optim.SGD(twin.parameters()), noise_multiplier=0, max_grad_norm=0.5, expected_batch_size=5)
    loss(twin(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    own.clip_and_accumulate()
    expected = torch.cat([parameter.summed_grad.flatten() for parameter in own.params])
    torch.testing.assert_close(hooked(model, images, labels, 0.5), expected, rtol=1e-5, atol=1e-7)


def test_nothing_is_left_on_the_model() -> None:
    model, images, labels = case("resnet9", 3)
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    hooked(model, images, labels, 0.5)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert all(parameter.grad is None and not vars(parameter) for parameter in model.parameters())


def test_a_parameter_without_gradient_is_named() -> None:
    model, images, labels = case("resnet9", 3)
    model.idle = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"does not depend on its parameter 'idle\.weight'"):
        hooked(model, images, labels, 0.5)
    assert all(parameter.grad is None and not vars(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("padding", ["reflect", "circular"])
def test_padding_of_which_opacus_knows_nothing_is_refused(padding: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode=padding), nn.Flatten(), nn.Linear(32, 2))
    with pytest.raises(UserError, match=f"layer '0' has padding_mode = '{padding}'.*use 'zeros'"):
        refuse_wrong_gradients(network)
    network[0].weight.requires_grad_(False)
    refuse_wrong_gradients(network)
