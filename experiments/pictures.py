"""Test images beside their adversarial copies, as PNG that a page can hold."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageColor

from common.task import scores
from experiments.drawing import CLASSES
from experiments.run_files import Examples

SHOWN = 8
LONGEST_SIDE = 256
"""Larger images are shown smaller; the report stays a few hundred kB."""
TINT = 0.6
"""How much of a structure's colour lies over the image."""


@dataclass(frozen=True)
class Picture:
    """One test image: clean, its perturbation and the adversarial copy as ``data:`` addresses, with predictions."""

    clean: str
    perturbation: str
    adversarial: str
    label: str
    clean_prediction: str
    adversarial_prediction: str
    largest_change: float


@dataclass(frozen=True)
class MaskPicture:
    """One test image of a segmentation, its perturbation and copy, and three masks over them, as ``data:`` addresses.

    ``truth`` and ``clean_mask`` lie over the clean image, ``adversarial_mask`` over its copy; Dice is of this image.
    """

    clean: str
    perturbation: str
    adversarial: str
    truth: str
    clean_mask: str
    adversarial_mask: str
    clean_dice: float
    adversarial_dice: float
    largest_change: float


def pictures(examples: Examples, classes: list[str], budget: float) -> list[Picture]:
    """Return the first ``SHOWN`` examples.

    Args:
        budget: the perturbation that is drawn as black or white, in units of [0, 1]; no change is mid grey.
    """
    shown = []
    for clean, adversarial, label, before, after in zip(
        examples.clean[:SHOWN], examples.adversarial[:SHOWN], examples.labels, examples.clean_prediction,
        examples.adversarial_prediction, strict=False,
    ):  # fmt: skip
        change = adversarial - clean
        shown.append(
            Picture(
                clean=_address(clean),
                perturbation=_perturbation(change, budget),
                adversarial=_address(adversarial),
                label=classes[int(label)],
                clean_prediction=classes[int(before)],
                adversarial_prediction=classes[int(after)],
                largest_change=float(np.abs(change).max(initial=0)),
            )
        )
    return shown


def mask_pictures(examples: Examples, classes: list[str], budget: float) -> list[MaskPicture]:
    """Return the first ``SHOWN`` examples of a segmentation. ``budget`` as for ``pictures``."""
    truth, before, after = examples.labels, examples.clean_prediction, examples.adversarial_prediction
    dice = [
        scores(torch.from_numpy(found), torch.from_numpy(truth), len(classes)).tolist() for found in (before, after)
    ]
    return [
        MaskPicture(
            clean=_address(clean),
            perturbation=_perturbation(adversarial - clean, budget),
            adversarial=_address(adversarial),
            truth=_address(_tinted(clean, truth[number])),
            clean_mask=_address(_tinted(clean, before[number])),
            adversarial_mask=_address(_tinted(adversarial, after[number])),
            clean_dice=dice[0][number],
            adversarial_dice=dice[1][number],
            largest_change=float(np.abs(adversarial - clean).max(initial=0)),
        )
        for number, (clean, adversarial) in enumerate(
            zip(examples.clean[:SHOWN], examples.adversarial[:SHOWN], strict=True)
        )
    ]


def legend(classes: list[str]) -> list[tuple[str, str]]:
    """Return (structure's name, its colour in masks) for all but the background."""
    return [(name, CLASSES[number % len(CLASSES)]) for number, name in enumerate(classes[1:])]


def _tinted(image: npt.NDArray[np.float32], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return [3, H, W]: the image, in grey unless it has three channels, under the colours of a mask [H, W]."""
    under = image if len(image) == 3 else np.repeat(image.mean(axis=0, keepdims=True), 3, axis=0)
    palette = np.array([ImageColor.getrgb(colour) for colour in CLASSES], dtype=np.float32) / 255
    colours = palette[(mask - 1) % len(palette)].transpose(2, 0, 1)
    tinted: npt.NDArray[np.float32] = np.where(mask > 0, (1 - TINT) * under + TINT * colours, under).astype(np.float32)
    return tinted


def _perturbation(change: npt.NDArray[np.float32], budget: float) -> str:
    scale = budget if budget > 0 else 1.0
    return _address(np.clip(0.5 + change / (2 * scale), 0, 1))


def _address(image: npt.NDArray[np.float32]) -> str:
    """Return [C, H, W] in [0, 1] as a PNG ``data:`` address; neither 1 nor 3 channels: their mean."""
    if image.shape[0] not in (1, 3):
        image = image.mean(axis=0, keepdims=True)
    pixels = np.rint(image * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    if max(picture.size) > LONGEST_SIDE:
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    output = io.BytesIO()
    picture.save(output, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(output.getvalue()).decode()
