"""Intensity against depth along the beam: mean and spread at each depth, and how fast it falls.

B-mode grey levels are decibels: ``level_db = (I - 1) * dynamic range``. What time gain compensation leaves of the
tissue's attenuation is a straight line in them, whose slope is the loss per depth that a B-map models
(Dominguez et al. 2024, https://arxiv.org/abs/2407.05428). Grey levels here are 8-bit ones, 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import theilslopes

from monai_bmaps.metrics.realism.frame import BLACK, WHITE, Frame, Mask, Numbers, checked_image
from monai_bmaps.metrics.realism.quantity import Quantity
from monai_bmaps.metrics.realism.settings import Settings, region, tissue

BINS = 24
"""Depths at which a profile is taken, equal parts of [0, 1]."""
ENDS = (0.1, 0.95)
"""Between which depths a slope is fitted: not in the skin and the near field, nor at the last, ragged row."""

_FEWEST_PIXELS = 8  # of a bin
_FEWEST_BINS = 6  # of a slope
_GREY = 255.0


@dataclass(frozen=True, eq=False)
class DepthProfile:
    """Grey levels, 0 to 255, in bins of depth; NaN where a region has too few pixels.

    Args:
        depth: ``(bins,)`` centres of the bins, in (0, 1).
        mean: ``(bins,)``.
        spread: ``(bins,)`` standard deviations.
        median: ``(bins,)``; NaN also where it is black or white: the true one lies beyond what a file holds.
    """

    depth: Numbers
    mean: Numbers
    spread: Numbers
    median: Numbers


def depth_profile(image: Any, depth: Any, where: Any, bins: int = BINS) -> DepthProfile:
    """Mean, spread and median of the grey levels at each depth.

    Args:
        image: ``(H, W)`` in [0, 1].
        depth: ``(H, W)`` in [0, 1] along the beam.
        where: ``(H, W)`` bool: pixels that count.
        bins: how many equal parts of depth.

    Raises:
        ValueError: an image that is not such, or shapes that differ.
    """
    values, depths, mask = checked_image(image), np.asarray(depth, np.float64), np.asarray(where, np.bool_)
    if not values.shape == depths.shape == mask.shape:
        raise ValueError(
            f"image, depth and where must have one shape, got {values.shape}, {depths.shape} and {mask.shape}"
        )
    index = np.minimum((depths[mask] * bins).astype(np.int64), bins - 1)
    order = np.argsort(index, kind="stable")
    parts = np.split(values[mask][order], np.cumsum(np.bincount(index, minlength=bins))[:-1])
    found = np.array([_moments(part) for part in parts])
    return DepthProfile((np.arange(bins) + 0.5) / bins, *(_GREY * found).T)


def _moments(part: Numbers) -> tuple[float, float, float]:
    if len(part) < _FEWEST_PIXELS:
        return float("nan"), float("nan"), float("nan")
    median = float(np.median(part))
    return float(part.mean()), float(part.std()), median if BLACK < median < WHITE else float("nan")


def slope(profile: DepthProfile, ends: tuple[float, float] = ENDS) -> float:
    """Change of the grey level from depth 0 to depth 1, by Theil and Sen's median of slopes; NaN below six bins.

    Of bins' medians: with less than half of a bin's pixels clipped to black its median is still the right one, and a
    bright interface or two move neither.
    """
    counts = np.isfinite(profile.median) & (profile.depth >= ends[0]) & (profile.depth <= ends[1])
    if int(counts.sum()) < _FEWEST_BINS:
        return float("nan")
    return float(theilslopes(profile.median[counts], profile.depth[counts])[0])


def db_per_cm(slope: float, length_mm: float, dynamic_range_db: float) -> float:
    """A slope in grey levels per depth as decibels per centimetre along the beam.

    Args:
        slope: of :func:`slope`.
        length_mm: from depth 0 to depth 1.
        dynamic_range_db: from black to white.
    """
    return slope / _GREY * dynamic_range_db / (length_mm / 10)


def measure(frame: Frame, settings: Settings) -> dict[str, Any]:
    """Profiles, spreads and slopes of the tissue and of each label, by the keys of :func:`quantities`."""
    found: dict[str, Any] = {}
    for key, where in _regions(frame, settings).items():
        missing = np.full(BINS, np.nan)
        profile = DepthProfile(missing, missing, missing, missing)
        if where is not None and frame.depth is not None:
            profile = depth_profile(frame.image, frame.depth, where)
        found |= {f"profile_{key}": profile.mean, f"spread_{key}": profile.spread}
        found[f"slope_{key}"] = fitted = slope(profile)
        found[f"slope_db_{key}"] = _physical(fitted, frame, settings)
    return found


def _regions(frame: Frame, settings: Settings) -> dict[str, Mask | None]:
    return {"tissue": tissue(frame, settings)} | {f"label_{label}": region(frame, label) for label in settings.names}


def _physical(fitted: float, frame: Frame, settings: Settings) -> float:
    if frame.beam_spacing is None or frame.length is None:
        return float("nan")
    return db_per_cm(fitted, frame.length * frame.beam_spacing[0], settings.dynamic_range_db)


def quantities(settings: Settings) -> list[Quantity]:
    """What :func:`measure` tells: slopes of tissue and labels without blood, profiles of all."""
    depth = "it needs a depth map or a beam; give --depth, or prepare the images with their beams"
    span = f"{depth}, and {_FEWEST_BINS} of {BINS} depths where the region is neither black nor white"
    scale = f"{span}; dB/cm also needs the pixel size in mm (square in a fan): prepare with spacing"
    solid = {"tissue": "tissue"} | {f"label_{label}": name for label, name in settings.tissues.items()}
    every = solid | {f"label_{label}": name for label, name in settings.names.items()}
    assumed = f"dB/cm at {settings.dynamic_range_db:g} dB"
    return [
        *(
            Quantity(f"slope_{k}", f"slope with depth, {name}", "grey levels per depth", span)
            for k, name in solid.items()
        ),
        *(Quantity(f"slope_db_{k}", f"slope with depth, {name}", assumed, scale) for k, name in solid.items()),
        *(Quantity(f"profile_{k}", f"mean at each depth, {name}", "grey levels", depth) for k, name in every.items()),
        *(Quantity(f"spread_{k}", f"spread at each depth, {name}", "grey levels", depth) for k, name in solid.items()),
    ]
