"""Whether an image keeps to its beam: energy outside of it, black inside of it.

A scanner draws nothing outside the beam and hardly ever nothing inside. Both rise when an image lies in another fan
than the one it was drawn for (shifted, scaled, or mirrored where the fan leans).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from monai_bmaps.metrics.realism.frame import BLACK, Frame, checked_image
from monai_bmaps.metrics.realism.quantity import Quantity
from monai_bmaps.metrics.realism.settings import Settings

RIM = 1
"""Pixels around the beam that do not count as outside: resizing blurs an edge over them."""

_FEWEST_PIXELS = 20
_GREY = 255.0


def energy_outside(image: Any, inside: Any, rim: int = RIM) -> tuple[float, float]:
    """Share of an image's energy (sum of squared grey levels) outside the beam, and the mean grey level there.

    Args:
        image: ``(H, W)`` in [0, 1].
        inside: ``(H, W)`` bool.
        rim: how many pixels next to the beam do not count as outside.

    Returns:
        Share in [0, 1], NaN of a black image; mean level, 0 to 255. Both NaN where the beam leaves fewer than twenty
        pixels.
    """
    values, outside = checked_image(image), ~_grown(np.asarray(inside, np.bool_), rim)
    if int(outside.sum()) < _FEWEST_PIXELS:
        return math.nan, math.nan
    total = float((values**2).sum())
    share = float((values[outside] ** 2).sum()) / total if total > 0 else math.nan
    return share, _GREY * float(values[outside].mean())


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    return np.asarray(binary_dilation(mask, iterations=pixels)) if pixels else mask


def black_inside(image: Any, inside: Any) -> float:
    """Share of the beam's pixels that are black, in [0, 1]; NaN of an empty beam."""
    values = checked_image(image)[np.asarray(inside, np.bool_)]
    return float((values <= BLACK).mean()) if len(values) else math.nan


def measure(frame: Frame, settings: Settings) -> dict[str, Any]:
    """Energy outside and black inside, by the keys of :func:`quantities`."""
    if frame.inside is None:
        return {"outside_share": math.nan, "outside_level": math.nan, "black_inside": math.nan}
    share, level = energy_outside(frame.image, frame.inside)
    return {
        "outside_share": 100 * share,
        "outside_level": level,
        "black_inside": 100 * black_inside(frame.image, frame.inside),
    }


def quantities(settings: Settings) -> list[Quantity]:
    """What :func:`measure` tells."""
    field = "it needs the beam's field of view; give --depth, or prepare the images with their beams"
    room = f"{field}, and a beam that leaves {_FEWEST_PIXELS} pixels of the image"
    return [
        Quantity("outside_share", "energy outside the beam", "% of the image's", room),
        Quantity("outside_level", "mean level outside the beam", "grey levels", room),
        Quantity("black_inside", "black pixels inside the beam", "% of the beam's", field),
    ]
