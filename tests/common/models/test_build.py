"""Laws of every network that ``build`` gives."""

import pytest
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import nn

from common import description
from common.errors import UserError
from common.models import MODELS, build
from common.records import Task

NAMES = tuple(MODELS)
every_network = pytest.mark.parametrize("name", NAMES)


def task_of(name: str) -> Task:
    return "segmentation" if name == "unet" else "classification"


def tiny(name: str, seed: int = 1, channels: int = 3, classes: int = 4, width: int = 8) -> nn.Module:
    section = description.Model(name=name, width=width)
    return build(section, channels, classes, [0.47] * channels, [0.25] * channels, seed=seed, task=task_of(name))


@every_network
def test_equal_seeds_give_equal_weights_and_others_others(name: str) -> None:
    first, same, other = (list(tiny(name, seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[0], other[0])


@every_network
def test_the_global_random_state_is_left_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    tiny(name)
    assert torch.equal(before, torch.random.get_rng_state())


@every_network
def test_weights_do_not_depend_on_the_global_random_state(name: str) -> None:
    first = tiny(name)
    torch.rand(3)
    torch.testing.assert_close(first.state_dict(), tiny(name).state_dict(), rtol=0, atol=0)


@every_network
def test_every_convolution_has_its_group_norm_and_nothing_keeps_statistics(name: str) -> None:
    model = tiny(name)
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(nn.GroupNorm) == kinds.count(nn.Conv2d) - (name == "unet")  # its last one gives the logits
    assert {key for key, _ in model.named_buffers()} == {"mean", "std"}
    assert not any(getattr(module, "inplace", False) for module in model.modules())


@every_network
def test_an_image_is_scored_alike_alone_and_in_company(name: str) -> None:
    model, images = tiny(name), torch.rand(9, 3, 32, 32)
    torch.testing.assert_close(model(images)[3:4], model(images[3:4]), rtol=1e-4, atol=1e-5)


@every_network
def test_train_and_eval_mode_agree(name: str) -> None:
    model, images = tiny(name), torch.rand(4, 3, 32, 32)
    assert torch.equal(model.train()(images), model.eval()(images))


@every_network
def test_opacus_takes_it_and_its_per_sample_gradients_are_right(name: str) -> None:
    model, generator = tiny(name).double(), torch.Generator().manual_seed(0)  # in float32 a maximum may be another one
    assert ModuleValidator.is_valid(model)
    images = torch.rand(3, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2])
    if task_of(name) == "segmentation":
        labels = torch.randint(4, (3, 32, 32), generator=generator)
    wrapped, plain = GradSampleModule(model, loss_reduction="sum"), tiny(name).double()
    nn.functional.cross_entropy(wrapped(images), labels, reduction="sum").backward()
    for record in range(3):
        one = slice(record, record + 1)
        alone = nn.functional.cross_entropy(plain(images[one]), labels[one], reduction="sum")
        scale = labels[one].numel()  # a sum over so many pixels
        gradients = torch.autograd.grad(alone, list(plain.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad_sample[record], gradient, rtol=1e-6, atol=1e-9 * scale)


@every_network
def test_torch_fx_traces_it(name: str) -> None:
    model, images = tiny(name).eval(), torch.rand(2, 3, 32, 32)
    assert torch.equal(torch.fx.symbolic_trace(model)(images), model(images))


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        tiny("resnet-18")


@pytest.mark.parametrize(
    ("name", "task", "size", "words"),
    [
        ("resnet9", "segmentation", 32, "every pixel of these data has a class; set model.name = 'unet'"),
        ("resnet18", "segmentation", 32, "set model.name = 'unet'"),
        ("unet", "classification", 32, "these data have one class an image; set model.name = 'resnet9'"),
        ("unet", "segmentation", 28, "multiple of 8, from 16 pixels; these are 28 wide, so set data.image_size = 32"),
        ("unet", "segmentation", 8, "set data.image_size = 16"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused(name: str, task: Task, size: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(description.Model(name=name, width=8), 1, 3, [0.4], [0.2], seed=1, image_size=size, task=task)
