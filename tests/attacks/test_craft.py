import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import common.progress
from attacks import craft as module
from attacks.budget import BudgetError, check
from attacks.catalogue import ATTACKS
from attacks.craft import craft
from attacks.method import Method
from common.errors import UserError

EPS, STEP = 8 / 255, 2 / 255
ORDER = {"eps": EPS, "step_size": STEP, "steps": 3, "seed": 1, "queries": 20}
QUICK = [name for name in ATTACKS if name not in ("autoattack", "torchattacks:AutoAttack", "torchattacks:SparseFool")]


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leaves_a_trace(network, images, predicted, name, capsys):
    model = network()
    images = images[:3]
    labels = predicted(model, images)
    model.train()
    model.norm.eval()
    model.first.weight.requires_grad_(False)
    gradient = model.last.weight.grad = torch.full_like(model.last.weight, 7.0)
    copies = {key: value.clone() for key, value in model.state_dict().items()}
    modes, clean, before = [part.training for part in model.modules()], images.clone(), states()
    found = craft(name, model, images, labels, **ORDER)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert states() == before
    assert [part.training for part in model.modules()] == modes
    assert not model.first.weight.requires_grad
    assert model.second.weight.requires_grad
    assert model.last.weight.grad is gradient
    assert float(gradient.min()) == float(gradient.max()) == 7.0
    assert model.first.weight.grad is None
    assert model.second.weight.grad is None
    assert all(torch.equal(value, copies[key]) for key, value in model.state_dict().items())
    assert torch.equal(images, clean)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ATTACKS)
def test_no_budget_no_change(network, images, name):
    assert torch.equal(
        craft(name, network(), images, torch.zeros(12, dtype=torch.int64), **{**ORDER, "eps": 0}), images
    )


@pytest.mark.parametrize("name", QUICK)
def test_equal_seeds_give_equal_bytes(network, images, predicted, name):
    model = network()
    labels = predicted(model, images)
    first = craft(name, model, images[:4], labels[:4], **ORDER)
    torch.rand(5), np.random.rand(5), random.random()
    assert torch.equal(craft(name, model, images[:4], labels[:4], **ORDER), first)


@pytest.mark.parametrize(
    "name", ["fgsm", "pgd", "fab", "square", "torchattacks:APGD", "torchattacks:GN", "torchattacks:MIFGSM"]
)
def test_with_a_seed_an_image_each_is_crafted_as_by_a_call_of_its_own(network, images, predicted, name):
    model, seeds = network(), [5, 3, 3, 8]
    images, labels = images[:4], predicted(model, images[:4])
    alone = [craft(name, model, images[i : i + 1], labels[i : i + 1], **{**ORDER, "seed": seeds[i]}) for i in range(4)]
    together = craft(name, model, images, labels, **{**ORDER, "seed": seeds})
    assert torch.equal(together, torch.cat(alone))
    only = torch.tensor([False, True, False, True])
    some = craft(name, model, images, labels, only=only, **{**ORDER, "seed": seeds})
    assert torch.equal(some, torch.where(only.view(-1, 1, 1, 1), together, images))


@pytest.mark.parametrize("seeds", [[], [1] * 11, range(13)])
def test_seeds_are_as_many_as_images(network, images, seeds):
    with pytest.raises(UserError, match=f"seed must be one number, or 12, one an image; got {len(seeds)}"):
        craft("pgd", network(), images, torch.zeros(12, dtype=torch.int64), **{**ORDER, "seed": seeds})


def test_other_seeds_start_elsewhere(network, images, predicted):
    model = network()
    labels = predicted(model, images)
    assert not torch.equal(
        craft("pgd", model, images, labels, **ORDER), craft("pgd", model, images, labels, **{**ORDER, "seed": 2})
    )


