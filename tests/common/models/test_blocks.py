"""Laws of the parts that the networks share."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.errors import UserError
from common.models.blocks import Normalised, norm_groups


@given(factor=st.sampled_from([1, 2, 4, 8]))
def test_at_width_64_groups_are_the_papers(factor: int) -> None:
    channels = 64 * factor
    assert norm_groups(channels, 64) == math.gcd(32, channels) == min(32, channels)


@given(width=st.integers(4, 256), factor=st.sampled_from([1, 2, 4, 8]))
def test_groups_divide_the_channels_and_hold_at_least_two(width: int, factor: int) -> None:
    channels = width * factor
    groups = norm_groups(channels, width)
    assert channels % groups == 0
    assert channels // groups >= 2


@given(exponent=st.integers(2, 5), factor=st.sampled_from([1, 2, 4, 8]))
def test_a_narrow_network_keeps_the_channels_of_a_group(exponent: int, factor: int) -> None:
    width = 2**exponent
    assert factor * width // norm_groups(factor * width, width) == factor * 64 // norm_groups(factor * 64, 64)


def test_normalisation_is_channel_by_channel() -> None:
    model = Normalised(nn.Identity(), [0.5, 0.25], [0.5, 0.125], channels=2)
    images = torch.tensor([[[[1.0]], [[0.5]]], [[[0.0]], [[0.25]]]])
    assert model(images).flatten().tolist() == [1.0, 2.0, -1.0, 0.0]
    assert set(model.state_dict()) == {"mean", "std"}
    assert not list(model.parameters())


@pytest.mark.parametrize(
    ("mean", "std"),
    [([0.5], [0.2, 0.2]), ([0.5, 0.5], [0.2]), ([0.5, 0.5], [0.2, 0.0]), ([0.5, math.nan], [0.2, 0.2])],
)
def test_impossible_normalisation_is_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(UserError, match="normalisation"):
        Normalised(nn.Identity(), mean, std, channels=2)
