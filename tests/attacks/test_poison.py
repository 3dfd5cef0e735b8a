import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import common.progress
from attacks.craft import craft, find
from attacks.poison import adversarial_copies, chosen, flip_labels
from attacks.predict import predict
from common.errors import UserError
from common.records import Records

EPS = 8 / 255


@pytest.fixture
def records():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 3, 12, 12), dtype=torch.uint8, generator=generator)
    return Records(images, torch.randint(0, 4, (30,), generator=generator))


INDEX = torch.tensor([2, 3, 5, 7, 11, 13, 17, 19, 23, 29])
OTHERS = torch.tensor([number for number in range(30) if number not in INDEX.tolist()])


@given(count=st.integers(0, 500), fraction=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_chosen_are_distinct_sorted_records_of_the_right_number(count, fraction, seed):
    index = chosen(count, fraction, seed)
    expected = max(round(count * fraction), 1) if count and fraction > 0 else 0
    assert len(index) == expected
    assert index.dtype == torch.int64
    assert index.tolist() == sorted(set(index.tolist()))
    assert all(0 <= number < count for number in index.tolist())
    assert torch.equal(chosen(count, fraction, seed), index)


@given(seed=st.integers(0, 2**40), small=st.floats(0, 1), large=st.floats(0, 1))
def test_more_poison_poisons_the_same_records_and_more(seed, small, large):
    small, large = sorted((small, large))
    assert set(chosen(40, small, seed).tolist()) <= set(chosen(40, large, seed).tolist())


def test_every_record_is_chosen_equally_often():
    hits = torch.zeros(10)
    for seed in range(600):
        hits[chosen(10, 0.3, seed)] += 1
    assert float((hits / 600 - 0.3).abs().max()) < 0.08


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(UserError, match="fraction"):
        chosen(10, fraction, 0)


@pytest.mark.parametrize("labels", ["true", "predicted", "random", "target:2"])
@pytest.mark.parametrize("attack", ["pgd", "fab"])
def test_only_the_chosen_records_change_and_within_the_budget(network, records, labels, attack):
    changed = adversarial_copies(network(), records, INDEX, attack=attack, labels=labels, classes=4, seed=1)
    clean = records.images.float() / 255
    assert len(changed) == len(records)
    assert torch.equal(changed.images[OTHERS], clean[OTHERS])
    assert torch.equal(changed.labels[OTHERS], records.labels[OTHERS])
    assert float((changed.images - clean).abs().max()) <= EPS + 1e-6
    assert not torch.equal(changed.images[INDEX], clean[INDEX])


def test_labels_follow_the_rule(network, records):
    model = network()
    true = records.labels[INDEX]
    with torch.no_grad():
        said = model(records.images[INDEX].float() / 255).argmax(dim=1)

    def stored(rule):
        return adversarial_copies(model, records, INDEX, steps=2, labels=rule, classes=4, seed=1).labels[INDEX]

    assert torch.equal(stored("true"), true)
    assert torch.equal(stored("predicted"), said)
    assert torch.equal(stored("target:2"), torch.full_like(true, 2))
    assert bool((stored("random") != true).all())


def test_images_are_crafted_to_leave_the_true_label_whatever_is_stored(network, records):
    model = network()
    expected = craft(
        "pgd",
        model,
        records.images[INDEX],
        records.labels[INDEX],
        eps=EPS,
        step_size=2 / 255,
        steps=10,
        seed=1,
    )
    for rule in ("true", "predicted", "random", "target:0"):
        changed = adversarial_copies(model, records, INDEX, labels=rule, classes=4, seed=1)
        assert torch.equal(changed.images[INDEX], expected)


def test_poisoning_leaves_no_trace(network, records):
    model = network().train()
    before, images = torch.get_rng_state(), records.images.clone()
    adversarial_copies(model, records, INDEX, attack="fab", steps=2, classes=4, seed=1)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(records.images, images)


def test_nothing_chosen_nothing_changed(network, records):
    assert adversarial_copies(network(), records, INDEX[:0], classes=4, seed=1) is records


def moved_by_another(network, records, **how):
    """Count the records but one whose copy or label changes when that one's image does."""
    model = network()
    labels = predict(model, records.images)  # an image that is misclassified already would be left alone
    images = records.images.clone()
    images[INDEX[0]] = 255 - images[INDEX[0]]
    outcomes = [
        adversarial_copies(model, these, INDEX, steps=4, eps=0.02, classes=4, seed=1, **how)
        for these in (Records(records.images, labels), Records(images, labels))
    ]
    others = torch.arange(len(records)) != INDEX[0]
    different = (outcomes[0].images != outcomes[1].images).flatten(1).any(dim=1)
    return int((different | (outcomes[0].labels != outcomes[1].labels))[others].sum())


SHARED = ["square", "torchattacks:APGD"]


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "fab", *SHARED])
def test_crafted_separately_no_record_touches_another_s_copy(network, records, attack):
    assert moved_by_another(network, records, attack=attack, separately=True) == 0


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_our_own_attacks_are_separate_by_themselves(network, records, attack):
    assert find(attack).per_record
    assert moved_by_another(network, records, attack=attack) == 0
    ways = [
        adversarial_copies(network(), records, INDEX, attack=attack, classes=4, seed=1, separately=separately).images
        for separately in (False, True)
    ]
    assert ways[0].equal(ways[1])


@pytest.mark.parametrize("attack", SHARED)
def test_a_batch_of_a_library_attack_is_not_separate(network, records, attack):
    assert not find(attack).per_record
    assert moved_by_another(network, records, attack=attack) > 0


