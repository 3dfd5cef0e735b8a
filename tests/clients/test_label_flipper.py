"""The label flipper lies about labels, and only about labels."""

import pytest
import torch

from clients.prepare import prepare
from common.description import AdversarialTraining
from common.errors import UserError


def flips(before, after):
    return before.labels != after.labels


def test_it_flips_a_fixed_fraction_to_other_classes(build, model, records):
    first, second = (build("label-flipper", {"fraction": 0.3}, round=n).prepare(records, model) for n in (1, 2))
    assert int(flips(records, first).sum()) == 12
    assert first.labels.equal(second.labels)
    assert first.images is records.images
    assert int(first.labels.max()) < 3


def test_with_a_target_all_become_that_class(build, model, records):
    after = build("label-flipper", {"labels": "target:1"}).prepare(records, model)
    assert after.labels.equal(torch.ones(40, dtype=torch.int64))


def test_with_a_source_only_that_class_is_flipped(build, model, records):
    after = build("label-flipper", {"source": 2, "labels": "target:0"}).prepare(records, model)
    assert flips(records, after).equal(records.labels == 2)
    assert bool((after.labels[records.labels == 2] == 0).all())


def test_a_source_that_nobody_has_flips_nothing(build, model, records):
    none = type(records)(records.images, torch.zeros(40, dtype=torch.int64))
    assert build("label-flipper", {"source": 2}).prepare(none, model).labels.equal(none.labels)


@pytest.mark.parametrize("options", [{"source": 3}, {"labels": "target:3"}])
def test_a_class_that_is_none_is_refused(options, build, model, records):
    with pytest.raises(UserError, match="from 0 to 2"):
        build("label-flipper", options).prepare(records, model)


@pytest.mark.parametrize(
    ("options", "table"),
    [
        ({"source": 1, "fraction": 0.5}, None),
        ({"labels": "target:1", "fraction": 0.5}, AdversarialTraining(fraction=0.5, steps=1)),
    ],
)
def test_under_privacy_a_label_decides_nothing_for_other_records(options, table, build, model, records):
    flipper = build("label-flipper", options, adversarial_training=table, private=True)
    before = prepare(flipper, records, model)
    for place in range(40):
        labels, others = records.labels.clone(), torch.arange(40) != place
        labels[place] = (labels[place] + 1) % 3
        after = prepare(flipper, type(records)(records.images, labels), model)
        assert after.labels[others].equal(before.labels[others])
        assert after.images[others].equal(before.images[others])


def test_it_is_malicious(build):
    assert not build("label-flipper").honest


def test_in_masks_it_flips_pixels_and_with_a_source_only_those_of_that_class(build, model, records):
    masks = torch.randint(0, 3, (40, 6, 6), generator=torch.Generator().manual_seed(0))
    masked = type(records)(records.images, masks)
    after = build("label-flipper", {"fraction": 0.5}).prepare(masked, model)
    assert flips(masked, after).flatten(1).all(1).sum() == flips(masked, after).flatten(1).any(1).sum() == 20
    one = build("label-flipper", {"fraction": 0.5, "source": 2, "labels": "target:0"}).prepare(masked, model)
    chosen = flips(masked, after).flatten(1).any(1)
    assert flips(masked, one).equal((masks == 2) & chosen.view(-1, 1, 1))
