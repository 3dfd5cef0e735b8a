"""Laws of the drawn X-rays."""

import hashlib

import numpy as np
import pytest

from common.data import phantom
from common.data.phantom_images import GRIDS, NORMAL, UNIFORMS, draw


def drawn(size: int, count: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    part = phantom.part(seed, "train", count, size)
    return part.read(np.arange(count))[:, 0], part.strata


@pytest.mark.parametrize("size", [28, 29, 32, 64, 96, 224])
def test_any_size_is_drawn_and_uses_the_grey_scale(size: int) -> None:
    images, _ = drawn(size, 6)
    assert images.shape == (6, size, size)
    assert images.dtype == np.uint8
    for image in images:
        assert 25 < image.std() < 90
        assert image.max() > 130
        assert image.min() < 40


def test_the_same_seed_draws_the_same_bytes_on_every_machine() -> None:
    # if this fails because the drawing was changed on purpose, raise PHANTOM.drawing with it
    images, labels = drawn(32, 30)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "9edb926b673c0ea9bfbd19616e58f0a2418a91d9767c89d0178355300752f922"


def test_the_anatomy_does_not_depend_on_the_size() -> None:
    small, large = drawn(32)[0].astype(float), drawn(128)[0].astype(float)
    reduced = large.reshape(12, 32, 4, 32, 4).mean(axis=(2, 4))
    for mine, own in zip(small, reduced, strict=True):
        assert np.corrcoef(mine.ravel(), own.ravel())[0, 1] > 0.95


def test_disease_only_ever_adds_density_and_only_in_the_lungs() -> None:
    generator = np.random.default_rng(0)
    uniforms = generator.random((1, UNIFORMS), dtype=np.float32).repeat(3, axis=0)
    grids = tuple(generator.standard_normal((1, g, g), dtype=np.float32).repeat(3, axis=0) for g in GRIDS)
    noise = np.zeros((3, 64, 64), dtype=np.float32)
    healthy, focal, diffuse = draw(np.arange(3), uniforms, grids, noise).astype(int)
    for sick in (focal, diffuse):
        assert (sick >= healthy).all()
        assert (sick > healthy + 10).sum() > 30
        assert (sick[:, :3] == healthy[:, :3]).all()
        assert (sick[-6:] == healthy[-6:]).all()
    assert (diffuse > healthy).sum() > (focal > healthy).sum()


def test_diffuse_opacities_reach_both_lungs() -> None:
    images, labels = drawn(64, 300)
    lungs = images[:, 16:44].astype(float)
    for columns in (slice(12, 24), slice(40, 52)):
        level = lungs[:, :, columns].mean(axis=(1, 2))
        assert level[labels == 2].mean() > level[labels == NORMAL].mean() + 8


def test_no_two_images_are_alike() -> None:
    images, _ = drawn(28, 400)
    assert len({image.tobytes() for image in images}) == 400
