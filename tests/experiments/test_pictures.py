import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from experiments.pictures import LONGEST_SIDE, SHOWN, TINT, legend, mask_pictures, pictures
from experiments.run_files import Examples

EPS = 8 / 255


def examples(clean: np.ndarray, adversarial: np.ndarray) -> Examples:
    numbers = np.arange(len(clean)) % 2
    return Examples(clean.astype(np.float32), adversarial.astype(np.float32), numbers, numbers, 1 - numbers, {})


def decoded(address: str) -> np.ndarray:
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_no_change_is_mid_grey_and_the_whole_budget_is_black_or_white() -> None:
    clean = np.full((1, 1, 1, 3), 0.5)
    change = np.array([-EPS, 0, EPS]).reshape(1, 1, 1, 3)
    (shown,) = pictures(examples(clean, clean + change), ["a", "b"], EPS)
    assert decoded(shown.perturbation).tolist() == [[0, 128, 255]]
    assert shown.largest_change == pytest.approx(EPS, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_decodes_to_the_image(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, channels, 9, 7))
    shown = pictures(examples(pixels / 255, pixels / 255), ["a", "b"], EPS)
    for picture, image in zip(shown, pixels, strict=True):
        assert (np.atleast_3d(decoded(picture.clean)) == image.transpose(1, 2, 0)).all()


def test_labels_and_predictions_are_named() -> None:
    clean = np.zeros((2, 1, 4, 4))
    shown = pictures(examples(clean, clean), ["a", "b"], 0.0)
    named = [(p.label, p.clean_prediction, p.adversarial_prediction) for p in shown]
    assert named == [
        ("a", "a", "b"),
        ("b", "b", "a"),
    ]


def test_few_and_not_too_large_images_are_shown() -> None:
    clean = np.zeros((SHOWN + 3, 1, 600, 300))
    shown = pictures(examples(clean, clean), ["a", "b"], EPS)
    assert len(shown) == SHOWN
    assert decoded(shown[0].clean).shape == (LONGEST_SIDE, LONGEST_SIDE // 2)


def test_masks_lie_in_colour_over_the_image_and_the_background_in_none() -> None:
    clean = np.full((1, 1, 2, 2), 0.5)
    truth = np.array([[[0, 1], [2, 2]]])
    found = np.array([[[0, 1], [2, 0]]])
    masked = Examples(clean.astype(np.float32), clean.astype(np.float32), truth, truth, found, {})
    (shown,) = mask_pictures(masked, ["none", "a", "b"], EPS)
    over = decoded(shown.truth)
    assert over.shape == (2, 2, 3)
    assert over[0, 0].tolist() == [128, 128, 128]
    colours = dict(legend(["none", "a", "b"]))
    expected = [TINT * part + (1 - TINT) * 127.5 for part in ImageColor.getrgb(colours["a"])]
    assert over[0, 1] == pytest.approx(expected, abs=1)
    assert (over[1, 0] == over[1, 1]).all()
    assert (shown.clean_dice, shown.adversarial_dice) == (1, pytest.approx((1 + 2 / 3) / 2))
