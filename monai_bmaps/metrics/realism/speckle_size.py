"""Second-order speckle statistics: how wide a speckle is along the beam and across it, against depth.

The width is the full width at half maximum of the grey levels' autocorrelation, taken in the beam's own coordinates: a
point spread function of Gaussian width gives ``FWHM = 4 sqrt(ln 2) sigma``. Correlation is indifferent to gain and
scale, hence to the dynamic range. In a fan speckle widens laterally with depth
(Wagner et al. 1983, https://doi.org/10.1109/T-SU.1983.31404).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter, map_coordinates
from scipy.stats import theilslopes

from monai_bmaps.geometry import Beam, SectorBeam
from monai_bmaps.metrics.realism.frame import BLACK, WHITE, Frame, Mask, Numbers
from monai_bmaps.metrics.realism.quantity import Quantity
from monai_bmaps.metrics.realism.settings import Settings, tissue

BANDS = np.linspace(0.1, 0.95, 6)
"""Ends of the depths at which widths are taken."""
CENTRES = (BANDS[1:] + BANDS[:-1]) / 2

_LOCAL_SHARE = 1 / 16  # sigma of the local mean over the image's shorter side: structure is wider, speckle narrower
_MOST_CLIPPED = 0.1  # share of a neighbourhood that may be black or white
_FEWEST_PAIRS = 60  # of pixels at a lag
_LONGEST_LAG = 16  # pixels; of a wider speckle the local mean would take away too much
_LEAST = 1e-3

Samples = Literal["lines", "arcs"]


@dataclass(frozen=True, eq=False)
class BeamSamples:
    """Places of samples in an image, one pixel apart along an axis of the beam.

    Args:
        rows: ``(depths, across)`` in pixels.
        columns: ``(depths, across)`` in pixels.
        depth: ``(depths,)`` in [0, 1], one pixel apart.
        inside: ``(depths, across)``: within the beam.
    """

    rows: Numbers
    columns: Numbers
    depth: Numbers
    inside: Mask


def beam_samples(beam: Beam, shape: tuple[int, int], along: Samples) -> BeamSamples:
    """Sample places of a beam: columns are its lines, or rows its arcs.

    Args:
        beam: in pixels.
        shape: (height, width) of the image.
        along: ``"lines"``: samples of a column lie on one line, one pixel apart (lines at most a pixel apart);
            ``"arcs"``: samples of a row lie on one arc, one pixel apart. The same for a linear beam.
    """
    if not isinstance(beam, SectorBeam):
        top, bottom, left, right = beam.ends(shape)
        down, across = top + np.arange(int(bottom - top) + 1), left + np.arange(int(right - left) + 1)
        rows, columns = np.meshgrid(down, across, indexing="ij")
        depth = np.asarray((down - top) / (bottom - top), np.float64)
        return BeamSamples(rows, columns, depth, _within(rows, columns, shape))
    near, far = beam.radii
    radius = near + np.arange(int(far - near) + 1.0)
    half = math.radians(beam.half_angle_deg)
    arc = np.arange(-math.ceil(far * half), math.ceil(far * half) + 1.0)
    angle = arc[None, :] / (far if along == "lines" else np.maximum(radius, 1.0)[:, None])
    direction = angle + math.radians(beam.steering_deg)
    rows = beam.apex[0] + radius[:, None] * np.cos(direction)
    columns = beam.apex[1] + radius[:, None] * np.sin(direction)
    inside = np.broadcast_to(np.abs(angle) <= half, rows.shape)
    return BeamSamples(rows, columns, (radius - near) / (far - near), inside & _within(rows, columns, shape))


def _within(rows: Numbers, columns: Numbers, shape: tuple[int, int]) -> Mask:
    return np.asarray((rows >= 0) & (rows <= shape[0] - 1) & (columns >= 0) & (columns <= shape[1] - 1))


def texture(image: Numbers, where: Mask) -> tuple[Numbers, Mask]:
    """What is left of an image without its local mean, in local standard deviations, and where that can be told.

    Args:
        image: ``(H, W)`` in [0, 1].
        where: ``(H, W)``: pixels that count.

    Returns:
        ``(H, W)`` each. Not told are the rim of ``where`` and surroundings of which a tenth is black or white.
    """
    sigma = _LOCAL_SHARE * min(image.shape)

    def local(values: Numbers) -> Numbers:
        return np.asarray(gaussian_filter(values * where, sigma) / np.maximum(weight, _LEAST))

    weight = gaussian_filter(where.astype(np.float64), sigma)
    rest = (image - local(image)) * where
    deviation = np.sqrt(np.maximum(local(rest**2), 0.0))
    clipped = local(((image <= BLACK) | (image >= WHITE)).astype(np.float64))
    told = binary_erosion(where, iterations=2, border_value=1) & (clipped <= _MOST_CLIPPED) & (deviation > 1e-6)
    return np.where(deviation > 1e-6, rest / np.maximum(deviation, 1e-6), 0.0), told


def autocorrelation(values: Numbers, mask: Mask, axis: int, longest: int = _LONGEST_LAG) -> Numbers:
    """Correlation of ``values`` with themselves 0, 1, ... ``longest`` samples further along an axis.

    Of pairs of which both are in ``mask``; NaN where there are fewer than 60. Values are taken to have mean 0.
    """
    known, counted = np.moveaxis(values * mask, axis, 0), np.moveaxis(mask.astype(np.float64), axis, 0)
    found = np.full(longest + 1, np.nan)
    for lag in range(min(longest + 1, len(known))):
        pairs = float((counted[lag:] * counted[: len(counted) - lag]).sum())
        if pairs >= _FEWEST_PAIRS:
            found[lag] = float((known[lag:] * known[: len(known) - lag]).sum()) / pairs
    return np.asarray(found / found[0] if found[0] > 0 else np.full_like(found, np.nan))


def half_width(correlation: Numbers) -> float:
    """Full width at half maximum, in samples, of a correlation at lags 0, 1, ...; NaN if it does not fall to a half.

    Between lags ``ln(correlation)`` is a straight line over the squared lag: exact for a Gaussian.
    """
    below = np.flatnonzero(correlation <= 0.5)
    if len(below) == 0 or below[0] == 0 or np.isnan(correlation[: below[0]]).any():
        return math.nan
    lag = int(below[0])
    high, low = math.log(correlation[lag - 1]), math.log(max(correlation[lag], _LEAST))
    share = (high - math.log(0.5)) / (high - low)
    return 2 * math.sqrt((1 - share) * (lag - 1) ** 2 + share * lag**2)


def speckle_widths(image: Numbers, where: Mask, beam: Beam) -> tuple[Numbers, Numbers]:
    """Axial and lateral widths, in pixels, at the depths :data:`CENTRES`: ``(5,)`` each; NaN where not told.

    Args:
        image: ``(H, W)`` in [0, 1].
        where: ``(H, W)``: pixels that count.
        beam: in pixels.
    """
    rest, told = texture(image, where)
    found = []
    axes: tuple[tuple[Samples, int], ...] = (("lines", 0), ("arcs", 1))
    for along, axis in axes:
        samples = beam_samples(beam, (image.shape[0], image.shape[1]), along)
        values = map_coordinates(rest, [samples.rows, samples.columns], order=3, mode="nearest")
        places = [samples.rows.round(), samples.columns.round()]
        mask = samples.inside & (map_coordinates(told.astype(np.float64), places, order=0, mode="nearest") > 0.5)
        bands = [(samples.depth >= low) & (samples.depth <= high) for low, high in pairwise(BANDS)]
        found.append(np.array([half_width(autocorrelation(values[band], mask[band], axis)) for band in bands]))
    return found[0], found[1]


def measure(frame: Frame, settings: Settings) -> dict[str, Any]:
    """Widths against depth, their medians and the widening, by the keys of :func:`quantities`."""
    where = tissue(frame, settings)
    axial = lateral = np.full(len(CENTRES), np.nan)
    if where is not None and frame.beam is not None:
        axial, lateral = speckle_widths(frame.image, where, frame.beam)
    along, across = frame.beam_spacing or (math.nan, math.nan)
    found: dict[str, Any] = {"axial_depth": axial, "lateral_depth": lateral, "lateral_widening": _widening(lateral)}
    for name, widths, spacing in (("axial", axial, along), ("lateral", lateral, across)):
        found[f"{name}_px"] = _middle(widths)
        found[f"{name}_mm"] = _middle(widths) * spacing
    return found


def _middle(widths: Numbers) -> float:
    known = widths[np.isfinite(widths)]
    return float(np.median(known)) if len(known) else math.nan


def _widening(widths: Numbers) -> float:
    """Change of a width from depth 0 to depth 1; NaN with fewer than three depths."""
    known = np.isfinite(widths)
    return float(theilslopes(widths[known], CENTRES[known])[0]) if int(known.sum()) > 2 else math.nan


def quantities(settings: Settings, *, same_size: bool = True) -> list[Quantity]:
    """What :func:`measure` tells.

    Args:
        settings: not used; every family is asked alike.
        same_size: whether pixels of both sets can be compared.
    """
    needs = "it needs a beam (give --depth, or prepare the images with beams) and texture that is not clipped"
    scale = f"{needs}; mm also needs the pixel size (square in a fan): prepare with spacing"
    physical = [Quantity(f"{k}_mm", f"{k} speckle width", "mm", scale, shape=True) for k in ("axial", "lateral")]
    if not same_size:
        return physical
    return [
        *(Quantity(f"{k}_px", f"{k} speckle width", "pixels", needs, shape=True) for k in ("axial", "lateral")),
        *physical,
        Quantity("lateral_widening", "lateral speckle widening", "pixels per depth", needs),
        *(Quantity(f"{k}_depth", f"{k} speckle width at each depth", "pixels", needs) for k in ("axial", "lateral")),
    ]