@pytest.mark.parametrize("name", ["fgsm", "pgd", "fab", "square"])
@settings(max_examples=15, deadline=None)
@given(
    eps=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1 / 255, 8 / 255, 1.0])),
    step_size=st.floats(0, 1),
    steps=st.integers(1, 3),
    seed=st.integers(0, 2**62),
    stop=st.booleans(),
    project=st.booleans(),
)
def test_every_result_is_within_budget_and_range(name, eps, step_size, steps, seed, stop, project):
    generator = torch.Generator().manual_seed(seed % 1000)
    clean = (1.4 * torch.rand(4, 1, 5, 5, generator=generator) - 0.2).clamp(0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(25, 3))
    labels = torch.randint(0, 3, (4,), generator=generator)
    options = {"eps": eps, "step_size": step_size, "steps": steps, "seed": seed, "queries": 10}
    found = craft(name, model, clean, labels, stop_when_fooled=stop, project=project, **options)
    check(clean, found, eps, "linf", name)
    assert float((found - clean).abs().max()) <= eps + 1e-6


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("held", [1, 7 * 3 * 12 * 12 * 4, 2**30])
def test_result_does_not_depend_on_the_micro_batch(network, images, predicted, monkeypatch, stop, held):
    model = network()
    labels = predicted(model, images)
    monkeypatch.setattr(module, "HELD_BYTES", held)
    for name in ("fgsm", "pgd"):
        whole = craft(name, model, images, labels, stop_when_fooled=stop, **ORDER)
        monkeypatch.setattr(module, "batch_size", lambda model, image: 5)
        parts = craft(name, model, images, labels, stop_when_fooled=stop, **ORDER)
        monkeypatch.setattr(module, "batch_size", lambda model, image: 128)
        assert float(((whole - parts).abs() <= 1e-6).float().mean()) >= 0.998


@pytest.mark.parametrize("name", ["fgsm", "pgd", "fab", "torchattacks:MIFGSM", "torchattacks:PGDL2"])
def test_models_in_another_layout_give_the_same(network, images, predicted, monkeypatch, name):
    model = network()
    labels = predicted(model, images)
    fast = craft(name, model, images, labels, **ORDER)
    monkeypatch.setattr(module, "laid_out", lambda *models, image: nullcontext())
    plain = craft(name, model, images, labels, **ORDER)
    assert float(((fast - plain).abs() <= 1e-5).float().mean()) >= 0.998
    assert fast.is_contiguous()


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_an_image_is_attacked_as_if_all_were(network, images, predicted, name, stop):
    model = network()
    labels = predicted(model, images)
    only = torch.arange(12) % 3 == 1
    whole = craft(name, model, images, labels, stop_when_fooled=stop, **ORDER)
    some = craft(name, model, images, labels, stop_when_fooled=stop, only=only, **ORDER)
    torch.testing.assert_close(some[only], whole[only], atol=1e-6, rtol=0)
    assert torch.equal(some[~only], images[~only])
    assert not torch.equal(some[only], images[only])
    assert torch.equal(craft(name, model, images, labels, only=torch.zeros(12, dtype=torch.bool), **ORDER), images)


@pytest.mark.parametrize("only", [torch.ones(11, dtype=torch.bool), torch.ones(12), torch.arange(12)])
def test_images_chosen_otherwise_than_by_a_mask_are_refused(network, images, only):
    with pytest.raises(UserError, match=r"only must be bool of shape \[12\]"):
        craft("pgd", network(), images, torch.zeros(12, dtype=torch.int64), only=only, **ORDER)


def test_budget_is_in_pixels_though_the_model_normalises(network, images, predicted):
    # Upstream attacked normalised tensors: 8/255 there moved pixels by up to 127.5/255.
    model = network()
    labels = predicted(model, images)
    for name in ("fgsm", "pgd"):
        found = craft(name, model, images, labels, **{**ORDER, "steps": 10})
        assert float((found - images).abs().max()) <= EPS + 1e-6
        assert float((found - images).abs().max()) > EPS - 1e-6


def test_normalised_images_are_refused(network, images):
    normalised = (images - 0.47) / 0.25
    with pytest.raises(UserError, match="inside the model"):
        craft("fgsm", network(), normalised, torch.zeros(12, dtype=torch.int64), **ORDER)


