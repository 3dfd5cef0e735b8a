"""The square attack on masks: its terms, against a model whose weakest pixels are known."""

import pytest
import torch
from torch import Tensor, nn

from attacks.craft import craft
from attacks.square import _side, square
from common.task import scores

EPS = 30 / 255


class Threshold(nn.Module):
    """Class 1 where a pixel is brighter than a half."""

    def forward(self, images: Tensor) -> Tensor:
        light = 10 * (images.mean(1) - 0.5)
        return torch.stack([-light, light], dim=1)


@pytest.fixture
def images() -> Tensor:
    # Left of the middle 20 levels from the edge, within reach; right of it 60 levels, out of reach.
    halves = torch.tensor([107, 147, 67, 187], dtype=torch.uint8).repeat_interleave(4)
    return halves.expand(3, 1, 16, 16).clone()


@pytest.fixture
def masks(images: Tensor) -> Tensor:
    return (images[:, 0] > 127).long()


def dice(images: Tensor, masks: Tensor) -> float:
    return float(scores(Threshold()(images).argmax(1), masks, 2).mean())


def test_it_lowers_dice_within_the_budget_and_more_queries_lower_it_more(images: Tensor, masks: Tensor) -> None:
    few, many = (
        craft("square", Threshold(), images, masks, eps=EPS, step_size=0, steps=1, queries=queries, seed=1)
        for queries in (5, 200)
    )
    clean = images.float() / 255
    assert float((many - clean).abs().max()) <= EPS + 1e-6
    assert dice(clean, masks) == 1
    assert dice(many, masks) < dice(few, masks) < 1
    assert torch.equal(Threshold()(many).argmax(1)[..., 8:], masks[..., 8:])  # nothing reaches the right half


def test_so_many_queries_are_spent_on_an_image(images: Tensor, masks: Tensor) -> None:
    seen = []

    class Counting(Threshold):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    square(Counting(), images.float() / 255, masks, eps=EPS, queries=17, seed=1)
    assert seen == [3] * 17


def test_the_same_seed_gives_the_same_images_and_targets_are_approached(images: Tensor, masks: Tensor) -> None:
    clean = images.float() / 255
    first, again, other = (square(Threshold(), clean, masks, eps=EPS, queries=20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    wanted = 1 - masks
    reached = square(Threshold(), clean, wanted, eps=EPS, queries=100, seed=1, targeted=True)
    assert dice(reached, wanted) > dice(clean, wanted) == 0


def test_squares_shrink_from_most_of_the_image_to_a_pixel() -> None:
    sides = [_side(spent / 100, 32, 32) for spent in range(101)]
    assert sides == sorted(sides, reverse=True)
    assert (sides[0], sides[-1]) == (29, 1)
    assert _side(0, 4, 100) == 4
