"""Test images beside their adversarial copies, as PNG that a page can hold."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from experiments.run_files import Examples

SHOWN = 8
LONGEST_SIDE = 256
"""Larger images are shown smaller; the report stays a few hundred kB."""


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


def pictures(examples: Examples, classes: list[str], budget: float) -> list[Picture]:
    """Return the first ``SHOWN`` examples.

    Args:
        budget: the perturbation that is drawn as black or white, in units of [0, 1]; no change is mid grey.
    """
    scale = budget if budget > 0 else 1.0
    shown = []
    for clean, adversarial, label, before, after in zip(
        examples.clean[:SHOWN], examples.adversarial[:SHOWN], examples.labels, examples.clean_prediction,
        examples.adversarial_prediction, strict=False,
    ):  # fmt: skip
        change = adversarial - clean
        shown.append(
            Picture(
                clean=_address(clean),
                perturbation=_address(np.clip(0.5 + change / (2 * scale), 0, 1)),
                adversarial=_address(adversarial),
                label=classes[int(label)],
                clean_prediction=classes[int(before)],
                adversarial_prediction=classes[int(after)],
                largest_change=float(np.abs(change).max(initial=0)),
            )
        )
    return shown


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
