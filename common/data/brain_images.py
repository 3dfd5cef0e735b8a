"""Drawing synthetic brain slices with their masks: anatomy as smooth functions of position, many images at once.

Axial slices at the height of the deep nuclei, as a T1-weighted scan shows them. Only sums, products, quotients and
square roots of float32 numbers are used, so that every machine draws the same bytes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.drawing import Columns, Field, bump, halve, spread, step

UNIFORMS = 48
"""Uniform draws in [0, 1) that one image takes."""
GRIDS = (5, 7, 7, 20)
"""Sides of the coarse grids of normal draws behind an image's shading, crookedness (across, down) and folds."""
BACKGROUND, SKULL, GREY, WHITE, VENTRICLES, NUCLEI = range(6)

_Mask = NDArray[np.uint8]
_FLUID, _SCALP = 6, 7
"""Tissues that are drawn, but not told apart from the background in a mask."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where each point lies, [B, side, side]: in units of half the image, from its centre.

    Attributes:
        x, y: from the patient's right (-1) to left, from the front (-1) to the back, crooked as this brain is.
        head: depth below the skin.
    """

    x: Field
    y: Field
    head: Field


def draw(ages: Field, uniforms: Field, grids: tuple[Field, ...], noise: Field) -> tuple[NDArray[np.uint8], _Mask]:
    """Return images and masks, both uint8 [B, S, S]; a mask holds BACKGROUND, SKULL … NUCLEI.

    With age ventricles and furrows widen, the cortex thins, and grey and white matter come closer to each other. Air,
    scalp and the fluid around the brain are background. A pixel has the structure that covers most of it.

    Args:
        ages: float32 [B] in [0, 1]: 0 is a young adult, 1 a very old one.
        uniforms: [B, UNIFORMS] in [0, 1): pose, anatomy, contrast, exposure.
        grids: normal draws [B, g, g] for each g of GRIDS.
        noise: normal draws [B, S, S], one a pixel; S is the side of the images.
    """
    side = 2 * noise.shape[-1]
    shading, across, down, folds = (spread(grid, side) for grid in grids)
    column = Columns(uniforms)
    # People age differently: by up to a decade and a half either way.
    atrophy = np.clip(ages[:, None, None] + column(-0.2, 0.2), 0, 1)
    place = _place(column, across, down, side)
    skull, inside = _skull(column, place)
    ventricles = _ventricles(column, place, atrophy)
    nuclei = _nuclei(column, place, atrophy)
    fluid, grey = _cortex(column, place, folds, inside, atrophy)

    tissue = np.full(place.x.shape, BACKGROUND, dtype=np.uint8)
    tissue[place.head > 0] = _SCALP
    tissue[skull] = SKULL
    tissue[inside > 0] = WHITE
    tissue[(inside > 0) & grey] = GREY
    tissue[(inside > 0) & (nuclei > 0)] = NUCLEI
    tissue[(inside > 0) & fluid] = _FLUID
    tissue[(inside > 0) & (ventricles > 0)] = VENTRICLES

    image = halve(_brightness(column, tissue, place, ventricles, atrophy))
    gain = 1 + column(0.05, 0.16) * halve(shading)
    image = image * gain * column(0.88, 1.05) + column(0.015, 0.04) * noise
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), _most(tissue)


