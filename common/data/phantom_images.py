"""Drawing synthetic chest X-rays: anatomy as smooth functions of position, many images at once.

Only sums, products and quotients of float32 numbers are used, so that every machine draws the same bytes.
"""

import numpy as np
from numpy.typing import NDArray

from common.data.drawing import Columns, Field, bump, halve, spread, step

UNIFORMS = 64
"""Uniform draws in [0, 1) that one image takes."""
GRIDS = (6, 13, 22)
"""Sides of the coarse grids of normal draws behind an image's soft, patchy and reticular texture."""
NORMAL, BACTERIAL, VIRAL = 0, 1, 2


def draw(labels: NDArray[np.int64], uniforms: Field, grids: tuple[Field, ...], noise: Field) -> NDArray[np.uint8]:
    """Return images uint8 [B, S, S].

    Args:
        labels: [B] of NORMAL, BACTERIAL, VIRAL.
        uniforms: [B, UNIFORMS] in [0, 1): pose, anatomy, disease, exposure.
        grids: normal draws [B, g, g] for each g of GRIDS.
        noise: normal draws [B, S, S], one a pixel; S is the side of the images.
    """
    size = noise.shape[-1]
    oversampling = 2 if size < 96 else 1
    side = size * oversampling
    soft, patchy, reticular = (spread(grid, side) for grid in grids)
    column = Columns(uniforms)
    x, y = _pose(column, side)

    body, lungs, heart, dome = _organs(column, x, y)
    bones = _bones(column, x, y)
    disease = _disease(labels, column, x, y, lungs, soft, patchy, reticular)

    thickness = 1 - (x / 1.15) ** 2
    tissue = 0.30 + 0.28 * thickness + 0.10 * dome + 0.03 * soft
    clear = column(0.67, 0.74)
    air = lungs * (1 - 0.85 * heart)
    density = tissue * (1 - clear * air) + 0.06 * heart
    density = density + _markings(column, x, y, patchy, reticular) * air
    density = density + disease * (1 - 0.5 * heart)
    density = (density + bones * (0.6 + 0.4 * air)) * body
    image = density if oversampling == 1 else halve(density)

    tone, gain, offset = column(-0.12, 0.12), column(0.96, 1.06), column(-0.02, 0.02)
    image = image * gain + offset
    image = image + tone * image * (1 - image)
    image = image + column(0.012, 0.030) * (0.5 + image) * noise
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _pose(column: Columns, side: int) -> tuple[Field, Field]:
    """Return the patient's coordinates [B, side, side]: x about -1 (left edge) to 1, y about -1 (top) to 1."""
    axis = ((np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - 1).astype(np.float32)
    across, down = axis[None, None, :] - column(-0.07, 0.07), axis[None, :, None] - column(-0.07, 0.07)
    turn, scale = column(-0.08, 0.08), column(0.90, 1.10)
    return (across + turn * down) / scale, (down - turn * across) / scale


def _organs(column: Columns, x: Field, y: Field) -> tuple[Field, Field, Field, Field]:
    """Return body, lungs, heart and the part below the diaphragm, each in [0, 1]."""
    away = np.abs(x)
    slope = column(0.28, 0.42) * np.maximum(away - 0.20, 0)
    shoulders = np.maximum(y + column(0.72, 0.86) - slope, column(0.16, 0.23) - away)  # or neck
    flank = column(0.94, 1.14) - 0.10 * step(y, 0.6) - away
    body = step(shoulders, 0.06) * step(flank, 0.05)
    middle, width = column(0.42, 0.47), column(0.32, 0.38)
    apex, reach = column(-0.08, 0.0), column(0.66, 0.76)
    rise = np.clip((0.15 - y) / 0.85, 0, 1)
    lungs = np.zeros_like(x)
    dome = np.ones_like(x)
    for place, floor in ((-1, column(0.36, 0.48)), (1, column(0.42, 0.54))):
        # narrower and nearer to the spine towards the apex
        across = (x - place * (middle - 0.10 * rise * rise)) / (width * (1 - 0.42 * rise * rise))
        upright = (y - apex) / reach
        ellipse = 1 - across * across - upright * upright * upright * upright
        above = floor + 0.16 * np.minimum(across * across, 1.3) - y
        lungs = lungs + step(ellipse, 0.22) * step(above, 0.05)
        dome = dome * (1 - step(above, 0.06))
    centre, high = column(0.08, 0.16), column(0.16, 0.26)
    slant = (x - centre) + 0.35 * (y - high)
    wide, tall = column(0.25, 0.34), column(0.24, 0.30)
    heart = step(1 - (slant / wide) ** 2 - ((y - high) / tall) ** 2, 0.40)
    vessels = step(0.17 - np.abs(x - 0.03), 0.07) * step(y + 0.45, 0.25) * step(0.5 - y, 0.2)
    heart = np.maximum(heart, vessels)
    return body, lungs, heart, dome


def _bones(column: Columns, x: Field, y: Field) -> Field:
    """Return the density of ribs, clavicles and spine, with the windpipe as a dark strip."""
    away = np.abs(x)
    cage = step(0.84 - away, 0.08) * step(y + 0.72, 0.08) * step(0.62 - y, 0.10)
    spacing, start, strength = column(0.165, 0.20), column(0, 1), column(0.07, 0.13)
    back = _comb((y - 0.75 * (away - 0.30) ** 2) / spacing + start, 0.30)
    front = _comb((y + 0.55 * away - 0.25 * away * away) / (1.15 * spacing) + column(0, 1), 0.22)
    ribs = cage * step(away - 0.10, 0.06) * strength * (back + 0.45 * front)
    level = column(-0.62, -0.54)
    collar = (y - level + 0.16 * away + 0.12 * (away - 0.3) ** 2) / 0.035
    clavicles = bump(collar * collar) * step(away - 0.07, 0.03) * step(0.62 - away, 0.08) * column(0.08, 0.14)
    spine = bump((x / 0.12) ** 2) * (column(0.10, 0.16) + 0.03 * _comb(y / 0.13 + start, 0.35))
    windpipe = bump(((x - column(-0.02, 0.03)) / 0.045) ** 2) * step(-0.18 - y, 0.10)
    return ribs + clavicles + spine - 0.12 * windpipe


def _comb(phase: Field, width: float) -> Field:
    """Return ridges of height 1 at whole phases, ``width`` of a period wide on either side."""
    apart = np.abs(phase - np.rint(phase))
    ridge: Field = np.maximum(1 - (apart / np.float32(width)) ** 2, 0)
    return ridge * (np.float32(1.2) - np.float32(0.4) * ridge)  # cortex: edges a little brighter than a plain ridge


def _markings(column: Columns, x: Field, y: Field, patchy: Field, reticular: Field) -> Field:
    """Return the vessels of healthy lungs: denser and coarser near the hila."""
    near = bump(((np.abs(x) - 0.17) / 0.20) ** 2 + ((y - 0.02) / 0.28) ** 2)
    return near * (column(0.05, 0.12) + 0.05 * patchy) + column(0.005, 0.020) * reticular


def _disease(
    labels: NDArray[np.int64],
    column: Columns,
    x: Field,
    y: Field,
    lungs: Field,
    soft: Field,
    patchy: Field,
    reticular: Field,
) -> Field:
    """Return the opacities: one or two consolidations (bacterial), both lungs hazy and reticular (viral), or none.

    Healthy lungs may carry a faint blurred shadow (skin folds, scapulae), so that brightness alone does not tell.
    """
    focal = np.zeros_like(x)
    side = np.where(column(0, 1) < 0.5, np.float32(-1), np.float32(1))
    second = column(0, 1) < 0.3
    for number in range(2):
        place = side if number == 0 else -side
        centre, height = column(0.26, 0.58), column(-0.40, 0.36)
        wide, tall = column(0.15, 0.28), column(0.14, 0.27)
        edge = ((x - place * centre) / wide) ** 2 + ((y - height) / tall) ** 2
        blot = step(1.1 - edge + 0.55 * patchy, 0.9) * column(0.17, 0.38) * (1 + 0.12 * reticular)
        focal = focal + (blot if number == 0 else blot * second)
    spread = 0.55 + 0.45 * bump(((np.abs(x) - 0.22) / 0.35) ** 2 + (y / 0.5) ** 2)
    diffuse = spread * column(0.11, 0.24) * np.maximum(1 + 0.30 * soft + 0.50 * patchy + 1.00 * reticular, 0)
    shadow = bump(((x - column(-0.7, 0.7)) / 0.25) ** 2 + ((y - column(-0.5, 0.5)) / 0.25) ** 2) * column(0.0, 0.06)
    kind = labels[:, None, None]
    opacity = np.where(kind == BACTERIAL, focal, np.where(kind == VIRAL, diffuse, np.float32(0)))
    return lungs * opacity + shadow
