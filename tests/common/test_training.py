"""Local training without privacy: deterministic, in place, and no trace left."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from common.description import Training
from common.errors import UserError
from common.records import Records
from common.training import TrainingError, train


def small_model(seed=0, dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(),
            nn.Linear(4 * 36, 3),
        )  # fmt: skip


def some_records(count=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    images = torch.randint(0, 80, (count, 1, 6, 6), generator=generator) + 70 * labels.view(-1, 1, 1, 1)
    return Records(images.to(torch.uint8), labels)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("optimizer", ["nadam", "adam", "sgd"])
def test_the_same_seed_gives_the_same_bytes(optimizer):
    training = Training(local_epochs=2, batch_size=8, optimizer=optimizer)
    runs = []
    for _ in range(2):
        model = small_model(dropout=0.3)
        metrics = train(model, some_records(), training, seed=5)
        runs.append((weights(model), metrics))
    assert runs[0][0].equal(runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_another_seed_gives_another_order():
    outcomes = []
    for seed in (1, 2):
        model = small_model()
        train(model, some_records(), Training(batch_size=8), seed=seed)
        outcomes.append(weights(model))
    assert not outcomes[0].equal(outcomes[1])


def test_global_random_states_are_neither_used_nor_moved():
    outcomes = []
    for outer in (1, 2):
        torch.manual_seed(outer)
        np.random.seed(outer)
        random.seed(outer)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        model = small_model(dropout=0.5)
        train(model, some_records(), Training(batch_size=8), seed=3)
        outcomes.append(weights(model))
        assert torch.get_rng_state().equal(before[0])
        assert (np.random.get_state()[1] == before[1]).all()
        assert random.getstate() == before[2]
    assert outcomes[0].equal(outcomes[1])


def test_one_step_of_sgd_is_the_mean_gradient_times_the_rate():
    model, records = small_model(), some_records(7)
    start = weights(model)
    loss = nn.functional.cross_entropy(model(records.images / 255), records.labels)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    metrics = train(
        model, records, Training(batch_size=64, optimizer="sgd", momentum=0, learning_rate=0.1), seed=0
    )  # fmt: skip
    assert torch.allclose(weights(model), start - 0.1 * gradient, atol=1e-6)
    assert metrics["train-loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_uint8_and_float_records_train_alike():
    records = some_records()
    outcomes = []
    for given in (records, Records(records.images / 255, records.labels)):
        model = small_model()
        train(model, given, Training(batch_size=8), seed=3)
        outcomes.append(weights(model))
    assert outcomes[0].equal(outcomes[1])


def test_it_learns():
    model = small_model()
    metrics = train(model, some_records(60), Training(local_epochs=25, batch_size=8, learning_rate=5e-3), seed=3)
    assert metrics["train-accuracy"] > 0.9
    assert set(metrics) == {"train-loss", "train-accuracy"}


def test_each_part_keeps_its_mode_and_no_gradient_is_left():
    model = small_model()
    model.eval()
    model[2].train()
    train(model, some_records(), Training(batch_size=8), seed=3)
    assert [module.training for module in model] == [False, False, True, False, False, False]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_parameters_stay():
    model = small_model()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    train(model, some_records(), Training(batch_size=8), seed=3)
    assert model[0].weight.equal(before)


def test_progress_counts_every_batch(monkeypatch):
    told = []
    monkeypatch.setattr("common.progress._report", lambda title, done, total: told.append((title, done, total)))
    train(small_model(), some_records(20), Training(local_epochs=2, batch_size=8), seed=3, title="a client")
    assert told == [("a client", done, 6) for done in range(7)]


def test_a_diverged_training_is_told_in_one_sentence():
    training = Training(local_epochs=3, batch_size=8, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"diverged; lower training\.learning_rate = 1e\+30"):
        train(small_model(), some_records(), training, seed=3)


def test_received_weights_that_are_not_finite_are_told():
    model = small_model()
    with torch.no_grad():
        model[0].weight[0] = float("nan")
    with pytest.raises(TrainingError, match=r"the training loss is nan"):
        train(model, some_records(), Training(batch_size=8), seed=3)


def test_no_records_and_no_parameters_are_refused():
    with pytest.raises(UserError, match="no records"):
        train(small_model(), some_records(20).take(torch.arange(0)), Training(), seed=3)
    with pytest.raises(UserError, match="no trainable parameters"):
        train(small_model().requires_grad_(False), some_records(), Training(), seed=3)


def test_masks_are_learnt_and_told_as_dice():
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (30, 6, 6), generator=generator)
    records = Records((60 + 130 * masks[:, None]).to(torch.uint8), masks)
    model = nn.Conv2d(1, 2, 1)
    training = Training(local_epochs=15, batch_size=8, optimizer="adam", learning_rate=0.1)
    metrics = train(model, records, training, seed=1)
    assert metrics.keys() == {"train-loss", "train-dice"}
    assert metrics["train-dice"] > 0.95
