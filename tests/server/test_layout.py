from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.description import Model
from common.exchange import arrays_of, load_arrays
from common.models import build
from server.layout import lay_out
from server.score import logits_of


def network(name: str, channels: int) -> nn.Module:
    task = "segmentation" if name == "unet" else "classification"
    return build(Model(name=name, width=8), channels, 3, [0.4] * channels, [0.2] * channels, seed=1, task=task)


def is_laid_out(model: nn.Module) -> bool:
    kernels = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    # By the strides: kernels over one channel are contiguous either way.
    return all(kernel.stride()[1] == 1 and kernel.stride()[3] == kernel.shape[1] for kernel in kernels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["resnet9", "resnet18", "unet"])
def test_weights_that_come_later_are_laid_out_and_answer_the_same(name: str, channels: int) -> None:
    images = torch.rand(5, channels, 32, 32)
    model, other = network(name, channels), network(name, channels)
    later = {key: array + 0.01 * torch.randn_like(array) for key, array in arrays_of(model).items()}
    lay_out(model, (channels, 32, 32))
    for placed in (model, other):
        load_arrays(placed, later)
    assert is_laid_out(model)
    assert not is_laid_out(other)
    np.testing.assert_allclose(logits_of(model, images), logits_of(other, images), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(array, later[key]) for key, array in arrays_of(model).items())


class Viewed(nn.Module):
    """Looks at its maps in a way of its own."""

    def __init__(self, look: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.kernels = nn.Conv2d(3, 4, 3, padding=1)
        self.look = look

    def forward(self, images: Tensor) -> Tensor:
        return self.look(self.kernels(images))


def in_memory(maps: Tensor) -> Tensor:
    """Answer by the order in which the maps lie in memory."""
    return torch.as_strided(maps, (len(maps), 4), (maps[0].numel(), 1))


def fails(maps: Tensor) -> Tensor:
    raise ValueError("not for this size")


def no_number(maps: Tensor) -> Tensor:
    return maps.mean((2, 3)) * torch.nan


@pytest.mark.parametrize("look", [lambda maps: maps.view(len(maps), -1), in_memory, fails, no_number])
def test_a_model_that_answers_otherwise_then_is_left_as_it_is(look: Callable[[Tensor], Tensor]) -> None:
    model = Viewed(look).train()
    before = model.kernels.weight.stride()
    lay_out(model, (3, 8, 8))
    assert model.kernels.weight.stride() == before
    assert model.training


def test_modes_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 36, 2))
    model[1].eval()
    lay_out(model, (1, 8, 8))
    assert [module.training for module in model] == [True, False, True, True]


def test_a_model_that_answers_by_chance_leaves_random_state_alone() -> None:
    model = Viewed(lambda maps: F.dropout(maps.flatten(1)))
    state = torch.get_rng_state()
    lay_out(model, (3, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)


class Counting(Viewed):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda maps: maps.mean((2, 3)))
        self.register_buffer("asked", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.asked += 1
        return super().forward(images)


def test_buffers_are_left_alone() -> None:
    model = Counting()
    lay_out(model, (3, 8, 8))
    assert is_laid_out(model)
    assert model.asked == 0


def test_a_buffer_that_views_a_kernel_goes_on_to() -> None:
    model = Viewed(lambda maps: maps.mean((2, 3)))
    model.register_buffer("first", model.kernels.weight.data[:1])
    lay_out(model, (3, 8, 8))
    with torch.no_grad():
        model.kernels.weight.mul_(2)
    assert torch.equal(model.get_buffer("first"), model.kernels.weight[:1])


@pytest.mark.parametrize(
    "answer", [lambda maps: maps[:0], lambda maps: (maps, maps), lambda maps: maps.mean((2, 3)) > 0]
)
def test_odd_answers_are_no_reason_to_fail(answer: Callable[[Tensor], Tensor]) -> None:
    lay_out(Viewed(answer), (3, 8, 8))
