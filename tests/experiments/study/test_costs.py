"""Laws of the attacks' costs, with forward passes in the place of seconds."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.study import costs


class Counting(nn.Module):
    """A small network that counts the images that pass through it, copies of it included."""

    passed = 0

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        with torch.no_grad():
            self.layers[1].weight.copy_(torch.linspace(-1, 1, 48).view(3, 16).sin())

    def forward(self, images: Tensor) -> Tensor:
        Counting.passed += len(images)
        logits: Tensor = self.layers(images)
        return logits


@pytest.fixture
def images() -> Tensor:
    return torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_each_repeat_crafts_the_same_and_pgd_passes_each_image_ten_times(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_now", lambda device: float(Counting.passed))
    passed = costs.attack_seconds(Counting(), images, repeats=3, seed=1)
    assert list(passed) == ["fgsm", "pgd", "fab", costs.RELEASED]
    assert all(len(taken) == 3 and len(set(taken)) == 1 for taken in passed.values())
    assert passed["pgd"][0] - passed["fgsm"][0] == 9 * len(images)
    assert passed["fab"][0] >= 2 * 10 * len(images)  # of each step: for the gradients, and to see who is fooled


def test_no_image_is_wrong_from_the_start(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = Counting(), []
    monkeypatch.setattr(costs, "_craft", lambda name, own, pixels, labels, seed: seen.append((name, labels)))
    costs.attack_seconds(model, images, repeats=2, seed=1)
    assert [name for name, _ in seen] == ["fgsm", "pgd", "fab", costs.RELEASED] * 3  # the first turn does not count
    assert all((labels == model(images).argmax(dim=1)).all() for _, labels in seen)


def test_only_the_released_fab_computes_gradients_of_the_parameters(images: Tensor) -> None:
    model = Counting()
    labels = model(images).argmax(dim=1)
    for name in ("fgsm", "pgd", "fab"):
        costs._craft(name, model, images, labels, 0)
        assert all(parameter.grad is None for parameter in model.parameters())
    costs._craft(costs.RELEASED, model, images, labels, 0)
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in model.parameters())


def test_nothing_else_is_changed(images: Tensor) -> None:
    model = Counting().train()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        seconds = costs.attack_seconds(model, (255 * images).to(torch.uint8), repeats=1, seed=1)
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert all(taken[0] > 0 for taken in seconds.values())
    assert (before[0] == after[0]).all()
    assert before[1:] == after[1:]
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