def test_crafted_separately_the_network_is_tried_out_once(network, records):
    model, shown, tried = network(), [], []
    model.register_forward_hook(lambda module, given, output: shown.append(len(given[0])))
    how = {"attack": "torchattacks:BIM", "steps": 4, "labels": "true", "classes": 4, "seed": 1, "separately": True}
    for index in (INDEX[:1], INDEX):
        shown.clear()
        adversarial_copies(model, records, index, **how)
        assert set(shown) == {1, 2}  # a record at a time, and the layouts with two random images
        tried.append((shown.count(2), shown.count(1) - 4 * len(index)))
    assert tried[0] == tried[1]


def test_crafted_separately_each_record_is_told_as_progress(network, records):
    seen = []
    common.progress.show_with(lambda title, done, total: seen.append((title, done, total)))
    try:
        adversarial_copies(
            network(), records, INDEX[:2], attack="torchattacks:GN", classes=4, seed=1, separately=True, title="copies"
        )
    finally:
        common.progress.show_with(None)
    assert seen == [("copies", 0, 2), ("copies", 1, 2), ("copies", 2, 2)]


def test_records_crafted_separately_do_not_share_their_draws(network):
    twins = Records(torch.full((4, 3, 12, 12), 0.5), torch.zeros(4, dtype=torch.int64))
    copies = adversarial_copies(
        network(), twins, torch.arange(4), attack="torchattacks:GN", classes=4, seed=1, separately=True
    )
    assert len({tuple(image.flatten().tolist()) for image in copies.images}) == 4


@pytest.mark.parametrize("labels", ["random", "target:1"])
def test_a_label_does_not_depend_on_who_else_is_chosen(records, labels):
    all_chosen = flip_labels(records, torch.arange(30), labels=labels, classes=4, seed=1)
    some_chosen = flip_labels(records, INDEX, labels=labels, classes=4, seed=1)
    assert torch.equal(some_chosen.labels[INDEX], all_chosen.labels[INDEX])


def test_flipped_labels_keep_every_image(records):
    flipped = flip_labels(records, INDEX, labels="random", classes=4, seed=1)
    assert flipped.images is records.images
    assert torch.equal(flipped.labels[OTHERS], records.labels[OTHERS])
    assert bool((flipped.labels[INDEX] != records.labels[INDEX]).all())
    assert flip_labels(records, INDEX, labels="target:3", classes=4, seed=1).labels[INDEX].tolist() == [3] * len(INDEX)


def test_random_labels_are_uniform_among_the_others():
    records = Records(torch.zeros(6000, 1, 1, 1), torch.arange(6000) % 3)
    flipped = flip_labels(records, torch.arange(6000), labels="random", classes=3, seed=1)
    for true in range(3):
        counts = torch.bincount(flipped.labels[records.labels == true], minlength=3)
        assert int(counts[true]) == 0
        assert float((counts[counts > 0] / 2000 - 0.5).abs().max()) < 0.05
    again = flip_labels(records, torch.arange(6000), labels="random", classes=3, seed=1)
    assert torch.equal(again.labels, flipped.labels)


@pytest.mark.parametrize(
    "rule", ["wrong", "target", "target:4", "target:-1", "target:x", "target:K", "random:2", "true:"]
)
def test_an_unknown_label_rule_is_refused(network, records, rule):
    with pytest.raises(UserError, match="labels = "):
        adversarial_copies(network(), records, INDEX, labels=rule, classes=4, seed=1)


@pytest.mark.parametrize("rule", ["true", "predicted"])
def test_flipping_needs_a_rule_that_flips(records, rule):
    with pytest.raises(UserError, match="labels = "):
        flip_labels(records, INDEX, labels=rule, classes=4, seed=1)


def test_random_labels_need_another_class(records):
    with pytest.raises(UserError, match="another class"):
        flip_labels(records, INDEX, labels="random", classes=1, seed=1)


@pytest.fixture
def masked(records):
    return Records(records.images, (records.images.sum(1) > 380).long())


@pytest.mark.parametrize("labels", ["true", "predicted", "random", "target:0"])
def test_masks_follow_the_same_rules_pixel_by_pixel(bright, masked, labels):
    changed = adversarial_copies(bright, masked, INDEX, labels=labels, classes=2, seed=1)
    clean = masked.images.float() / 255
    assert torch.equal(changed.images[OTHERS], clean[OTHERS])
    assert torch.equal(changed.labels[OTHERS], masked.labels[OTHERS])
    assert 0 < float((changed.images - clean).abs().max()) <= EPS + 1e-6
    expected = {
        "true": masked.labels[INDEX],
        "predicted": predict(bright, masked.images[INDEX]),
        "random": 1 - masked.labels[INDEX],  # the only other class
        "target:0": torch.zeros_like(masked.labels[INDEX]),
    }
    assert torch.equal(changed.labels[INDEX], expected[labels])


def test_flipped_masks_are_uniform_among_the_other_classes(masked):
    flipped = flip_labels(masked, INDEX, labels="random", classes=4, seed=1)
    assert torch.equal(flipped.labels[OTHERS], masked.labels[OTHERS])
    shift = (flipped.labels[INDEX] - masked.labels[INDEX]) % 4
    shares = torch.bincount(shift.flatten(), minlength=4) / shift.numel()
    assert shares[0] == 0
    assert float((shares[1:] - 1 / 3).abs().max()) < 0.05
