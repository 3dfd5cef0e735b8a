import subprocess
import sys

import pytest
import torch
import torchattacks
from torch import nn

from attacks import library
from attacks.craft import craft
from attacks.method import Order
from common.errors import UserError

EPS, STEP = 8 / 255, 2 / 255
ORDER = {"eps": EPS, "step_size": STEP, "steps": 10, "seed": 1, "queries": 100}


def test_every_attack_of_torchattacks_is_supported_or_refused():
    theirs = {name for name in torchattacks.__all__ if isinstance(getattr(torchattacks, name), type)}
    assert {name.removeprefix(library.PREFIX) for name in library.names()} | set(library._REFUSED) == theirs


def test_what_is_said_to_be_untargeted_is(linear):
    for name in library.names():
        short = name.removeprefix(library.PREFIX)
        supported = getattr(torchattacks, short)(linear).supported_mode
        assert library.method(name).targeted == ("targeted" in supported), name


@pytest.mark.parametrize("name", ["torchattacks:LGV", "torchattacks:MultiAttack"])
def test_wrappers_are_refused_with_the_reason(name):
    with pytest.raises(UserError, match="cannot be run by name"):
        library.method(name)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'MIFGSM'"):
        library.method("torchattacks:MIFSGM")


def test_importing_the_attacks_imports_neither_torchattacks_nor_torchvision():
    code = "import sys, attacks.craft, attacks.poison, attacks.credibility, attacks.threats; " + (
        "print([name for name in ('torchattacks', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# FAB: the nearest boundary


def nearest(linear, images):
    return (linear.score(images).abs() / linear.weight.abs().sum()).detach()


def test_fab_is_within_a_quarter_of_the_nearest_boundary(linear, grey, predicted):
    labels = predicted(linear, grey)
    found = craft("fab", linear, grey, labels, **{**ORDER, "eps": 1.0})
    assert bool((predicted(linear, found) != labels).all())
    far = (found - grey).flatten(1).abs().amax(dim=1)
    assert bool((far <= 1.25 * nearest(linear, grey) + 1e-6).all())
    assert bool((far >= nearest(linear, grey) - 1e-6).all())


def test_fab_beyond_the_budget_comes_back_clean_or_projected(linear, grey, predicted):
    labels = predicted(linear, grey)
    eps = float(nearest(linear, grey).median())
    beyond = nearest(linear, grey) > eps
    within = nearest(linear, grey) * 1.25 < eps
    assert bool(beyond.any())
    assert bool(within.any())
    found = craft("fab", linear, grey, labels, **{**ORDER, "eps": eps})
    assert torch.equal(found[beyond], grey[beyond])
    assert bool((predicted(linear, found[within]) != labels[within]).all())
    moved = craft("fab", linear, grey, labels, project=True, **{**ORDER, "eps": eps})
    far = (moved - grey).flatten(1).abs().amax(dim=1)
    torch.testing.assert_close(far[beyond], torch.full_like(far[beyond], eps), atol=1e-6, rtol=0)
    assert torch.equal(moved[within], found[within])


def test_bare_fab_leaves_gradients_that_spoil_the_next_step_and_ours_does_not(network, images, predicted):
    model = network()
    labels = predicted(model, images)
    with torch.random.fork_rng(devices=[]):
        torchattacks.FAB(model, steps=2, n_classes=4)(images, labels)
    assert model.first.weight.grad is not None  # upstream's FAB-trained models learnt from this
    model.zero_grad()
    craft("fab", model, images, labels, **ORDER)
    assert model.first.weight.grad is None


@pytest.mark.parametrize("name", ["FAB", "Square", "APGD"])
def test_bare_attack_reseeds_the_global_generator_and_ours_does_not(network, images, predicted, name):
    model = network()
    labels = predicted(model, images)
    draws = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            getattr(torchattacks, name)(model, **({"n_queries": 50} if name == "Square" else {}))(images, labels)
            draws.append(float(torch.rand(1)))
    assert draws[0] == draws[1]  # noise drawn after it would be a constant: no privacy
    before = torch.get_rng_state()
    craft(f"torchattacks:{name}", model, images, labels, **ORDER)
    assert torch.equal(torch.get_rng_state(), before)


# Numbers of classes


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("name", ["fab", "square", "autoattack", "torchattacks:APGD"])
def test_attack_runs_on_any_number_of_classes(images, predicted, classes, name, monkeypatch):
    monkeypatch.setattr(library, "AUTOATTACK_STEPS", 5)
    monkeypatch.setattr(library, "AUTOATTACK_QUERIES", 30)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(432, classes))
    labels = predicted(model, images)
    found = craft(name, model, images, labels, **{**ORDER, "eps": 0.1})
    fooled = predicted(model, found) != labels
    assert int(fooled.sum()) > 0
    assert torch.equal(found[~fooled], images[~fooled])  # a failure is returned clean by all of these


def test_autoattack_leaves_out_what_the_number_of_classes_does_not_allow():
    assert library.autoattack_members(2) == ("APGD-CE", "FAB-T", "Square")
    assert library.autoattack_members(3) == ("APGD-CE", "APGD-DLR", "FAB-T", "Square")
    assert library.autoattack_members(4) == library.autoattack_members(10) == ("APGD-CE", "APGD-T", "FAB-T", "Square")


def test_autoattack_is_at_least_as_strong_as_pgd(network, images, predicted):
    model = network()
    labels = predicted(model, images)
    weak = predicted(model, craft("pgd", model, images, labels, **ORDER)) != labels
    strong = predicted(model, craft("autoattack", model, images, labels, **ORDER)) != labels
    assert int(strong.sum()) >= int(weak.sum())


