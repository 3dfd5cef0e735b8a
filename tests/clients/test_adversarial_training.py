"""Adversarial training replaces, never adds."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from attacks.predict import predict
from clients.prepare import prepare
from common.description import AdversarialTraining
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
    picked = changed(records, prepare(build(adversarial_training=TABLE), records, model))
    spoilt = changed(records, poisoned) | (poisoned.labels != records.labels)
    assert as_float(both.images)[spoilt].equal(as_float(poisoned.images)[spoilt])
    assert both.labels.equal(poisoned.labels)
    assert int(spoilt.sum()) == 20
    assert changed(poisoned, both).equal(picked & ~spoilt)
    assert 0 < int((picked & ~spoilt).sum()) < 10


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


def picked_first(prepared, records):
    """The first records that were replaced or relabelled, and one that was not."""
    spoilt = changed(records, prepared) | (prepared.labels != records.labels)
    return [*torch.nonzero(spoilt).flatten()[:2].tolist(), int(torch.nonzero(~spoilt)[0])]


SQUARE = {"attack": "square", "fraction": 0.15, "eps": 0.2}


@pytest.mark.parametrize(
    ("strategy", "options", "table"),
    [
        ("adversarial-training", OPTIONS, None),
        ("adversarial-training", SQUARE, None),
        ("adversarial-training", OPTIONS | {"attack": "torchattacks:APGD"}, None),
        ("honest", {}, AdversarialTraining(**SQUARE)),
        ("data-poisoner", SQUARE, None),
        ("data-poisoner", {"labels": "random", "fraction": 0.5, "steps": 2}, TABLE),
    ],
)
def test_under_privacy_a_record_changes_no_other_s_copy(strategy, options, table, build, model, records):
    private = build(strategy, options, adversarial_training=table, private=True)
    records = type(records)(records.images, predict(model, records.images))
    before = prepare(private, records, model)
    for place in picked_first(before, records):
        images, labels = records.images.clone(), records.labels.clone()
        images[place], labels[place] = 255 - images[place], (labels[place] + 1) % 3
        after = prepare(private, type(records)(images, labels), model)
        others = torch.arange(40) != place
        assert after.images[others].equal(before.images[others])
        assert after.labels[others].equal(before.labels[others])


def test_preparing_leaves_the_model_and_the_random_state_alone(build, model, records):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    prepare(build("adversarial-training", OPTIONS), records, model)
    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
