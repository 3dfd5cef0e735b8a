"""The paper's train-time adversary."""

import pytest
import torch

from common.errors import UserError
from common.records import as_float

SMALL = {"eps": 0.1, "step_size": 0.03, "steps": 2}


def changed(before, after):
    return (as_float(before.images) != as_float(after.images)).flatten(1).any(dim=1)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "fab"])
def test_a_fraction_is_replaced_within_the_budget(attack, build, model, records):
    poisoner = build("data-poisoner", {"attack": attack, "fraction": 0.5, **SMALL})
    after = poisoner.prepare(records, model)
    assert len(after) == 40
    assert 0 < int(changed(records, after).sum()) <= 20
    assert float((as_float(after.images) - as_float(records.images)).abs().max()) <= 0.1 + 1e-6


def test_the_poisoned_records_are_fixed_over_the_rounds_and_differ_between_clients(build, model, records):
    masks = [
        changed(records, build("data-poisoner", {"fraction": 0.4, **SMALL}, **where).prepare(records, model))
        for where in ({"round": 1}, {"round": 3}, {"number": 1})
    ]
    assert masks[0].equal(masks[1])
    assert int(masks[0].sum()) == 16
    assert not masks[0].equal(masks[2])


def test_labels_follow_the_rule(build, model, records):
    def labels(rule):
        return build("data-poisoner", {"fraction": 1.0, "labels": rule, **SMALL}).prepare(records, model).labels

    assert labels("true").equal(records.labels)
    assert labels("predicted").equal(model(as_float(records.images)).argmax(dim=1))
    assert labels("target:2").equal(torch.full((40,), 2))
    assert not bool((labels("random") == records.labels).any())


def test_images_are_crafted_against_the_model_of_the_round(build, model, records):
    poisoner = build("data-poisoner", {"attack": "fgsm", **SMALL})
    first = poisoner.prepare(records, model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.neg_()
    assert not first.images.equal(poisoner.prepare(records, model).images)


def test_it_is_malicious_and_may_ignore_privacy(build, model, records):
    ignoring = build("data-poisoner", {"fraction": 0.1, **SMALL})
    assert not ignoring.honest
    ignoring.train(model, ignoring.prepare(records, model))
    assert ignoring.setting.ledger.entries == ()


def test_a_target_that_is_no_class_is_refused(build, model, records):
    with pytest.raises(UserError, match="target:7"):
        build("data-poisoner", {"labels": "target:7"}).prepare(records, model)
