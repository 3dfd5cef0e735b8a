"""Loss and score of both tasks: by hand, by an independent count, and what Dice is whatever the masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from common.task import loss, mean_dice, scores, soft_dice, structure_dice

CLASSES = 4


def masks(seed: int, images: int = 3, side: int = 5) -> torch.Tensor:
    return torch.randint(0, CLASSES, (images, side, side), generator=torch.Generator().manual_seed(seed))


def test_classification_is_cross_entropy_and_right_or_wrong() -> None:
    logits = torch.tensor([[2.0, 0, -1], [0, 1, 3], [1, 1, 0]])
    labels = torch.tensor([0, 1, 2])
    assert loss(logits, labels).equal(cross_entropy(logits, labels))
    assert loss(logits, labels, reduction="sum").equal(cross_entropy(logits, labels, reduction="sum"))
    assert scores(logits.argmax(1), labels, 3).tolist() == [1, 0, 0]


def test_dice_by_hand() -> None:
    truth = torch.tensor([[[0, 1], [1, 2]]])
    found = torch.tensor([[[1, 1], [0, 2]]])
    dice = structure_dice(found, truth, CLASSES)
    assert dice[0, :3].tolist() == [0, 0.5, 1]
    assert torch.isnan(dice[0, 3])  # neither there nor found
    assert scores(found, truth, CLASSES).tolist() == [0.75]  # of classes 1 and 2


def test_nothing_there_and_nothing_found_is_right_and_something_found_is_not() -> None:
    nothing, something = torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([[[0, 3], [0, 0]]])
    assert scores(nothing, nothing, CLASSES).tolist() == [1]
    assert scores(something, nothing, CLASSES).tolist() == [0]


@given(st.integers(0, 99), st.integers(0, 99))
def test_dice_is_that_of_sets_of_pixels_symmetric_and_one_for_equal_masks(first: int, second: int) -> None:
    one, two = masks(first), masks(second)
    dice = structure_dice(one, two, CLASSES)
    for image in range(len(one)):
        for number in range(CLASSES):
            a, b = ({*np.flatnonzero(m[image].numpy().ravel() == number)} for m in (one, two))
            expected = 2 * len(a & b) / (len(a) + len(b)) if a or b else float("nan")
            assert dice[image, number].item() == pytest.approx(expected, nan_ok=True)
    assert torch.equal(dice.nan_to_num(-1), structure_dice(two, one, CLASSES).nan_to_num(-1))
    assert scores(one, one, CLASSES).tolist() == [1] * len(one)


def test_an_image_s_score_does_not_depend_on_the_others() -> None:
    one, two = masks(1, images=4), masks(2, images=4)
    singly = [scores(one[[n]], two[[n]], CLASSES).item() for n in range(4)]
    assert scores(one, two, CLASSES).tolist() == singly


def test_soft_dice_of_certain_answers_is_nearly_dice() -> None:
    one, two = masks(3, side=20), masks(4, side=20)
    certain = 100 * torch.nn.functional.one_hot(one, CLASSES).permute(0, 3, 1, 2).float()
    hard = mean_dice(structure_dice(one, two, CLASSES))
    assert soft_dice(certain, two).numpy() == pytest.approx(hard.numpy(), abs=0.01)
    assert loss(certain, one).item() == pytest.approx(0, abs=1e-6)


def test_a_record_s_loss_is_its_own() -> None:
    logits = torch.randn(3, CLASSES, 5, 5, generator=torch.Generator().manual_seed(0))
    truth = masks(5)
    singly = torch.stack([loss(logits[[n]], truth[[n]]) for n in range(3)])
    assert loss(logits, truth, reduction="sum").item() == pytest.approx(singly.sum().item(), rel=1e-6)
    assert loss(logits, truth).item() == pytest.approx(singly.mean().item(), rel=1e-6)


def test_the_loss_of_masks_is_cross_entropy_a_pixel_and_what_soft_dice_lacks() -> None:
    logits, truth = torch.zeros(1, 2, 2, 2), torch.tensor([[[0, 1], [1, 1]]])
    # All probabilities are 1/2: cross-entropy log 2; found 2 of class 1, true 3, both 1.5, one pixel of smoothing.
    expected = np.log(2) + 1 - (2 * 1.5 + 1) / (2 + 3 + 1)
    assert loss(logits, truth).item() == pytest.approx(expected)