def _place(column: Columns, across: Field, down: Field, side: int) -> _Place:
    axis = ((np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - 1).astype(np.float32)
    x, y = axis[None, None, :] - column(-0.06, 0.06), axis[None, :, None] - column(-0.03, 0.03)
    half = column(-0.11, 0.11)  # tangent of half the angle by which the head is turned: no sine is needed
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    scale = column(0.93, 1.03)
    x, y = (cosine * x + sine * y) / scale, (cosine * y - sine * x) / scale
    crooked = column(0.02, 0.05)
    wide, long = column(0.76, 0.84) * (1 + column(0.04, 0.12) * y), column(0.91, 0.95)
    outline_x, outline_y = x + 0.4 * crooked * across, y + 0.4 * crooked * down
    head = 0.8 * (1 - np.sqrt((outline_x / wide) ** 2 + (outline_y / long) ** 2))
    return _Place(x + crooked * across, y + crooked * down, head)


def _skull(column: Columns, place: _Place) -> tuple[NDArray[np.bool_], Field]:
    """Return where bone is, and the depth below its inner side."""
    scalp, thick = column(0.035, 0.055), column(0.06, 0.085)
    bone = place.head - scalp
    return (bone > 0) & (bone <= thick), bone - thick


def _ventricles(column: Columns, place: _Place, atrophy: Field) -> Field:
    """Return how deep in a ventricle a point lies: a frontal and an occipital horn on either side, and the third."""
    away, y = np.abs(place.x), place.y
    largest = None
    # (front, back, from the middle at either end, half the width in youth, and what age adds)
    horns = (
        (column(-0.40, -0.34), column(-0.04, 0.02), 0.15, 0.035, 0.042, 0.065),
        (column(0.16, 0.22), column(0.48, 0.56), 0.13, 0.23, 0.038, 0.065),
        (column(-0.08, -0.04), column(0.14, 0.20), 0.0, 0.0, 0.016, 0.032),
    )
    for front, back, first, last, youth, growth in horns:
        along = (y - front) / (back - front)
        wide = (youth + growth * atrophy) * column(0.85, 1.15)
        middle = first + (last - first) * along + (0.4 * wide if first > 0 else 0)
        depth = wide * 4 * along * (1 - along) - np.abs(away - middle)
        if first > 0:  # both grow outwards, for a thin wall parts them
            depth = np.minimum(depth, away - 0.018)
        largest = depth if largest is None else np.maximum(largest, depth)
    assert largest is not None
    return largest


def _nuclei(column: Columns, place: _Place, atrophy: Field) -> Field:
    """Return what is positive inside the caudate, the lentiform nucleus and the thalamus of either side."""
    away, y = np.abs(place.x), place.y
    largest = None
    # (from the middle, from the centre, half as wide, half as long, lean outwards towards the back)
    for middle, centre, wide, long, lean in (
        (0.19, -0.22, 0.060, 0.115, -0.10),
        (0.34, -0.03, 0.085, 0.190, 0.25),
        (0.13, 0.10, 0.095, 0.140, 0.30),
    ):
        high = y - centre - column(-0.015, 0.015)
        size = column(0.92, 1.10) * (1 - 0.10 * atrophy)
        aside = away - middle - column(-0.01, 0.01) - 0.03 * atrophy - lean * high
        inner = 1 - (aside / (wide * size)) ** 2 - (high / (long * size)) ** 2
        largest = inner if largest is None else np.maximum(largest, inner)
    assert largest is not None
    return largest


def _cortex(
    column: Columns, place: _Place, folds: Field, inside: Field, atrophy: Field
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where fluid is, around the brain and in its furrows, and where grey matter would be if no fluid were."""
    away, y = np.abs(place.x), place.y
    depth = inside - (0.008 + 0.030 * atrophy) * column(0.7, 1.3)
    thick = (0.068 - 0.022 * atrophy) * column(0.9, 1.1)

    # Furrows follow the lines on which a random field is zero; over its slope, it tells the distance from them.
    step_x = np.zeros_like(folds)
    step_y = np.zeros_like(folds)
    half = np.float32(folds.shape[-1] / 4)  # two pixels are this part of a unit
    step_x[:, :, 1:-1] = (folds[:, :, 2:] - folds[:, :, :-2]) * half
    step_y[:, 1:-1] = (folds[:, 2:] - folds[:, :-2]) * half
    furrow = np.abs(folds) / np.sqrt(step_x * step_x + step_y * step_y + 1)
    reach = column(0.17, 0.23) + 0.04 * atrophy
    open_end = np.clip(1 - depth / reach, 0, 1)  # furrows end in white matter, narrower and narrower
    narrow = (0.004 + 0.024 * atrophy) * open_end
    furrow_grey = narrow + thick * np.minimum(3 * open_end, 1)

    # The fissure between the halves, and the one above each temple with the insula at its end.
    wide = 0.005 + 0.022 * atrophy
    ends = np.maximum(np.minimum(y - column(-0.46, -0.40), column(0.58, 0.64) - y), 0)
    middle = np.sqrt(away * away + ends * ends)
    temple, high = column(0.51, 0.56), column(-0.08, 0.0)
    slit = np.sqrt(np.maximum(temple - away, 0) ** 2 + (y - high + column(0.1, 0.6) * (away - temple)) ** 2)
    bowed = away - temple + 1.2 * (y - high) ** 2
    insula = np.sqrt(bowed * bowed + np.maximum(np.abs(y - high) - column(0.09, 0.13), 0) ** 2)
    fissure = np.minimum(np.minimum(middle, slit), insula)
    fluid = (depth < 0) | (furrow < narrow) | (fissure < wide)
    return fluid, (depth < thick) | (furrow < furrow_grey) | (fissure < wide + thick)


def _brightness(column: Columns, tissue: _Mask, place: _Place, ventricles: Field, atrophy: Field) -> Field:
    """Return how bright each point is, in [0, 1], before shading and noise."""
    grey, white = column(0.44, 0.50) + 0.03 * atrophy, column(0.70, 0.78) - 0.05 * atrophy
    fluid, marrow = column(0.10, 0.17), column(0.25, 0.55)
    levels: dict[int, Field] = {
        BACKGROUND: column(0.015, 0.03),
        GREY: grey,
        WHITE: white - 0.16 * atrophy * step(ventricles + 0.05, 0.05),  # old white matter fades around the ventricles
        VENTRICLES: fluid,
        NUCLEI: grey + column(0.35, 0.6) * (white - grey),
        _FLUID: fluid,
        _SCALP: column(0.72, 0.92),
        SKULL: 0.08 + marrow * bump(((place.head - 0.083) / 0.016) ** 2),
    }
    image = np.zeros(place.x.shape, dtype=np.float32)
    for number, level in levels.items():
        np.copyto(image, np.broadcast_to(level, image.shape), where=tissue == number)
    return image


def _most(tissue: _Mask) -> _Mask:
    """Return masks at half the side: of each square of four what most of them are, among equals the highest number."""
    structure = np.where(tissue >= _FLUID, np.uint8(BACKGROUND), tissue)
    four = np.stack(
        [structure[:, ::2, ::2], structure[:, 1::2, ::2], structure[:, ::2, 1::2], structure[:, 1::2, 1::2]]
    )
    best = np.zeros(four.shape[1:], dtype=np.uint8)
    most = np.zeros(four.shape[1:], dtype=np.uint8)
    for number in range(NUCLEI + 1):
        count = (four == number).sum(axis=0, dtype=np.uint8)
        best = np.where(count >= np.maximum(most, 1), np.uint8(number), best)
        most = np.maximum(most, count)
    return best
