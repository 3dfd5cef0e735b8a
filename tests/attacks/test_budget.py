import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks.budget import BudgetError, allowed, check, distance, project
from common.errors import UserError

CLEAN = torch.full((2, 1, 3, 3), 0.5)


def test_distances_are_the_norms():
    changed = CLEAN.clone()
    changed[0, 0, 0, 0] += 0.3
    changed[0, 0, 1, 1] -= 0.4
    torch.testing.assert_close(distance(CLEAN, changed, "linf"), torch.tensor([0.4, 0.0]))
    torch.testing.assert_close(distance(CLEAN, changed, "l2"), torch.tensor([0.5, 0.0]))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@given(eps=st.floats(0, 1), seed=st.integers(0, 1000))
def test_projection_lands_within_the_budget_and_range(norm, eps, seed):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(3, 1, 4, 4, generator=generator)
    projected = project(clean, torch.rand(3, 1, 4, 4, generator=generator), eps, norm)
    check(clean, projected, eps, norm, "x")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_keeps_what_is_within(norm):
    changed = CLEAN + 0.01
    torch.testing.assert_close(project(CLEAN, changed, 0.5, norm), changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("no tensor", "str"),
        (CLEAN[:1], "shape"),
        ((CLEAN * 255).to(torch.uint8), "float"),
        (CLEAN * float("nan"), "NaN"),
        (CLEAN + float("inf"), "NaN or infinite"),
        (CLEAN - 0.75, "-0.25"),
        (CLEAN + 0.75, "1.25"),
        (CLEAN + 0.02, "over the budget"),
    ],
)
def test_what_is_not_legal_is_refused_by_name(changed, said):
    with pytest.raises(BudgetError, match="attack 'mine'") as caught:
        check(CLEAN, changed, 0.01, "linf", "mine")
    assert said in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_rounding_is_forgiven_and_mended():
    # torchattacks 3.4.0 raised on -3e-8.
    black = torch.zeros(1, 1, 2, 2)
    assert torch.equal(check(black, black - 3e-8, 0.1, "linf", "x"), black)
    check(CLEAN, CLEAN + 0.1 + 5e-7, 0.1, "linf", "x")
    assert allowed(0.1, "linf") < 0.1 + 2e-6


def test_l2_budget_is_of_the_whole_image():
    changed = CLEAN + 0.1  # length 0.3 over nine values
    check(CLEAN, changed, 0.31, "l2", "x")
    with pytest.raises(BudgetError, match="L2"):
        check(CLEAN, changed, 0.29, "l2", "x")


def test_no_budget_checks_the_range_only():
    check(CLEAN, CLEAN + 0.5, 0.0, None, "x")
    with pytest.raises(BudgetError):
        check(CLEAN, CLEAN + 0.6, 1.0, None, "x")