@pytest.mark.parametrize("name", ["torchattacks:APGDT", "torchattacks:AutoAttack"])
@pytest.mark.parametrize("classes", [2, 3])
def test_attack_that_needs_four_classes_is_refused_with_fewer(network, images, name, classes):
    with pytest.raises(UserError, match="at least 4 classes"):
        craft(name, network(classes=classes), images, torch.zeros(12, dtype=torch.int64), **ORDER)


def test_the_models_own_number_of_classes_is_passed(linear):
    order = Order(eps=EPS, step_size=STEP, steps=3, queries=50, seed=1, classes=7)
    surface = library._Surface(linear, torch.device("cpu"))
    assert library._construct("FAB", surface, order).n_target_classes == 6
    assert library._construct("Square", surface, order).n_queries == 47
    assert not hasattr(library._construct("FGSM", surface, order), "alpha")  # upstream gave FGSM an alpha: TypeError


# Targets


@pytest.mark.parametrize("name", ["fgsm", "pgd", "fab", "square", "torchattacks:MIFGSM", "torchattacks:CW"])
def test_targeted_attack_heads_for_its_target(linear, grey, predicted, name, capsys):
    target = 1 - predicted(linear, grey)
    found = craft(name, linear, grey, target, targeted=True, **{**ORDER, "eps": 1.0, "step_size": 0.1, "queries": 300})
    towards = (linear.score(found) - linear.score(grey)).detach() * (2 * target - 1)
    assert bool((towards > 0).any())
    assert not bool((towards < -1e-5).any())
    assert capsys.readouterr().out == ""  # torchattacks prints when its mode changes


@pytest.mark.parametrize("name", ["autoattack", "torchattacks:APGD", "torchattacks:DeepFool"])
def test_untargeted_attack_refuses_a_target(linear, grey, name):
    with pytest.raises(UserError, match="which class to reach"):
        craft(name, linear, grey, torch.zeros(8, dtype=torch.int64), targeted=True, **ORDER)


# Other norms


@pytest.mark.parametrize("name", ["torchattacks:PGDL2", "torchattacks:PGDRSL2"])
def test_l2_attack_is_held_to_an_l2_budget(linear, grey, predicted, name):
    labels = predicted(linear, grey)
    found = craft(name, linear, grey, labels, **{**ORDER, "eps": 0.3, "step_size": 0.1})
    lengths = (found - grey).flatten(1).norm(dim=1)
    assert float(lengths.max()) <= 0.3 + 1e-6
    assert float(lengths.min()) > 0.29


@pytest.mark.parametrize("name", ["torchattacks:CW", "torchattacks:DeepFool"])
def test_minimal_l2_attack_is_held_to_an_l2_budget(linear, grey, predicted, name):
    labels = predicted(linear, grey)
    optimum = (linear.score(grey).abs() / linear.weight.norm()).detach()
    found = craft(name, linear, grey, labels, **{**ORDER, "eps": 3.0, "steps": 50})
    lengths = (found - grey).flatten(1).norm(dim=1)
    assert bool((lengths > 0).any())
    eps = float(optimum.median())
    small = craft(name, linear, grey, labels, **{**ORDER, "eps": eps, "steps": 50})
    assert float((small - grey).flatten(1).norm(dim=1).max()) <= eps + 1e-6


# Models that torchattacks cannot handle by itself


class _Constant(nn.Module):
    """Its input gradient is exactly zero, as that of a saturated model."""

    def forward(self, images):
        return torch.stack([0 * images.flatten(1).sum(dim=1) + 1, 0 * images.flatten(1).sum(dim=1)], dim=1)


def test_bare_attack_stumbles_over_a_model_without_parameters(grey):
    with pytest.raises(StopIteration):
        torchattacks.PGD(_Constant())
    craft("torchattacks:PGD", _Constant(), grey, torch.zeros(8, dtype=torch.int64), **ORDER)


@pytest.mark.parametrize("name", [name for name in library.names() if not name.endswith(("APGDT", "AutoAttack"))])
def test_zero_gradients_never_become_nan(grey, name):
    found = craft(name, _Constant(), grey, torch.zeros(8, dtype=torch.int64), **{**ORDER, "steps": 2, "queries": 10})
    assert bool(torch.isfinite(found).all())


def test_square_stays_within_its_queries(linear, grey, predicted):
    labels = predicted(linear, grey)
    seen = []
    handle = linear.register_forward_hook(lambda module, given, output: seen.append(len(given[0])))
    craft("square", linear, grey[:1], labels[:1], **{**ORDER, "eps": 1e-4, "queries": 50})
    handle.remove()
    probes = 5  # for the shape of its answer, the batches and thrice the layout: once for all the images
    assert len(seen) - probes <= 50


def test_real_int8_kernels_are_attacked_by_queries_only(images):
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 2)).eval()
    prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), (images,))
    prepared(images)
    kernels = convert_fx(prepared)
    with torch.no_grad():
        labels = kernels(images).argmax(dim=1)
    with pytest.raises(UserError, match="int8"):
        craft("pgd", kernels, images, labels, **ORDER)
    found = craft("square", kernels, images, labels, **{**ORDER, "eps": 0.1})
    with torch.no_grad():
        assert int((kernels(found).argmax(dim=1) != labels).sum()) > 0


def test_a_library_attack_that_fails_is_named(network):
    # Input diversity assumes square images.
    oblong = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(720, 2))
    with pytest.raises(UserError, match="attack 'torchattacks:DIFGSM' failed on this model"):
        craft("torchattacks:DIFGSM", model, oblong, torch.zeros(2, dtype=torch.int64), **{**ORDER, "steps": 50})
