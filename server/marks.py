"""Marks: how well a model answered, image by image, whatever its task."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from common.intervals import student, wilson
from common.task import mean_dice, structure_dice
from server.score import Images, batches_of_logits, logits_of

_PIXELS = 2**19
"""Pixels of a batch of segmentation, whose network answers for each of them."""


@dataclass(frozen=True, eq=False)
class Marks:
    """How well a model answered on some images.

    Attributes:
        scores: float64 [N] in [0, 1]: 1 for the right class, else 0; for segmentation mean Dice, see ``common.task``.
        logits: float32 [N, K]; None for segmentation, which has K a pixel: they are not kept.
        structures: the Dice of each class, float64 [N, K], NaN where it is neither there nor found; None for
            classification.
        finite: whether all logits were finite numbers.
    """

    scores: np.ndarray
    logits: np.ndarray | None = None
    structures: np.ndarray | None = None
    finite: bool = True

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def mean(self) -> float:
        """The accuracy, or the mean Dice over the images."""
        return float(self.scores.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean: Wilson's for right and wrong, Student's over the images for Dice."""
        return wilson(self.mean, len(self)) if self.structures is None else over_images(self.scores)

    def take(self, index: np.ndarray) -> "Marks":
        """Return the marks of the images at ``index``."""
        logits, structures = (None if part is None else part[index] for part in (self.logits, self.structures))
        return replace(self, scores=self.scores[index], logits=logits, structures=structures)


def over_images(scores: np.ndarray) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of scores in [0, 1], cut to that; (0, 1) for a single image."""
    low, high = student(scores.tolist()) or (0.0, 1.0)
    return max(0.0, low), min(1.0, high)


def marks_of(model: nn.Module | Callable[[Tensor], Tensor], images: Images, labels: np.ndarray | Tensor) -> Marks:
    """Return how well the model answers on each image; of segmentation no more than a batch's logits is ever held.

    Args:
        model: as for ``server.score.logits_of``; for segmentation its logits are [N, K, H, W].
        images: uint8, or float32 in [0, 1].
        labels: [N], or masks [N, H, W], of any integer type.
    """
    if labels.ndim == 1:
        logits = logits_of(model, images)
        sound = np.isfinite(logits).all(1)  # an answer that is no number is wrong, whatever its first class is
        right = ((logits.argmax(1) == np.asarray(labels)) & sound).astype(np.float64)
        return Marks(right, logits, finite=bool(sound.all()))
    size = max(1, min(128, _PIXELS // int(np.prod(labels.shape[1:]))))
    dice, finite = [], []
    for number, some in enumerate(batches_of_logits(model, images, size)):
        masks = torch.from_numpy(np.array(labels[number * size : number * size + len(some)], dtype=np.int64))
        dice.append(structure_dice(some.argmax(1), masks, some.shape[1]))
        finite.append(bool(torch.isfinite(some).all()))
    structures = torch.cat(dice)
    return Marks(mean_dice(structures).numpy(), structures=structures.numpy(), finite=all(finite))


def worst(first: Marks, others: "list[tuple[np.ndarray, Marks]]") -> Marks:
    """Return for each image the marks under which its score is lowest; the earlier ones count where it is the same.

    Args:
        first: of N images; doing nothing is an attack, too. Its logits are left out.
        others: (places among the N, int [M]; marks of the images there).
    """
    scores = first.scores.copy()
    structures = None if first.structures is None else first.structures.copy()
    for index, marks in others:
        lower = marks.scores < scores[index]
        scores[index[lower]] = marks.scores[lower]
        if structures is not None and marks.structures is not None:
            structures[index[lower]] = marks.structures[lower]
    return Marks(scores, structures=structures)


def over_repeats(repeats: "list[Marks]") -> Marks:
    """Return each image's mean over marks of the same images; a structure that one of them lacks, it lacks."""
    structures = [marks.structures for marks in repeats if marks.structures is not None]
    return Marks(
        np.mean([marks.scores for marks in repeats], axis=0),
        structures=np.mean(structures, axis=0) if structures else None,
    )
