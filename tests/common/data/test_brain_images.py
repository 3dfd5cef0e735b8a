"""Laws of the drawn brains."""

import hashlib

import numpy as np
import pytest

from common.data import brain
from common.data.brain_images import (
    BACKGROUND,
    GREY,
    GRIDS,
    NUCLEI,
    SKULL,
    UNIFORMS,
    VENTRICLES,
    WHITE,
    _most,
    draw,
)

Drawn = tuple[np.ndarray, np.ndarray]


def drawn(size: int, count: int = 14, seed: int = 0) -> Drawn:
    part = brain.part(seed, "train", count, size)
    assert part.read_masked is not None
    images, masks = part.read_masked(np.arange(count))
    return images[:, 0], masks


def aged(age: float, size: int = 64, count: int = 24, *, noise: float = 0.0) -> Drawn:
    """The same people, all of one age."""
    generator = np.random.default_rng(0)
    uniforms = generator.random((count, UNIFORMS), dtype=np.float32)
    grids = tuple(generator.standard_normal((count, side, side), dtype=np.float32) for side in GRIDS)
    grain = np.float32(noise) * generator.standard_normal((count, size, size), dtype=np.float32)
    return draw(np.full(count, age, dtype=np.float32), uniforms, grids, grain)


def share(masks: np.ndarray, *structures: int) -> float:
    """Of the brain with its ventricles."""
    inside = np.isin(masks, (GREY, WHITE, VENTRICLES, NUCLEI)).sum()
    return float(np.isin(masks, structures).sum() / inside)


@pytest.mark.parametrize("size", [32, 33, 64, 224])
def test_any_size_is_drawn_with_every_structure(size: int) -> None:
    images, masks = drawn(size, 5)
    assert images.shape == masks.shape == (5, size, size)
    assert images.dtype == masks.dtype == np.uint8
    for image, mask in zip(images, masks, strict=True):
        assert set(np.unique(mask)) == set(range(6))
        assert image.max() > 130
        assert image.min() < 12
        assert 0.3 < (mask != BACKGROUND).mean() < 0.75


def test_the_same_seed_draws_the_same_bytes_on_every_machine() -> None:
    # if this fails because the drawing was changed on purpose, raise BRAIN.drawing with it
    images, masks = drawn(32, 28)
    digest = hashlib.sha256(images.tobytes() + masks.tobytes()).hexdigest()
    assert digest == "06e9a4e2ff995364f32337f65fd7f8d666d21aa2a5e5c46292a39c0c5291e917"


def test_the_anatomy_does_not_depend_on_the_size() -> None:
    small, large = drawn(32), drawn(128)
    reduced = large[0].astype(float).reshape(14, 32, 4, 32, 4).mean(axis=(2, 4))
    for mine, own in zip(small[0].astype(float), reduced, strict=True):
        assert np.corrcoef(mine.ravel(), own.ravel())[0, 1] > 0.95
    centres = large[1][:, 2::4, 2::4]
    assert (centres == small[1]).mean() > 0.85


def test_age_widens_the_ventricles_and_thins_the_cortex() -> None:
    young, middle, old = (aged(age)[1] for age in (0.0, 0.5, 1.0))
    assert share(old, VENTRICLES) > 1.5 * share(young, VENTRICLES)
    assert share(young, VENTRICLES) < share(middle, VENTRICLES) < share(old, VENTRICLES)
    assert share(old, GREY) < share(middle, GREY) < share(young, GREY)
    # only pixels half of which are bone differ: what lies beside it is grey in youth, and fluid in age
    assert (young == SKULL).sum() == pytest.approx((old == SKULL).sum(), rel=0.03)


def test_age_takes_contrast() -> None:
    def contrast(age: float) -> float:
        images, masks = aged(age)
        return float(np.median(images[masks == WHITE]) - np.median(images[masks == GREY]))

    assert contrast(1.0) + 8 < contrast(0.0)


def test_structures_are_as_bright_as_in_a_t1_weighted_scan() -> None:
    images, masks = aged(0.3)
    level = [float(np.median(images[masks == number])) for number in range(6)]
    assert level[BACKGROUND] < level[VENTRICLES] < level[GREY] < level[NUCLEI] < level[WHITE]
    assert level[SKULL] < level[GREY]


def test_the_skull_closes_around_the_brain() -> None:
    for mask in drawn(64)[1]:
        rows, columns = np.nonzero(np.isin(mask, (GREY, WHITE, VENTRICLES, NUCLEI)))
        for row, column in zip(rows[::17], columns[::17], strict=True):
            for ray in (mask[row, :column], mask[row, column:], mask[:row, column], mask[row:, column]):
                assert (ray == SKULL).any()


def test_a_mask_s_pixel_is_what_most_of_it_is() -> None:
    scalp = 7  # background to a mask
    tissue = np.array([[[1, 1, 2, 3], [1, 3, 3, 2], [0, scalp, 5, 5], [4, scalp, 4, 4]]], dtype=np.uint8)
    assert _most(tissue).tolist() == [[[1, 3], [0, 5]]]


def test_no_two_images_are_alike() -> None:
    images, _ = drawn(32, 200)
    assert len({image.tobytes() for image in images}) == 200
