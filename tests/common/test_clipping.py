"""Clip factors and weighted sums, at any scale."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.clipping import Sums, add, add_weighted, clip_factors, row_norms, total_norms

NUMBERS = st.sampled_from([0.0, 1e-38, 1e-20, 1e-3, 1.0, 1e10, 9e17, 1.1e18, 1e19, 1e30, 3e38, math.inf, math.nan])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.lists(st.tuples(NUMBERS, st.booleans()), min_size=5, max_size=5), min_size=1, max_size=4),
    st.sampled_from([1e-6, 0.5, 1e3]),
)
def test_a_contribution_is_finite_and_within_the_clip_norm_at_any_scale(
    rows: list[list[tuple[float, bool]]], clip_norm: float
) -> None:
    gradients = torch.tensor([[-size if minus else size for size, minus in row] for row in rows]).view(-1, 5)
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 1))]
    for row in (*torch.split(gradients, 1), gradients):
        parts = [row[:, :3].clone(), row[:, 3:].unsqueeze(2).clone()]
        factors = clip_factors(torch.stack([row_norms(part) for part in parts], dim=1), clip_norm)
        sums: Sums = {}
        for parameter, part in zip(parameters, parts, strict=True):
            add_weighted(sums, parameter, part, factors)
        total = torch.cat([sums[parameter].flatten() for parameter in parameters]).double()
        assert total.isfinite().all()
        assert total.norm() <= len(row) * clip_norm * (1 + 1e-5)
        if len(row) == 1 and row.double().norm() < 1e18:
            expected = row[0].double() * min(1.0, clip_norm / max(row.double().norm().item(), 1e-300))
            assert torch.allclose(total, expected, rtol=1e-4, atol=2e-6 * clip_norm + 1e-6)


def test_factors_bring_norms_down_to_the_bound_and_leave_smaller_ones() -> None:
    norms = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert clip_factors(norms, 1.0).tolist() == pytest.approx([0.2, 1.0, 1.0], rel=1e-5)


@pytest.mark.parametrize("wild", [math.nan, math.inf, 1.01e18])
def test_a_record_counts_as_zero_where_one_parameter_overflows(wild: float) -> None:
    assert clip_factors(torch.tensor([[1.0, wild], [wild, 0.0], [1.0, 0.0]]), 1.0).tolist()[:2] == [0, 0]


@pytest.mark.parametrize("shape", [(4,), (), (3, 5), (2, 3, 3, 3)])
def test_norms_are_of_each_record(shape: tuple[int, ...]) -> None:
    rows = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([row.double().norm() for row in rows])
    torch.testing.assert_close(row_norms(rows), expected, rtol=1e-6, atol=0)
    assert row_norms(rows).dtype == torch.float64


def test_a_norm_over_a_million_numbers_is_exact_to_a_millionth() -> None:
    rows = torch.randn(2, 512, 4608, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(row_norms(rows), rows.double().flatten(1).norm(dim=1), rtol=5e-7, atol=0)


def test_total_norm_is_over_all_parameters() -> None:
    assert total_norms(torch.tensor([[3.0, 4.0]])).tolist() == [5.0]


def test_parts_add_up() -> None:
    parameter, sums = nn.Parameter(torch.zeros(2)), Sums()
    for _ in range(3):
        add(sums, parameter, torch.ones(2))
    assert sums[parameter].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 3_000_001])
def test_a_long_row_of_numbers_that_are_small_beside_the_first_is_measured_whole(count: int) -> None:
    row = torch.full((1, 1, count), 1.7e-4)
    row[0, 0, :64] = 1.0
    assert float(row_norms(row)) == pytest.approx(float(row.double().norm()), rel=1e-6)
