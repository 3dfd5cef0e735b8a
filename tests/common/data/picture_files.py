"""Writing little pictures for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def save_picture(file: Path, seed: int, size: tuple[int, int] = (12, 12), mode: str = "L") -> None:
    """Write a random picture of (width, height) pixels."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(file)
