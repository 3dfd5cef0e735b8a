"""The released code's faults, repeated: what each does is known in closed form or from torch itself."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from common.models.resnet18 import ResNet18
from experiments.paper import released

EPS, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 10


class Linear(nn.Module):
    """Two classes: class 1 where weight · x > 0."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weight).flatten(1).sum(dim=1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


@pytest.mark.parametrize("channels", [1, 3])
def test_pgd_on_normalised_images_ends_where_a_linear_model_sends_it(channels: int) -> None:
    weight = 0.1 * (drawn(1, channels, 6, 6) - 0.5).sign()
    images = drawn(40, channels, 6, 6, seed=1)
    mean, std = {1: (0.4739, 0.237), 3: (0.5, 0.5)}[channels]
    changed = released.normalised_pgd(
        Linear(weight), images, torch.ones(40, dtype=torch.int64), eps=EPS, step_size=STEP_SIZE, steps=STEPS, seed=3
    )
    expected = ((images - mean) / std - EPS * weight.sign()).clamp(0, 1) * std + mean
    assert torch.allclose(changed, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_clamp_alone_is_that_attack_without_a_budget(channels: int) -> None:
    images, labels = drawn(5, channels, 6, 6), torch.zeros(5, dtype=torch.int64)
    cut = released.normalised_pgd(Linear(torch.ones(1)), images, labels, eps=0.0, step_size=0.0, steps=1, seed=0)
    assert torch.allclose(released.clamped(images), cut, atol=1e-6)
    black_white = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, channels, 1, 2)
    mean, std = released.MEAN_STD[channels]
    assert released.clamped(black_white)[0, 0, 0].tolist() == pytest.approx([mean, mean + std])


def test_its_attack_leaves_no_trace() -> None:
    model, before = network(), torch.get_rng_state()
    model.train()
    arguments = drawn(3, 1, 8, 8), torch.tensor([0, 1, 2])
    first, second = (
        released.normalised_pgd(model, *arguments, eps=EPS, step_size=STEP_SIZE, steps=2, seed=5) for _ in range(2)
    )
    assert (first == second).all()
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert (torch.get_rng_state() == before).all()


def test_its_resnet_18_differs_by_its_norms_alone() -> None:
    model, ours = released.batch_norm_resnet18(1, 3, 8, seed=1), ResNet18(1, 3, 8)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == sum(isinstance(module, nn.GroupNorm) for module in ours.modules()) == 20
    assert not any(isinstance(module, nn.GroupNorm) for module in model.modules())
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in ours.parameters())
    again, other = (released.batch_norm_resnet18(1, 3, 8, seed=seed) for seed in (1, 2))
    weights = [next(each.parameters()) for each in (model, again, other)]
    assert (weights[0] == weights[1]).all()
    assert not (weights[0] == weights[2]).all()


def test_scored_in_train_mode_every_batch_is_normalised_by_itself() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1, affine=False, eps=1e-12), nn.Flatten()).eval()
    images = drawn(40, 1, 1, 1)
    found = released.train_mode_logits(model, images)
    for part in (slice(0, 32), slice(32, 40)):
        pixels = images[part].flatten()
        assert torch.allclose(found[part, 0], (pixels - pixels.mean()) / pixels.std(correction=0), atol=1e-5)
    assert not model.training
    assert (model[0].running_mean == 0).all()  # type: ignore[union-attr]


def test_the_optimiser_sees_what_fab_left_on_top_of_the_gradient() -> None:
    model, images = network(), drawn(6, 1, 8, 8)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    seen, true = released.gradients_after_fab(model, images, labels, eps=EPS, step_size=STEP_SIZE, steps=3)

    apart = copy.deepcopy(model)
    changed = released.fab(apart, images, labels, eps=EPS, step_size=STEP_SIZE, steps=3)
    left = torch.cat([p.grad.flatten() for p in apart.parameters() if p.grad is not None])
    gradients = torch.autograd.grad(cross_entropy(model(changed), labels), list(model.parameters()))
    assert torch.allclose(true, torch.cat([each.flatten() for each in gradients]), rtol=1e-4, atol=1e-6)
    assert torch.allclose(seen, left + true, rtol=1e-4, atol=1e-5)
    assert float(left.norm()) > 10 * float(true.norm())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_fab_does_not_seed_the_caller_s_draws() -> None:
    before = torch.get_rng_state()
    released.fab(network(), drawn(2, 1, 8, 8), torch.tensor([0, 1]), eps=EPS, step_size=STEP_SIZE, steps=1)
    assert (torch.get_rng_state() == before).all()
