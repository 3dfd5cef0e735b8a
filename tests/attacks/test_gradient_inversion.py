"""Gradient inversion: closed forms for a linear layer and for labels, and a small ResNet-9 whose image comes back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from attacks.gradient_inversion import (
    Kind,
    analytic_input,
    as_gradient,
    invert,
    label_shares,
    labels_of,
    matching_loss,
)
from common.data import prepare
from common.description import Data, Model, Training
from common.errors import UserError
from common.exchange import arrays_of
from common.models import build
from common.records import Records, as_float
from common.training import train

ONE_STEP = Training(optimizer="sgd", learning_rate=0.1, momentum=0.0)


@pytest.fixture(scope="module")
def records() -> Records:
    """Phantom X-rays of 16 pixels: 256 unknowns are found in seconds."""
    whole = prepare(Data(train_records=60, public_records=40, test_records=3)).train.records()
    return Records(F.avg_pool2d(as_float(whole.images), 2), whole.labels)


@pytest.fixture(scope="module")
def mean_image(records: Records) -> Tensor:
    return as_float(records.images[20:]).mean(dim=0, keepdim=True)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build(Model(name="resnet9", width=8), 1, 3, [0.5], [0.25], seed=3)


def gradient_of(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    names = [name for name, _ in model.named_parameters()]
    loss = F.cross_entropy(model(images), labels)
    return dict(zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True))


def psnr(found: Tensor, true: Tensor) -> float:
    return -10 * float((found - true).square().mean().log10())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(2, 8))
def test_a_linear_layers_input_follows_from_its_gradient(seed: int, inputs: int, outputs: int) -> None:
    generator = seeded(seed)
    layer = nn.Linear(inputs, outputs, dtype=torch.float64)
    given_input = torch.randn(1, inputs, generator=generator, dtype=torch.float64)
    loss = F.cross_entropy(layer(given_input).tanh(), torch.tensor([seed % outputs]))
    weight, bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
    torch.testing.assert_close(analytic_input(weight, bias), given_input[0])


def test_the_row_that_is_rounded_least_counts() -> None:
    weight = torch.tensor([[1.01e-6, 3.98e-6], [-1.0, -4.0], [0.52, 2.03]])
    assert analytic_input(weight, torch.tensor([1e-6, -1.0, 0.5])).tolist() == [1.0, 4.0]


def test_of_a_bias_without_gradient_nothing_can_be_told() -> None:
    with pytest.raises(UserError, match="nothing can be told"):
        analytic_input(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(UserError, match="weights and bias"):
        analytic_input(torch.zeros(2, 3), torch.zeros(3))


def test_one_images_label_is_the_only_negative_entry(model: nn.Module, records: Records) -> None:
    for number in range(6):
        images, labels = as_float(records.images[number : number + 1]), records.labels[number : number + 1]
        bias = gradient_of(model, images, labels)["network.linear.bias"]
        assert labels_of(label_shares(bias), 1).tolist() == labels.tolist()
        assert labels_of(label_shares(bias.sign(), kind="sign"), 1).tolist() == labels.tolist()


@pytest.mark.parametrize("labels", [[0, 0, 0, 2], [1, 1, 2, 2, 2], [0, 1, 2, 2]])
def test_labels_of_several_are_counted(model: nn.Module, records: Records, labels: list[int]) -> None:
    images, true = as_float(records.images[: len(labels)]), torch.tensor(labels)
    bias = gradient_of(model, images, true)["network.linear.bias"]
    probabilities = torch.softmax(model(images), dim=1).mean(dim=0).detach()
    assert labels_of(label_shares(bias, probabilities=probabilities), len(labels)).tolist() == labels
    votes = torch.stack([1.0 - 2 * (F.one_hot(label, 3)) for label in true]).mean(dim=0)
    assert labels_of(label_shares(votes, kind="votes"), len(labels)).tolist() == labels


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=6), st.integers(1, 40))
def test_as_many_labels_as_asked_for_within_one_of_their_share(shares: list[float], count: int) -> None:
    counts = torch.bincount(labels_of(torch.tensor(shares, dtype=torch.float64), count), minlength=len(shares))
    positive = [max(share, 0.0) for share in shares]
    assert int(counts.sum()) == count
    if sum(positive) > 1e-100:
        for found, share in zip(counts.tolist(), positive, strict=True):
            assert abs(found - count * share / sum(positive)) < 1 + 1e-3


def test_one_step_of_sgd_gives_its_gradient_away(model: nn.Module, records: Records) -> None:
    images, labels = as_float(records.images[:3]), records.labels[:3]
    wanted = gradient_of(model, images, labels)
    before = {name: array.clone() for name, array in arrays_of(model).items()}
    trained = build(Model(name="resnet9", width=8), 1, 3, [0.5], [0.25], seed=3)
    train(trained, records.take(torch.arange(3)), ONE_STEP, seed=1)
    found = as_gradient(before, arrays_of(trained), ONE_STEP.learning_rate)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3)


def test_the_true_images_match_and_others_do_not(model: nn.Module, records: Records) -> None:
    images, labels = as_float(records.images[:2]), records.labels[:2]
    observed = gradient_of(model, images, labels)
    scaled = {name: 7 * part for name, part in observed.items()}
    others = as_float(records.images[2:4])
    assert abs(matching_loss(model, images, labels, scaled)) < 1e-5
    assert matching_loss(model, others, labels, observed) > 0.05
    opposite = {name: -part for name, part in observed.items()}
    assert matching_loss(model, images, labels, opposite) == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("kind", ["sign", "votes"])
def test_signs_fit_the_true_images_better_than_others(model: nn.Module, records: Records, kind: Kind) -> None:
    images, labels = as_float(records.images[:2]), records.labels[:2]
    if kind == "sign":
        observed = {name: part.sign() for name, part in gradient_of(model, images, labels).items()}
    else:
        each = [gradient_of(model, images[place : place + 1], labels[place : place + 1]) for place in range(2)]
        observed = {name: (each[0][name].sign() + each[1][name].sign()) / 2 for name in each[0]}
    true = matching_loss(model, images, labels, observed, kind=kind)
    assert true < matching_loss(model, as_float(records.images[2:4]), labels, observed, kind=kind) - 0.05
    others: tuple[Kind, ...] = ("gradient", "sign", "votes")
    for other in set(others) - {kind}:
        assert true < matching_loss(model, images, labels, observed, kind=other) - 0.02, other


def test_for_one_image_votes_are_signs(model: nn.Module, records: Records) -> None:
    images, labels = as_float(records.images[:1]), records.labels[:1]
    observed = gradient_of(model, images, labels)
    losses = [matching_loss(model, images, labels, observed, kind=kind) for kind in ("sign", "votes")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_an_image_comes_back_from_its_gradient(model: nn.Module, records: Records, mean_image: Tensor) -> None:
    image, label = as_float(records.images[:1]), records.labels[:1]
    found = invert(model, gradient_of(model, image, label), label, mean_image, steps=150, generator=seeded())
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    assert psnr(found.images, image) > psnr(mean_image, image) + 1.5
    observed = gradient_of(model, image, label)
    assert found.loss == pytest.approx(matching_loss(model, found.images, label, observed), abs=1e-5)
    assert found.loss < 0.2 * matching_loss(model, mean_image, label, observed)


def test_an_image_does_not_come_back_from_noise(model: nn.Module, records: Records, mean_image: Tensor) -> None:
    image, label = as_float(records.images[:1]), records.labels[:1]
    generator = seeded(5)
    observed = {name: torch.randn(part.shape, generator=generator) for name, part in model.named_parameters()}
    found = invert(model, observed, label, mean_image, steps=150, generator=seeded())
    assert psnr(found.images, image) < psnr(mean_image, image)
    assert found.loss > 0.5


def test_equal_arguments_give_equal_bytes_and_the_model_is_left_alone(model: nn.Module, records: Records) -> None:
    images, labels = as_float(records.images[:2]), records.labels[:2]
    observed = gradient_of(model, images, labels)
    start = torch.full_like(images, 0.5)
    before = {name: array.clone() for name, array in model.state_dict().items()}
    state, mode = torch.get_rng_state(), model.training
    one, other, another = (
        invert(model, observed, labels, start, steps=5, start_noise=0.1, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one.images, other.images)
    assert one.loss == other.loss
    assert not torch.equal(one.images, another.images)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == mode
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(array, before[name]) for name, array in model.state_dict().items())


Spoil = Callable[[dict[str, Any]], None]


def _observed(change: Callable[[dict[str, Tensor]], Any]) -> Spoil:
    def spoil(arguments: dict[str, Any]) -> None:
        change(arguments["observed"])

    return spoil


def _set(**values: Any) -> Spoil:
    return lambda arguments: arguments.update(values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_observed(lambda told: told.pop("network.linear.bias")), "nothing for parameter 'network.linear.bias'"),
        (_observed(lambda told: told.update({"network.linear.bias": torch.ones(4)})), r"shape \(4,\) for parameter"),
        (_observed(lambda told: told["network.linear.bias"].fill_(float("nan"))), "not finite"),
        (_observed(lambda told: [part.zero_() for part in told.values()]), "update is zero"),
        (_set(labels=torch.tensor([0])), "one an image"),
        (_set(labels=torch.tensor([0.0, 1.0])), "labels must be int64"),
        (_set(start=torch.full((2, 1, 16, 16), 255.0)), "divide uint8 ones by 255"),
        (_set(start=torch.full((2, 1, 16, 16), float("nan"))), r"must lie in \[0, 1\]"),
        (_set(start=torch.zeros(0, 1, 16, 16)), "N at least 1"),
        (_set(kind="guess"), "choose one of gradient, sign, votes"),
        (_set(steps=0), "steps = 0"),
        (_set(step_size=0.0), "step_size = 0"),
        (_set(total_variation=-1.0), "total_variation = -1"),
        (_set(start_noise=float("nan")), "start_noise = nan"),
    ],
)
def test_mistakes_are_refused_by_name(model: nn.Module, records: Records, spoil: Spoil, message: str) -> None:
    images, labels = as_float(records.images[:2]), records.labels[:2]
    arguments: dict[str, Any] = {
        "observed": {name: part.clone() for name, part in gradient_of(model, images, labels).items()},
        "labels": labels,
        "start": torch.full_like(images, 0.5),
        "steps": 1,
    }
    spoil(arguments)
    with pytest.raises(UserError, match=message):
        invert(model, generator=seeded(), **arguments)


def test_updates_of_two_models_are_refused() -> None:
    with pytest.raises(UserError, match="differ in 'b'"):
        as_gradient({"a": torch.zeros(1)}, {"a": torch.zeros(1), "b": torch.zeros(1)}, 0.1)
    with pytest.raises(UserError, match="learning_rate = 0"):
        as_gradient({"a": torch.zeros(1)}, {"a": torch.zeros(1)}, 0.0)
    with pytest.raises(UserError, match="at least 1 image"):
        labels_of(torch.ones(3), 0)


def test_a_frozen_model_tells_nothing(records: Records) -> None:
    frozen = build(Model(name="resnet9", width=8), 1, 3, [0.5], [0.25], seed=3).requires_grad_(False)
    images = as_float(records.images[:1])
    with pytest.raises(UserError, match="no trainable parameters"):
        matching_loss(frozen, images, records.labels[:1], {})
