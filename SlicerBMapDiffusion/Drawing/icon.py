"""Draw the module's icon: a sector whose echoes fade with depth, and the outline they are drawn for.

python SlicerBMapDiffusion/Drawing/icon.py SlicerBMapDiffusion/Resources/Icons/SlicerBMapDiffusion.png
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 128
FINER = 8  # drawn so much larger, for smooth edges
APEX, NEAR, FAR = (-0.08, 0.5), 0.16, 1.05  # in widths of the icon
HALF_ANGLE = np.deg2rad(28)
DARK, LIGHT, OUTLINE = (14, 24, 44), (196, 228, 255), (255, 160, 64)


def icon() -> NDArray[np.uint8]:
    """(128, 128, 4), transparent around the sector."""
    row, column = (np.mgrid[: SIZE * FINER, : SIZE * FINER] + 0.5) / (SIZE * FINER)
    down, right = row - APEX[0], column - APEX[1]
    radius, angle = np.hypot(down, right), np.arctan2(right, down)
    inside = (abs(angle) < HALF_ANGLE) & (radius > NEAR) & (radius < FAR)

    depth = np.clip((radius - NEAR) / (FAR - NEAR), 0, 1)
    stripes = 0.5 + 0.5 * np.cos(2 * np.pi * 6 * depth)
    echoes = stripes**1.5 * np.exp(-1.8 * depth) + 0.10 * np.exp(-depth)
    colour = np.array(DARK) + echoes[..., None] * (np.array(LIGHT) - np.array(DARK))

    ring = np.hypot((row - 0.62) / 0.23, (column - 0.5) / 0.17)
    colour[abs(ring - 1) < 0.14] = OUTLINE
    picture = np.dstack([colour, inside * 255.0]) * inside[..., None]
    fine = picture.reshape(SIZE, FINER, SIZE, FINER, 4).mean(axis=(1, 3))
    share = fine[..., 3:] / 255  # of each pixel; the colour is that of the covered part
    fine[..., :3] = np.divide(fine[..., :3], share, out=np.zeros_like(fine[..., :3]), where=share > 0)
    return fine.round().clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    Image.fromarray(icon()).save(sys.argv[1], optimize=True)
