"""An optimiser that is kept: two halves of a training are the whole of it, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from common.description import Training
from common.errors import UserError
from common.optimizer_state import KeptOptimizer, restore, tensors_of
from common.training import build_optimizer


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, batches: range) -> None:
    for number in batches:
        images = torch.randn(5, 4, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()


KINDS = [Training(optimizer="nadam"), Training(optimizer="adam"), Training(optimizer="sgd")]


@pytest.mark.parametrize("training", KINDS, ids=lambda training: training.optimizer)
def test_going_on_from_what_was_kept_is_as_if_it_had_never_stopped(training: Training) -> None:
    whole, parted = network(), network()
    steps(whole, build_optimizer(whole, training), range(6))
    kept = KeptOptimizer()
    for part in (range(3), range(3, 6)):
        optimizer = build_optimizer(parted, training)
        kept.give(optimizer, parted)
        steps(parted, optimizer, part)
        kept.take(optimizer, parted)
    for one, other in zip(whole.parameters(), parted.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("training", KINDS[:2], ids=lambda training: training.optimizer)
def test_starting_afresh_is_something_else(training: Training) -> None:
    whole, parted = network(), network()
    steps(whole, build_optimizer(whole, training), range(6))
    for part in (range(3), range(3, 6)):
        steps(parted, build_optimizer(parted, training), part)
    assert not torch.equal(next(whole.parameters()), next(parted.parameters()))


def test_what_is_kept_are_copies_named_for_parameter_and_slot() -> None:
    model = network()
    optimizer = build_optimizer(model, Training(optimizer="adam"))
    assert tensors_of(optimizer, model) == {}
    steps(model, optimizer, range(1))
    before = tensors_of(optimizer, model)
    assert set(before) == {
        f"{name}/{slot}" for name, _ in model.named_parameters() for slot in ("step", "exp_avg", "exp_avg_sq")
    }
    frozen = copy.deepcopy(before)
    steps(model, optimizer, range(1, 3))
    assert all(torch.equal(before[key], frozen[key]) for key in before)


@pytest.mark.parametrize("key", ["9.weight/exp_avg", "0.weight/exp_avg", "step"])
def test_a_state_of_another_model_is_refused(key: str) -> None:
    model = network()
    with pytest.raises(UserError, match="does not fit the model"):
        restore(build_optimizer(model, Training()), model, {key: torch.zeros(7, 7)})


def test_a_state_that_is_not_finite_is_not_kept() -> None:
    model, kept = network(), KeptOptimizer({"0.weight/exp_avg": torch.zeros(3, 4)})
    optimizer = build_optimizer(model, Training(optimizer="adam"))
    steps(model, optimizer, range(1))
    optimizer.state[next(model.parameters())]["exp_avg_sq"].fill_(torch.inf)
    kept.take(optimizer, model)
    assert kept.tensors == {}
