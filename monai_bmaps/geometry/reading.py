"""Which beam a depth map belongs to: the inverse of ``Beam.depth_map``, exact up to rounding.

Depth ``d`` of a fan obeys ``(near + E d)^2 = (row - a)^2 + (column - b)^2`` with ``E = far - near``, which is linear in
``(a, b, near^2 - a^2 - b^2, near E, E^2)``: one least-squares problem of five unknowns, no search.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_bmaps.geometry.beams import Beam, LinearBeam, Numbers, SectorBeam

_TOLERANCE = 0.01  # of the depth: between the map given and that of the beam read from it
_FEWEST = 12  # pixels that five unknowns are read from


def beam_from_depth(depth: Any, inside: Any) -> Beam:
    """Read the beam off a depth map and its field of view.

    Ends of a linear beam are put at the outermost pixels inside.

    Args:
        depth: ``(height, width)``, in [0, 1]: 0 at the face, 1 at the far end.
        inside: ``(height, width)``, bool: where ``depth`` counts.

    Returns:
        The beam in pixels, whose own depth map is within 0.01 of ``depth`` inside.

    Raises:
        ValueError: shapes that differ, too few pixels, or a map that no undeformed beam has.

    >>> beam_from_depth(LinearBeam(bottom=5).depth_map((6, 4)), LinearBeam().mask((6, 4)))
    LinearBeam(top=0.0, bottom=5.0, left=0.0, right=3.0)
    """
    values, field = _array(depth).astype(np.float64), _array(inside).astype(np.bool_)
    if values.ndim != 2 or values.shape != field.shape:
        raise ValueError(f"depth and inside must have one shape (height, width), got {values.shape} and {field.shape}")
    if int(field.sum()) < _FEWEST:
        raise ValueError(f"inside must have {_FEWEST} pixels at least, got {int(field.sum())}; look at the beam's mask")
    positions = np.argwhere(field).astype(np.float64)
    along = values[field]
    for read in (_linear, _sector):
        beam = read(positions, along)
        if beam is not None and _agrees(beam, values, field):
            return beam
    raise ValueError(
        "depth is the map of no linear or sector beam in square pixels; give the map before any deformation, or the "
        "beam itself"
    )


def _array(values: Any) -> NDArray[Any]:
    return np.asarray(values.detach().cpu().as_subclass(Tensor).numpy() if isinstance(values, Tensor) else values)


def _linear(positions: Numbers, along: Numbers) -> Beam | None:
    """Depth as a straight line over the rows."""
    low, high = positions.min(0), positions.max(0)
    if low[0] == high[0] or low[1] == high[1]:
        return None
    rate, start = np.polyfit(positions[:, 0], along, 1)
    if rate <= 0:
        return None
    top, bottom = (round(float((end - start) / rate), 4) + 0.0 for end in (0.0, 1.0))  # no minus zero
    return LinearBeam(top=top, bottom=bottom, left=low[1], right=high[1])


def _sector(positions: Numbers, along: Numbers) -> Beam | None:
    """Apex and radii by least squares; the sides from the outermost pixels."""
    rows, columns = positions.T
    terms = np.stack([2 * rows, 2 * columns, np.ones_like(rows), 2 * along, along**2], axis=1)
    # ``(row^2 + column^2) = 2 a row + 2 b column + (near^2 - a^2 - b^2) + 2 near E d + E^2 d^2``
    solved, _, rank, _ = np.linalg.lstsq(terms, rows**2 + columns**2, rcond=None)
    row, column, _, near_extent, extent_squared = (float(value) for value in solved)
    if rank < terms.shape[1] or extent_squared <= 0:
        return None
    extent = math.sqrt(extent_squared)
    near = max(0.0, near_extent / extent)
    angles = np.degrees(np.arctan2(columns - column, rows - row))[along > 0.1]
    if len(angles) == 0 or not 0 < np.ptp(angles) <= 180:
        return None
    return SectorBeam(
        apex=(row, column),
        radii=(near, near + extent),
        half_angle_deg=float(np.ptp(angles)) / 2,
        steering_deg=float(angles.min() + angles.max()) / 2,
    )


def _agrees(beam: Beam, depth: Numbers, inside: NDArray[np.bool_]) -> bool:
    mine, field = beam.depth_map((depth.shape[0], depth.shape[1])).numpy(), beam.mask(depth.shape).numpy() & inside
    return bool(field.sum() > 0.9 * inside.sum()) and float(np.abs(mine - depth)[field].max()) <= _TOLERANCE
