"""Adversarial training replaces, never adds."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from clients.prepare import prepare
from common.config import AdversarialTraining
from common.records import as_float

TABLE = AdversarialTraining(attack="pgd", fraction=0.25, eps=0.1, step_size=0.03, steps=3)
OPTIONS = {"attack": "pgd", "fraction": 0.25, "eps": 0.1, "step_size": 0.03, "steps": 3}


def changed(before, after):
    return (as_float(before.images) != as_float(after.images)).flatten(1).any(dim=1)


@pytest.mark.parametrize(
    "settings", [{"strategy": "adversarial-training", "options": OPTIONS}, {"adversarial_training": TABLE}]
)
def test_a_fraction_is_replaced_within_the_budget_with_true_labels(settings, build, model, records):
    after = prepare(build(**settings), records, model)
    assert len(after) == len(records)
    assert after.labels.equal(records.labels)
    assert int(changed(records, after).sum()) == 10
    assert float((as_float(after.images) - as_float(records.images)).abs().max()) <= 0.1 + 1e-6
    picked = changed(records, after)
    losses = [cross_entropy(model(as_float(r.images[picked])), r.labels[picked]) for r in (records, after)]
    assert losses[1] > losses[0]


def test_the_table_and_the_strategy_are_one_thing(build, model, records):
    strategy = prepare(build("adversarial-training", OPTIONS), records, model)
    table = prepare(build(adversarial_training=TABLE), records, model)
    assert strategy.images.equal(table.images)


def test_the_same_records_every_round_with_new_copies(build, model, records):
    first, second = (prepare(build("adversarial-training", OPTIONS, round=n), records, model) for n in (1, 2))
    assert changed(records, first).equal(changed(records, second))
    assert not first.images.equal(second.images)


@pytest.mark.parametrize("strategy", ["data-poisoner", "label-flipper"])
def test_on_top_of_a_poisoner_it_takes_from_the_records_not_poisoned(strategy, build, model, records):
    poisoned = prepare(build(strategy, {"fraction": 0.5, "labels": "random"}), records, model)
    both = prepare(build(strategy, {"fraction": 0.5, "labels": "random"}, adversarial_training=TABLE), records, model)
    spoilt = changed(records, poisoned) | (poisoned.labels != records.labels)
    assert as_float(both.images)[spoilt].equal(as_float(poisoned.images)[spoilt])
    assert both.labels.equal(poisoned.labels)
    assert int(spoilt.sum()) == 20
    assert int(changed(poisoned, both).sum()) == 5


def test_with_everything_poisoned_there_is_nothing_to_replace(build, model, records):
    both = prepare(build("label-flipper", {"fraction": 1.0}, adversarial_training=TABLE), records, model)
    assert not bool(changed(records, both).any())


def test_it_is_honest_and_private_records_stay_one_each(build, model, records):
    private = build("adversarial-training", OPTIONS, private=True)
    assert private.honest
    prepared = prepare(private, records, model)
    private.train(model, prepared)
    assert len(prepared) == 40
    assert len(private.setting.ledger.entries) == 1


def test_preparing_leaves_the_model_and_the_random_state_alone(build, model, records):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    prepare(build("adversarial-training", OPTIONS), records, model)
    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
