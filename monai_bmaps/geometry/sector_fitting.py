"""The sector that a field-of-view mask shows.

Its six numbers are refined by damped least squares (Levenberg-Marquardt) between the mask, averaged to few pixels, and
a beam whose edge is a sigmoid. NumPy and no matrix product over pixels: on arrays this small threads cost more than
they give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from monai_bmaps.geometry.beams import Numbers, SectorBeam
from monai_bmaps.geometry.checks import Spacing, check_spacing

Mask: TypeAlias = NDArray[np.bool_]

_COARSE, _FINE = 48, 96  # pixels along the longest side; averaging keeps the edge's position within a pixel
_LONGEST_STEP = 0.2  # of the search, in image sizes and radians
_STEPS = 20
_PARALLEL = 20.0  # apex's distance of almost parallel lines, over their length
_UPRIGHT = math.radians(3.0)  # a smaller tilt is left to the other starts
_ROUNDING = 1e-9  # a share below this is a rounding error of the averaging


def fit_sector(inside: Mask, seen: Mask, spacing: Spacing) -> SectorBeam:
    """Refine a few starts on a coarse image and the best two of them on a finer one."""
    coarse, fine = _Sample.of(inside, seen, spacing, _COARSE), _Sample.of(inside, seen, spacing, _FINE)
    trials = [_refine(start, coarse, (2.0, 1.0, 0.5)) for start in _starts(coarse)]
    trials.sort(key=lambda trial: _doubt(trial, coarse, 0.5))
    trials = [_refine(trial, fine, (0.7, 0.3)) for trial in trials[:2]]
    return _sector(min(trials, key=lambda trial: _doubt(trial, fine, 0.3)), fine.unit)


def _sector(parameters: Numbers, unit: float) -> SectorBeam:
    """The beam of six fitted parameters, brought into their legal ranges."""
    row, column, near, far, half, steering = parameters.tolist()
    far = max(far, 1e-6)
    return SectorBeam(
        apex=(row * unit, column * unit),
        radii=(0.0 if near < 0.03 * far else min(near, 0.99 * far) * unit, far * unit),
        half_angle_deg=min(max(math.degrees(abs(half)), 1e-3), 90.0),
        steering_deg=math.remainder(math.degrees(steering), 360),
    )


@dataclass(frozen=True)
class _Sample:
    """A mask averaged to few pixels: positions and pixel size over ``unit``, the shares inside and seen."""

    rows: Numbers
    columns: Numbers
    inside: Numbers
    seen: Numbers
    pixel: float
    unit: float

    @classmethod
    def of(cls, inside: Mask, seen: Mask, spacing: Spacing, longest: int) -> _Sample:
        row, column = check_spacing(spacing)
        height, width = inside.shape
        shrink = max(1.0, max(height, width) / longest)
        size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
        unit = max(height * row, width * column)
        rows = ((np.arange(size[0]) + 0.5) * height / size[0] - 0.5) * row / unit
        columns = ((np.arange(size[1]) + 0.5) * width / size[1] - 0.5) * column / unit
        share, weight = (
            _averaged(_averaged(x.astype(np.float64), size[0]).T, size[1]).T.clip(0.0, 1.0) for x in (inside, seen)
        )
        share = np.divide(share, weight, out=np.zeros_like(share), where=weight > _ROUNDING)
        return cls(rows[:, None], columns[None, :], share, weight, shrink * max(row, column) / unit, unit)


def _averaged(values: Numbers, count: int) -> Numbers:
    """The mean of ``values`` over each of ``count`` equal parts of their first axis; parts may cut a row."""
    ends = np.linspace(0, len(values), count + 1)
    whole = np.minimum(ends.astype(int), len(values) - 1)
    below = np.concatenate([np.zeros_like(values[:1]), values.cumsum(0)])[whole]
    total: Numbers = below + (ends - whole)[:, None] * values[whole]
    return np.diff(total, axis=0) * (count / len(values))


def _offsets(parameters: Numbers, sample: _Sample) -> tuple[Numbers, Numbers, Numbers]:
    """Each pixel's place along and across the centre line, seen from the apex, and its radius."""
    rows, columns = sample.rows - parameters[0], sample.columns - parameters[1]
    cosine, sine = math.cos(parameters[5]), math.sin(parameters[5])
    along, across = rows * cosine + columns * sine, columns * cosine - rows * sine
    return along, across, np.sqrt(along**2 + across**2 + 1e-12)


