"""Scores of reconstructions, against closed forms and scipy's filters."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from experiments.inversion_scores import psnr, ranks, score, ssim


def drawn(count: int, seed: int = 0, channels: int = 1, size: int = 16) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def scipys_ssim(one: np.ndarray, other: np.ndarray) -> float:
    def local(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]

    mean, other_mean = local(one), local(other)
    variance, other_variance = local(one**2) - mean**2, local(other**2) - other_mean**2
    covariance = local(one * other) - mean * other_mean
    first = (2 * mean * other_mean + 1e-4) / (mean**2 + other_mean**2 + 1e-4)
    return float(np.mean(first * (2 * covariance + 9e-4) / (variance + other_variance + 9e-4)))


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_what_scipys_filters_give(channels: int) -> None:
    true = drawn(4, 1, channels, 20)
    found = (0.7 * true + 0.3 * drawn(4, 2, channels, 20)).clamp(0, 1)
    wanted = [
        np.mean([scipys_ssim(one.double().numpy(), other.double().numpy()) for one, other in zip(a, b, strict=True)])
        for a, b in zip(found, true, strict=True)
    ]
    np.testing.assert_allclose(ssim(found, true).numpy(), wanted, atol=1e-10)


def test_equal_images_are_alike() -> None:
    images = drawn(2)
    torch.testing.assert_close(ssim(images, images), torch.ones(2, dtype=torch.float64))
    assert psnr(images, images).tolist() == [160.0, 160.0]


@given(st.floats(0.01, 1))
def test_psnr_of_an_error_that_is_everywhere_the_same(error: float) -> None:
    found = psnr(torch.full((1, 1, 4, 4), error, dtype=torch.float64), torch.zeros(1, 1, 4, 4, dtype=torch.float64))
    assert found.item() == pytest.approx(-20 * np.log10(error))


@given(st.permutations(range(5)))
def test_reconstructions_are_assigned_whatever_their_order(order: list[int]) -> None:
    pool = drawn(9)
    found = (pool[order] + 0.02 * drawn(5, 3)).clamp(0, 1)
    scores = score(found, pool[:5], pool)
    assert scores.which.tolist() == order
    assert scores.rank.tolist() == [1] * 5
    assert float(scores.psnr.min()) > 30


def test_fewer_reconstructions_than_true_images_take_the_nearest_ones() -> None:
    pool = drawn(9)
    assert score(pool[[7, 2]], pool, pool).which.tolist() == [7, 2]


def test_a_rank_heeds_neither_brightness_nor_contrast_and_counts_those_that_are_nearer() -> None:
    pool = drawn(30)
    found = 0.2 + 0.5 * pool[4:5]
    assert ranks(found, pool[4:5], pool).tolist() == [1]
    assert ranks(1 - found, pool[4:5], pool).tolist() == [30]
    between = 0.6 * pool[4:5] + 0.4 * pool[5:6]
    assert ranks(between, pool[4:5], pool).tolist() == [1]
    assert ranks(between, pool[5:6], pool).tolist() == [2]