def test_grey_levels_are_read_as_fractions(network, predicted):
    model = network()
    levels = torch.randint(0, 256, (4, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = predicted(model, levels.float() / 255)
    assert torch.equal(
        craft("pgd", model, levels, labels, **ORDER), craft("pgd", model, levels.float() / 255, labels, **ORDER)
    )


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_stopping_when_fooled_fools_no_fewer(network, predicted, name):
    model = network()
    images = torch.rand(40, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    labels = predicted(model, images)
    labels[:5] = (labels[:5] + 1) % 4  # misclassified from the start
    full = predicted(model, craft(name, model, images, labels, **ORDER)) != labels
    early = craft(name, model, images, labels, stop_when_fooled=True, **ORDER)
    assert bool(((predicted(model, early) != labels) | ~full).all())
    assert torch.equal(early[:5], images[:5])


def test_fooled_by_is_guarded_too(network, images, predicted):
    model, judge = network(seed=0), nn.Sequential(nn.BatchNorm2d(3), network(seed=1)).eval()
    labels, order = predicted(judge, images), {"stop_when_fooled": True, "fooled_by": judge, **ORDER}
    expected, means = craft("pgd", model, images, labels, **order), judge[0].running_mean.clone()
    judge.train()
    judge[0].weight.grad = torch.ones(3)
    seen = []

    def watch(module, given, output):
        seen.append((module.training, any(one.requires_grad or one.grad is not None for one in module.parameters())))

    handles = [module.register_forward_hook(watch) for module in judge.modules()]
    found = craft("pgd", model, images, labels, **order)
    for handle in handles:
        handle.remove()
    assert set(seen) == {(False, False)}
    assert torch.equal(found, expected)
    assert torch.equal(judge[0].running_mean, means)
    assert all(module.training for module in judge.modules())
    assert all(one.requires_grad for one in judge.parameters())
    assert torch.equal(judge[0].weight.grad, torch.ones(3))


def test_no_images_give_no_images(network):
    found = craft("pgd", network(), torch.zeros(0, 3, 12, 12), torch.zeros(0, dtype=torch.int64), **ORDER)
    assert found.shape == (0, 3, 12, 12)


@pytest.mark.parametrize("name", ["pgd", "fab", "square"])
def test_attacks_run_where_gradients_are_off(network, images, predicted, name):
    model = network()
    labels = predicted(model, images)
    expected = craft(name, model, images, labels, **ORDER)
    with torch.no_grad():
        assert torch.equal(craft(name, model, images, labels, **ORDER), expected)
    with torch.inference_mode():
        assert torch.equal(craft(name, model, images.clone(), labels.clone(), **ORDER), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"eps": 8}, "eps = 8"),
        ({"eps": -0.1}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"step_size": -1}, "step_size"),
        ({"step_size": float("inf")}, "step_size"),
        ({"steps": 0}, "steps = 0"),
        ({"queries": 0}, "queries = 0"),
    ],
)
def test_options_out_of_range_are_refused(network, images, change, said):
    with pytest.raises(UserError, match="attack 'pgd'") as caught:
        craft("pgd", network(), images, torch.zeros(12, dtype=torch.int64), **{**ORDER, **change})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.zeros(2, 12, 12), torch.zeros(2, dtype=torch.int64), "N, C, H, W"),
        (torch.zeros(2, 3, 12, 12), torch.zeros(2), "int64"),
        (torch.zeros(2, 3, 12, 12), torch.zeros(3, dtype=torch.int64), "labels"),
        (torch.zeros(2, 3, 12, 12), torch.tensor([0, 4]), "4 classes"),
        (torch.zeros(2, 3, 12, 12), torch.tensor([0, -1]), "from -1"),
        (torch.full((2, 3, 12, 12), float("nan")), torch.zeros(2, dtype=torch.int64), "nan"),
    ],
)
def test_malformed_images_and_labels_are_refused(network, images, labels, said):
    with pytest.raises(UserError) as caught:
        craft("pgd", network(), images, labels, **ORDER)
    assert said in str(caught.value)


def test_a_model_that_returns_no_logits_is_refused(images):
    with pytest.raises(UserError, match="logits"):
        craft("fgsm", nn.Identity(), images, torch.zeros(12, dtype=torch.int64), **ORDER)