def _soft_mask(parameters: Numbers, sample: _Sample, softness: float) -> tuple[Numbers, Numbers]:
    """A beam's mask with sigmoid edges ``softness`` pixels wide, and its derivatives (6, height, width).

    The six parameters: apex row and column, near and far radius, half angle and steering (radians).
    """
    along, across, radius = _offsets(parameters, sample)
    near, far, half, steering = parameters[2:]
    cosine, sine = math.cos(half), math.sin(half)
    beyond = np.abs(across)
    width = softness * sample.pixel
    # The third is the signed distance to the nearer side line.
    edges = [_sigmoid(x / width) for x in (radius - near, far - radius, along * sine - beyond * cosine)]
    soft = edges[0] * edges[1] * edges[2]
    by_near, by_far, by_side = (soft * (1 - edge) / width for edge in edges)
    right = np.sign(across)
    # Chain rule in the beam's own axes, then turned into rows and columns.
    pull = (by_far - by_near) / radius
    by_along = pull * along - by_side * sine
    by_across = pull * across + by_side * right * cosine
    turn = (math.cos(steering), math.sin(steering))
    by_row = by_along * turn[0] - by_across * turn[1]
    by_column = by_along * turn[1] + by_across * turn[0]
    by_half = by_side * (along * cosine + beyond * sine)
    by_steering = by_side * (across * sine + right * along * cosine)
    return soft, np.stack([by_row, by_column, -by_near, by_far, by_half, by_steering])


def _sigmoid(x: Numbers) -> Numbers:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _refine(start: Numbers, sample: _Sample, softnesses: tuple[float, ...]) -> Numbers:
    """Descend from ``start`` to the nearest best match, through sharper and sharper edges."""
    for softness in softnesses:
        start = _within_sight(_descend(start, sample, softness), sample)
    return start


def _descend(parameters: Numbers, sample: _Sample, softness: float) -> Numbers:
    """Levenberg-Marquardt on the squared difference between the soft mask and the share inside."""
    damping, loss = 1e-2, math.inf
    proposal = parameters
    for _ in range(_STEPS + 1):
        soft, slopes = _soft_mask(proposal, sample, softness)
        miss = soft - sample.inside
        previous, proposed = loss, float((sample.seen * miss**2).sum())
        if proposed < loss:
            parameters, loss, damping = proposal, proposed, max(0.2 * damping, 1e-6)
            # einsum, unlike @, starts no threads
            weighed = slopes * sample.seen
            curvature = np.einsum("ihw,jhw->ij", weighed, slopes)
            gradient = np.einsum("ihw,hw->i", weighed, miss)
            if previous - loss < 1e-4 * loss:
                break
        else:
            damping *= 5
        scale = np.diag(curvature)
        # The second term holds parameters in place that the mask says nothing about.
        hold = damping * scale + 1e-4 * min(damping, 1.0) * scale.max() + 1e-9
        step = np.linalg.solve(curvature + np.diag(hold), gradient)
        proposal = parameters - step * min(1.0, _LONGEST_STEP / max(np.abs(step).max(), 1e-12))
    return parameters


def _doubt(parameters: Numbers, sample: _Sample, softness: float) -> float:
    """One minus the soft IoU, and a little for steering: of two fits that overlap alike, the straighter."""
    soft, _ = _soft_mask(parameters, sample, softness)
    soft, inside = soft * sample.seen, sample.inside * sample.seen
    both = (soft * sample.inside).sum()
    return float(1 - both / (soft.sum() + inside.sum() - both) + 0.02 * abs(parameters[5]))


def _within_sight(parameters: Numbers, sample: _Sample) -> Numbers:
    """Radii brought back to what the mask shows: beyond it they change no pixel and have no gradient."""
    row, column, near, far, half, steering = parameters
    along, across, radius = _offsets(parameters, sample)
    seen = radius[(sample.inside > 0.5) & (np.abs(np.arctan2(across, along)) <= half)]
    if seen.size == 0:
        return parameters
    nearest, farthest = np.quantile(seen, [0.001, 0.999])
    margin = 0.5 * sample.pixel
    if nearest < 0.05 * farthest:  # the quantile of a full wedge lies at 3 % of its radius
        nearest = 0.0
    radii = max(near, nearest - margin, 0.0), min(far, farthest + margin)
    return np.array([row, column, *radii, half, steering])


