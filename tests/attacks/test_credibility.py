import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import nn

from attacks.craft import craft
from attacks.credibility import (
    UNBOUNDED,
    Finding,
    Gradients,
    _more_often,
    check_budgets,
    check_gradients,
    check_single_step,
    check_unbounded,
    check_weaker_threat,
    is_credible,
    measure_gradients,
)
from common.errors import UserError

SHARES = st.floats(0, 1)
COUNTS = st.integers(1, 5000)


def severities(findings):
    return [finding.severity for finding in findings]


def test_a_query_attack_that_beats_white_box_is_flagged():
    (finding,) = check_weaker_threat("query", 0.30, 0.60, 200, target="int8")
    assert finding.severity == "unreliable"
    assert "int8: a query attack leaves 30.0 %" in finding.sentence
    assert "60.0 % of the same 200 images" in finding.sentence


def test_a_lead_within_chance_is_not_flagged():
    assert check_weaker_threat("transfer", 0.58, 0.60, 200) == ()


@given(accuracy=SHARES, white_box=SHARES, n=COUNTS)
def test_a_stronger_white_box_is_never_flagged(accuracy, white_box, n):
    low, high = sorted((accuracy, white_box))
    assert check_weaker_threat("query", high, low, n) == ()
    assert check_single_step(low, high, n) == ()


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_the_paired_test_is_the_exact_binomial(first, second):
    if first + second == 0:
        assert not _more_often(first, second)
    else:
        exact = binomtest(first, first + second, 0.5, alternative="greater").pvalue
        assert _more_often(first, second) == (exact < 0.025)


def test_the_paired_test_sees_what_the_unpaired_one_misses():
    assert check_weaker_threat("query", 0.55, 0.60, 200) == ()
    assert severities(check_weaker_threat("query", 0.55, 0.60, 200, only=(10, 0))) == ["unreliable"]
    assert check_weaker_threat("query", 0.55, 0.60, 200, only=(20, 10)) == ()


def test_pgd_weaker_than_fgsm_is_flagged():
    assert severities(check_single_step(pgd=0.5, fgsm=0.3, n=200)) == ["unreliable"]
    assert check_single_step(pgd=0.3, fgsm=0.5, n=200) == ()


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([(4 / 255, 0.5), (8 / 255, 0.3), (16 / 255, 0.0)], []),
        ([(16 / 255, 0.0), (4 / 255, 0.5), (8 / 255, 0.3)], []),
        ([(4 / 255, 0.5), (8 / 255, 0.5)], ["unreliable"]),
        ([(4 / 255, 0.5), (8 / 255, 0.7)], ["unreliable"]),
        ([(4 / 255, 0.5), (8 / 255, 0.2), (16 / 255, 0.4)], ["unreliable"]),
        ([(4 / 255, 0.5), (6 / 255, 0.5), (8 / 255, 0.3)], ["note"]),
        ([(4 / 255, 0.0), (8 / 255, 0.0)], []),
        ([(4 / 255, 0.01), (8 / 255, 0.01)], []),
        ([(4 / 255, 0.5)], []),
        ([], []),
    ],
)
def test_a_larger_budget_must_hurt_more(accuracies, expected):
    assert severities(check_budgets(accuracies, 200)) == expected


@given(accuracies=st.lists(SHARES, max_size=6), n=COUNTS)
def test_falling_accuracies_are_never_flagged(accuracies, n):
    falling = sorted(set(accuracies), reverse=True)
    assert check_budgets([(place / 255, value) for place, value in enumerate(falling, start=1)], n) == ()


@pytest.mark.parametrize(
    ("accuracy", "n", "flagged"), [(0, 200, False), (0.01, 200, False), (0.1, 200, True), (1, 5, True)]
)
def test_an_unbounded_attack_must_leave_nothing(accuracy, n, flagged):
    assert bool(check_unbounded(accuracy, n)) == flagged


def test_nothing_measured_nothing_flagged():
    assert check_unbounded(1.0, 0) == ()
    assert check_single_step(0.5, 0.1, 0) == ()


def test_vanishing_gradients_are_flagged_and_the_first_ones_noted():
    assert check_gradients(Gradients(0.0, 0.3, 0.0, 100)) == ()
    assert severities(check_gradients(Gradients(0.01, 0.3, 0.0, 100))) == ["note"]
    assert severities(check_gradients(Gradients(0.05, 0.3, 0.0, 100))) == ["unreliable"]
    assert severities(check_gradients(Gradients(0.0, 0.3, 0.5, 100))) == ["unreliable"]


def test_credible_means_nothing_unreliable():
    assert is_credible(())
    assert is_credible((Finding("note", "."),))
    assert not is_credible((Finding("note", "."), Finding("unreliable", ".")))


class _Saturated(nn.Module):
    """Scores bright images so high that the softmax rounds to 1, and ignores the left half."""

    def forward(self, images):
        bright = images[..., 3:].flatten(1).mean(dim=1)
        score = torch.where(bright > 0.5, 1e4 * bright, bright)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def test_gradients_are_measured_image_by_image():
    images = torch.full((10, 1, 6, 6), 0.4)
    images[:3] = 0.9
    measured = measure_gradients(_Saturated().train(), images, torch.ones(10, dtype=torch.int64))
    assert measured.n == 10
    assert measured.zero_images == pytest.approx(0.3)
    assert measured.zero_values == pytest.approx(0.3 + 0.7 * 0.5)
    assert measured.broken_images == 0


def test_measuring_leaves_no_trace(network, images):
    model = network().train()
    before = torch.get_rng_state()
    measured = measure_gradients(model, (images * 255).to(torch.uint8), torch.zeros(12, dtype=torch.int64))
    assert measured.zero_images == 0
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_without_gradients_cannot_be_measured(images):
    class Kernels(nn.Module):
        def forward(self, images):
            return images.detach().mean(dim=(2, 3))

    with pytest.raises(UserError, match="gradients"):
        measure_gradients(Kernels(), images, torch.zeros(12, dtype=torch.int64))


def test_the_unbounded_options_leave_nothing_of_an_ordinary_network(network, predicted):
    images = torch.rand(24, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for seed in range(3):
        model = network(classes=2, seed=seed)
        labels = predicted(model, images)
        found = craft("pgd", model, images, labels, seed=1, stop_when_fooled=True, **UNBOUNDED)
        assert check_unbounded(float((predicted(model, found) == labels).float().mean()), 24) == ()


def test_dice_is_called_so_and_fgsm_may_be_compared_image_by_image():
    (found,) = check_weaker_threat("query", 0.3, 0.4, 100, only=(80, 10), score="dice")
    assert "leaves a Dice of 30.0 % where white-box gradients leave 40.0 % on the same 100 images" in found.sentence
    (found,) = check_unbounded(0.4, 100, score="dice")
    assert "leaves a Dice of 40.0 % on 100 images" in found.sentence
    assert check_single_step(0.42, 0.4, 100) == ()
    assert check_single_step(0.42, 0.4, 100, only=(80, 10)) != ()
    assert check_single_step(0.42, 0.4, 100, only=(10, 9)) == ()