class _Kernels(nn.Module):
    """As an int8 model: no parameters, no gradient, and its output comes from inference mode."""

    def forward(self, images):
        with torch.inference_mode():
            levels = (images * 127).round() / 127
            return 30 * levels.mean(dim=(2, 3))


@pytest.mark.parametrize("name", [name for name in QUICK if module.find(name).gradients and name[-1] != "T"])
def test_gradient_attack_on_int8_kernels_says_what_to_do(images, name):
    with pytest.raises(UserError, match="square"):
        craft(name, _Kernels(), images, torch.zeros(12, dtype=torch.int64), **ORDER)


@pytest.mark.parametrize("name", ["square", "torchattacks:Square", "torchattacks:OnePixel", "torchattacks:Pixle"])
def test_query_attack_works_on_int8_kernels(images, predicted, name):
    model = _Kernels()
    labels = predicted(model, images)
    found = craft(name, model, images, labels, **{**ORDER, "queries": 200})
    check(images, found, EPS, "linf" if "quare" in name else None, name)
    assert int((predicted(model, found) != labels).sum()) > 0


def test_a_built_in_that_broke_its_budget_would_be_caught(network, images, monkeypatch):
    broken = Method(run=lambda model, images, labels, order: images + 0.5, summary="", options=tuple, ours=True)
    monkeypatch.setattr(module, "find", lambda name: broken)
    with pytest.raises(BudgetError):
        craft("pgd", network(), images * 0.4, torch.zeros(12, dtype=torch.int64), **ORDER)


def test_progress_is_reported_under_the_title(network, images):
    seen = []
    common.progress.show_with(lambda title, done, total: seen.append((title, done, total)))
    try:
        craft("fgsm", network(), images, torch.zeros(12, dtype=torch.int64), title="FGSM", **ORDER)
    finally:
        common.progress.show_with(None)
    assert seen == [("FGSM", 0, 1), ("FGSM", 1, 1)]


MASKED = ("fgsm", "pgd", "square")


@pytest.mark.parametrize("name", MASKED)
def test_masks_are_attacked_within_the_budget_and_without_a_trace(bright, grey, name):
    masks, before = (grey.sum(1) > 1.5).long(), states()
    found = craft(name, bright, grey, masks, **ORDER)
    assert 0 < float((found - grey).abs().max()) <= EPS + 1e-6
    assert states() == before
    assert bright.middle.grad is None
    assert torch.equal(craft(name, bright, grey, masks, **ORDER), found)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in MASKED])
def test_attacks_on_single_answers_refuse_masks(bright, grey, name):
    with pytest.raises(UserError, match="one class an image, not one a pixel; for segmentation use 'fgsm', 'pgd', "):
        craft(name, bright, grey, (grey.sum(1) > 1.5).long(), **ORDER)


def test_masks_that_do_not_fit_are_told(bright, linear, grey):
    masks = (grey.sum(1) > 1.5).long()
    with pytest.raises(UserError, match=r"labels must be int64 of shape \[8\] or \[8, 6, 6\]"):
        craft("pgd", bright, grey, masks[:, :3], **ORDER)
    with pytest.raises(UserError, match=r"logits \[N, classes, 6, 6\]; this one returns \(1, 2\)"):
        craft("pgd", linear, grey, masks, **ORDER)
    with pytest.raises(UserError, match=r"logits \[N, classes\]; this one returns \(1, 2, 6, 6\)"):
        craft("pgd", bright, grey, masks[:, 0, 0], **ORDER)
    with pytest.raises(UserError, match="labels run from 0 to 2, but the model has 2"):
        craft("pgd", bright, grey, masks * 2, **ORDER)
    with pytest.raises(UserError, match="stop_when_fooled needs one answer an image"):
        craft("pgd", bright, grey, masks, **ORDER, stop_when_fooled=True)


def test_a_users_attack_gets_the_masks(bright, grey, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def darker(model, images, labels, *, eps):\n    return images - eps * labels[:, None]\n")
    masks = (grey.sum(1) > 1.5).long()
    found = craft(f"{file}:darker", bright, grey, masks, **ORDER)
    torch.testing.assert_close(found, grey - EPS * masks[:, None])