def _starts(sample: _Sample) -> list[Numbers]:
    """Guesses (6,): a phased and two curvilinear arrays, and the mask's straight sides if it shows them."""
    inside = sample.inside > 0.5
    if not inside.any():
        inside = sample.inside > 0
    rows = sample.rows[inside.any(1), 0]
    columns = sample.columns[0, inside.any(0)]
    top, height = rows[0], rows[-1] - rows[0] + sample.pixel
    middle = (columns[0] + columns[-1]) / 2
    starts = []
    for share, half in ((0.0, 0.7), (0.5, 0.5), (2.0, 0.2)):
        near = share * height
        starts.append(np.array([top - near, middle, near, near + height, half, 0.0]))
    if (sides := _side_lines(inside, sample)) is not None:
        starts.append(sides)
    if (tilted := _tilted_lines(inside, sample)) is not None:
        starts.append(tilted)
    return starts


def _side_lines(inside: Mask, sample: _Sample) -> Numbers | None:
    """A guess (6,) from the straight lines along the mask's left and right side; None if they do not meet."""
    rows = np.flatnonzero(inside.any(1))
    last = inside.shape[1] - 1
    left = inside[rows].argmax(1)
    right = last - inside[rows, ::-1].argmax(1)
    lines = []
    for ends, edge in ((left, 0), (right, last)):
        seen = ends != edge  # a boundary on the image's edge is no evidence
        if seen.sum() < 3:
            return None
        lines.append(_dominant_line(sample.rows[rows[seen], 0], sample.columns[0, ends[seen]], sample.pixel))
    (slope_left, base_left), (slope_right, base_right) = lines
    if slope_right - slope_left < 1e-3:
        return None
    row = (base_left - base_right) / (slope_right - slope_left)
    column = base_left + slope_left * row
    angle_left, angle_right = math.atan(slope_left), math.atan(slope_right)
    radius = np.hypot(sample.rows - row, sample.columns - column)[inside]
    near, far = np.quantile(radius, [0.01, 0.99])
    half, steering = (angle_right - angle_left) / 2, (angle_right + angle_left) / 2
    return np.array([row, column, near, far, half, steering])


def _tilted_lines(inside: Mask, sample: _Sample) -> Numbers | None:
    """A guess (6,) for almost parallel lines, at right angles to the straight line along the mask's top."""
    columns = np.flatnonzero(inside.any(0))
    ends = inside[:, columns].argmax(0)
    seen = ends != 0  # a boundary on the image's edge is no evidence
    if seen.sum() < 3:
        return None
    slope, _ = _dominant_line(sample.columns[0, columns[seen]], sample.rows[ends[seen], 0], sample.pixel)
    steering = -math.atan(slope)
    if abs(steering) < _UPRIGHT:
        return None
    along = sample.rows * math.cos(steering) + sample.columns * math.sin(steering)
    across = sample.columns * math.cos(steering) - sample.rows * math.sin(steering)
    top, bottom = np.quantile(along[inside], [0.01, 0.99])
    left, right = np.quantile(across[inside], [0.01, 0.99])
    near, middle = _PARALLEL * (bottom - top), (left + right) / 2
    row = (top - near) * math.cos(steering) - middle * math.sin(steering)
    column = (top - near) * math.sin(steering) + middle * math.cos(steering)
    half = math.atan((right - left) / 2 / (near + bottom - top))
    return np.array([row, column, near, near + bottom - top, half, steering])


def _dominant_line(rows: Numbers, columns: Numbers, tolerance: float) -> tuple[float, float]:
    """Slope and base of ``column = base + slope * row``, through the two points that most others are near."""
    first, second = np.triu_indices(len(rows), 1)
    slope = (columns[second] - columns[first]) / (rows[second] - rows[first])
    base = columns[first] - slope * rows[first]
    miss = np.abs(base[:, None] + slope[:, None] * rows - columns) / np.sqrt(1 + slope[:, None] ** 2)
    best = (1 - (miss / tolerance) ** 2).clip(min=0).sum(1).argmax()
    return float(slope[best]), float(base[best])
