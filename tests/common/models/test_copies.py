"""Copies of networks: equal, and nothing that changes is shared."""

import copy
import itertools

import pytest
import torch
from torch import nn

from common.config import parse
from common.models import build
from common.models.copies import copied


def networks() -> list[nn.Module]:
    tree = {"name": "x", "clients": [{}]}
    sizes = [("resnet9", 28), ("resnet18", 32)]
    made = [
        build(
            parse({**tree, "model": {"name": name, "width": 8}}, "x").model,
            1,
            3,
            [0.5],
            [0.25],
            seed=1,
            image_size=size,
            task="classification",
        )
        for name, size in sizes
    ]
    unet = parse({**tree, "model": {"name": "unet", "width": 8}}, "x").model
    return [*made, build(unet, 1, 3, [0.5], [0.25], seed=1, image_size=32, task="segmentation")]


@pytest.mark.parametrize("network", networks(), ids=lambda network: type(network.network).__name__)
def test_a_copy_is_what_deepcopy_makes(network: nn.Module) -> None:
    network.network.eval()
    next(iter(network.parameters())).requires_grad_(False)
    ours, theirs = copied(network), copy.deepcopy(network)
    assert repr(ours) == repr(theirs)
    for one, two in zip(ours.modules(), theirs.modules(), strict=True):
        assert vars(one).keys() == vars(two).keys()
        for name, value in vars(one).items():
            assert type(value) is type(vars(two)[name])
            if not name.startswith("_"):
                assert value == vars(two)[name]
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, two)
        assert (one.requires_grad, type(one), one.is_leaf) == (two.requires_grad, type(two), two.is_leaf)
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), rtol=0, atol=0)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(ours(images), network(images))


@pytest.mark.parametrize("network", networks(), ids=lambda network: type(network.network).__name__)
def test_nothing_that_changes_is_shared(network: nn.Module) -> None:
    before, images = copy.deepcopy(network), torch.rand(2, 1, 32, 32)
    ours = copied(network)
    addresses = [{tensor.data_ptr() for tensor in [*one.parameters(), *one.buffers()]} for one in (network, ours)]
    assert not set.intersection(*addresses)
    for one, two in zip(network.modules(), ours.modules(), strict=True):
        for value, other in itertools.product(vars(one).values(), vars(two).values()):
            assert value is not other or not isinstance(value, dict | list | set | torch.Tensor | nn.Module)
    ours.register_forward_hook(lambda *_: None)
    for module in ours.modules():
        module.train(not module.training)
        module.register_buffer("own", torch.ones(1))
    with torch.no_grad():
        for tensor in [*ours.parameters(), *ours.buffers()]:
            tensor.add_(1)
    assert torch.equal(network(images), before(images))
    assert [module.training for module in network.modules()] == [module.training for module in before.modules()]
    assert network.state_dict().keys() == before.state_dict().keys()
    assert not network._forward_hooks
