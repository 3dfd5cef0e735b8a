import numpy as np
import pytest
import torch
from torch import Tensor, nn

import server.marks
from common.intervals import student, wilson
from common.task import scores
from server.marks import Marks, marks_of, over_images, over_repeats, worst


class Three(nn.Module):
    """Three classes of a pixel by its brightness; of an image by its mean."""

    def __init__(self, masks: bool) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, images: Tensor) -> Tensor:
        light = images[:, 0] if self.masks else images.mean(dim=(1, 2, 3))
        return torch.stack([-((light - middle) ** 2) for middle in (0.0, 0.5, 1.0)], dim=1)


IMAGES = np.random.default_rng(0).choice(np.array([0, 128, 255], np.uint8), (9, 1, 8, 8))


def test_one_class_an_image_is_right_or_wrong_with_wilson_s_interval() -> None:
    labels = np.array([1] * 6 + [0] * 3)
    marks = marks_of(Three(masks=False), IMAGES, labels)
    assert marks.scores.tolist() == [1] * 6 + [0] * 3
    assert marks.logits is not None
    assert marks.logits.shape == (9, 3)
    assert (marks.mean, marks.interval) == (6 / 9, wilson(6 / 9, 9))
    assert marks.finite


def test_masks_have_dice_with_student_s_interval_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.random.default_rng(1).integers(0, 3, (9, 8, 8)).astype(np.uint8)
    whole = marks_of(Three(masks=True), IMAGES, truth)
    monkeypatch.setattr(server.marks, "_PIXELS", 2 * 64)
    marks = marks_of(Three(masks=True), IMAGES, truth)
    assert marks.scores.tolist() == whole.scores.tolist()
    found = torch.from_numpy((IMAGES[:, 0] // 127).astype(np.int64))
    expected = scores(found, torch.from_numpy(truth.astype(np.int64)), 3)
    assert marks.scores == pytest.approx(expected.numpy())
    assert marks.logits is None
    assert marks.structures is not None
    assert marks.structures.shape == (9, 3)
    assert marks.interval == student(marks.scores.tolist())


@pytest.mark.parametrize("masks", [False, True])
def test_numbers_that_are_not_finite_are_noticed(masks: bool) -> None:
    class Broken(Three):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            logits[-1] = float("nan")
            return logits

    labels = np.zeros((9, 8, 8) if masks else 9, np.int64)
    assert not marks_of(Broken(masks), IMAGES, labels).finite


def test_an_interval_stays_within_what_a_score_can_be() -> None:
    assert over_images(np.array([0.98, 1.0, 1.0]))[1] == 1
    assert over_images(np.array([0.0, 0.0, 0.02]))[0] == 0
    assert over_images(np.array([0.5])) == (0, 1)  # a single image tells nothing


def marks(*scores: float) -> Marks:
    return Marks(np.array(scores), structures=np.array([(0.0, score, score) for score in scores]))


def test_the_worst_is_each_image_s_lowest_and_the_first_is_left_as_it_was() -> None:
    first = marks(0.9, 0.5, 0.7)
    found = worst(first, [(np.array([0, 2]), marks(0.6, 0.8)), (np.array([2]), marks(0.1))])
    assert found.scores.tolist() == [0.6, 0.5, 0.1]
    assert found.structures is not None
    assert found.structures[:, 1].tolist() == [0.6, 0.5, 0.1]
    assert first.scores.tolist() == [0.9, 0.5, 0.7]


def test_repeats_are_averaged_image_by_image() -> None:
    mean = over_repeats([marks(0.2, 0.4), marks(0.4, 0.8)])
    assert mean.scores == pytest.approx([0.3, 0.6])
    assert mean.structures is not None
    assert mean.structures[:, 2] == pytest.approx([0.3, 0.6])
    assert over_repeats([Marks(np.array([1.0])), Marks(np.array([0.0]))]).structures is None
