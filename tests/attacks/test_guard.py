import random

import numpy as np
import pytest
import torch
from torch import nn

from attacks.guard import seed_everything, undisturbed


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def spoil(model):
    seed_everything(3)
    torch.rand(3), np.random.rand(3), random.random()
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.grad = torch.ones_like(parameter)


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_as_before(network, fails):
    model = network()
    model.train()
    model.norm.eval()
    model.first.weight.requires_grad_(False)
    kept = model.last.weight.grad = torch.full_like(model.last.weight, 7.0)
    before, weights = states(), {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    try:
        with undisturbed(model):
            assert not any(module.training for module in model.modules())
            assert not any(parameter.requires_grad for parameter in model.parameters())
            assert model.last.weight.grad is None
            spoil(model)
            if fails:
                raise RuntimeError("in the middle")
    except RuntimeError:
        assert fails
    assert states() == before
    assert [module.training for module in model.modules()] == modes
    assert not model.first.weight.requires_grad
    assert model.second.weight.requires_grad
    assert model.last.weight.grad is kept
    assert model.second.weight.grad is None
    assert float(kept.min()) == float(kept.max()) == 7.0
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_gradients_are_on_within_no_grad_and_inference_mode(linear, grey):
    for context in (torch.no_grad(), torch.inference_mode()):
        with context, undisturbed(linear):
            x = grey.clone().requires_grad_()
            linear(x).sum().backward()
            assert x.grad is not None


def test_models_without_parameters_are_fine():
    with undisturbed(nn.Identity(), nn.ReLU()):
        pass


def test_one_model_given_twice_is_restored_once(network):
    model = network().train()
    with undisturbed(model, model):
        pass
    assert model.training


def test_a_part_without_a_mode_is_let_be(network):
    frozen = torch.jit.freeze(torch.jit.script(network()))
    both = nn.Sequential(frozen)
    with undisturbed(both):
        assert not both.training
        assert not hasattr(frozen, "training")
    assert both.training


def test_flags_of_weights_made_in_inference_mode_come_back(network):
    with torch.inference_mode():
        model = network()
    model.train()
    with undisturbed(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training


def test_what_cannot_be_changed_leaves_the_rest_as_it_was(network):
    class Sealed(nn.Module):
        def __setattr__(self, name, value):
            if name == "training" and "sealed" in vars(self):
                raise AttributeError("sealed")
            super().__setattr__(name, value)

    model = nn.Sequential(network().train(), Sealed(), network().train())
    model[1].sealed = True
    before = states()
    with pytest.raises(AttributeError, match="sealed"), undisturbed(model):
        pass
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    lazy = nn.Sequential(network().train(), nn.LazyLinear(4))
    with pytest.raises(ValueError, match="uninitialized"), undisturbed(lazy):
        pass
    assert all(module.training for module in lazy.modules())
    assert all(parameter.requires_grad for parameter in lazy.parameters())
    assert states() == before


def test_seeding_reaches_all_generators():
    def draw():
        return float(torch.rand(1)), float(np.random.rand()), random.random()

    with undisturbed():
        seed_everything(2**62)
        first = draw()
        seed_everything(2**62)
        assert draw() == first
