"""Frames of convex probes as the paper's liver set has them: padded to a square, and without those lost in shadow.

Dominguez et al. 2024 (https://arxiv.org/abs/2407.05428) dropped frames more than half in shadow, without saying how
that was measured. Here a pixel is in shadow if its scan line stays at the noise floor from there to its deep end.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monai_bmaps.geometry import Beam, SectorBeam

Mask: TypeAlias = NDArray[np.bool_]

_LINES, _SAMPLES = 96, 192
_ACROSS, _ALONG = 5, 9  # samples averaged, odd: more than a speckle, so that its nulls do not count as black
_BLACK = 4 / 255  # what quantisation and JPEG leave of nothing
_BRIGHT = 0.9  # the share of samples that are darker than the frame's bright tissue
_FLOOR = 0.15  # of that tissue's level
_EXCEPTIONS = 0.07  # share of a shadow that may be brighter: a burned-in mark, but no wall
_FEWEST = 8  # samples in sight that make a line


def pad_to_square(image: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
    """Pad a frame with 0 to a square: evenly left and right, or at the bottom; row 0 stays at the top.

    Args:
        image: (height, width).

    Returns:
        The square, and the (row, column) in it of the frame's first pixel: what a beam moves by.

    >>> square, place = pad_to_square(np.ones((4, 2)))
    >>> square.shape, place
    ((4, 4), (0, 1))
    """
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"image must be (height, width) and not empty, got shape {image.shape}; give one grey frame")
    height, width = image.shape
    side = max(height, width)
    left = (side - width) // 2
    return np.pad(image, ((0, side - height), (left, side - width - left))), (0, left)


def shadow_share(image: NDArray[Any], beam: Beam, *, ignore: Mask | None = None) -> float:
    """The share of the beam's area in acoustic shadow.

    Each scan line is followed to its deep end or to where it leaves the image. Its shadow begins at the first sample
    that is dark, and behind which no more than 7 % of the samples are not. Dark is a local mean (over 5 % of the depth
    and of the width) of at most 4 / 255 or 15 % of the bright tissue's, which nine tenths of the samples stay below.
    Dark areas with echoes behind them (vessels, fluid) are therefore no shadow; fluid that reaches the deep end is, as
    nothing in the image tells it apart. Area counts, not lines: a shadow that begins deep hides less.

    Attenuation alone is no shadow until it takes a line to 15 % of the bright tissue's grey: in an image compressed
    to D dB whose bright tissue has grey g in [0, 1], a loss of 0.85 g D over the depth.

    Args:
        image: (height, width), uint8 or in [0, 1]; black is 0.
        beam: in the image's pixels.
        ignore: (height, width), pixels of which nothing is known, such as boxes over burned-in text.

    Returns:
        In [0, 1]; 1 for a black frame.

    Raises:
        ValueError: the image is not (height, width) or out of its range, or the beam covers too little of it.
    """
    if image.ndim != 2 or (ignore is not None and ignore.shape != image.shape):
        given = None if ignore is None else ignore.shape
        raise ValueError(
            f"image and ignore must both be (height, width), got {image.shape} and {given}; give one frame"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64)) / (255.0 if image.dtype == np.uint8 else 1)
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ValueError(f"image must be uint8 or in [0, 1], got {image.dtype} up to {image.max():g}; rescale it")
    rows, columns, area = _scan_lines(beam, (image.shape[0], image.shape[1]))
    seen = torch.ones_like(pixels) if ignore is None else 1 - torch.from_numpy(ignore.astype(np.float64))
    level, known = _sampled(torch.stack([pixels * seen, seen]), rows, columns)
    valid = known > 0.5
    valid &= valid.sum(0) >= _FEWEST
    if not valid.any():
        raise ValueError(f"{beam} covers too little of an image of {image.shape}; is it in this image's pixels?")
    level = _smoothed(torch.where(valid, level / known.clamp_min(0.5), 0.0), valid)
    dark = level <= max(_BLACK, _FLOOR * float(torch.quantile(level[valid], _BRIGHT)))
    weight = area * valid
    return float((weight * _shadows(dark, valid)).sum() / weight.sum())


def _shadows(dark: Tensor, valid: Tensor) -> Tensor:
    """Whether each sample (depth, line) lies in shadow."""
    behind = valid.flip(0).cumsum(0).flip(0)  # samples from here to the deep end
    brighter = (valid & ~dark).flip(0).cumsum(0).flip(0)
    begins = dark & valid & (brighter <= _EXCEPTIONS * behind)
    shadows = (begins.cumsum(0) > 0).to(torch.float64)
    # A mean is dark only if all it covers is dark, which is what lies beside its centre as well.
    reach = functional.max_pool2d(shadows[None], (_ALONG, _ACROSS), stride=1, padding=(_ALONG // 2, _ACROSS // 2))
    return reach[0] > 0


def _scan_lines(beam: Beam, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of each sample (depth, line), and the area it stands for, up to a factor."""
    depth = ((torch.arange(_SAMPLES, dtype=torch.float64) + 0.5) / _SAMPLES)[:, None]
    across = ((torch.arange(_LINES, dtype=torch.float64) + 0.5) / _LINES)[None, :]
    if isinstance(beam, SectorBeam):
        radius = beam.radii[0] + depth * (beam.radii[1] - beam.radii[0])
        angle = torch.deg2rad(beam.steering_deg + (2 * across - 1) * beam.half_angle_deg)
        rows, columns = beam.apex[0] + radius * torch.cos(angle), beam.apex[1] + radius * torch.sin(angle)
        return rows, columns, radius.expand(rows.shape)
    top, bottom, left, right = beam.ends(size)
    ones = torch.ones(_SAMPLES, _LINES, dtype=torch.float64)
    return ones * (top + depth * (bottom - top)), ones * (left + across * (right - left)), ones


def _sampled(channels: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear values of two channels (2, H, W) at positions (depth, line); 0 outside the image."""
    height, width = channels.shape[-2:]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    values = functional.grid_sample(channels[None], grid[None], align_corners=False)[0]
    return values[0], values[1]


def _smoothed(level: Tensor, valid: Tensor) -> Tensor:
    """Mean over the neighbours that are valid."""
    both = torch.stack([level * valid, valid.to(level.dtype)])[None]
    kernel = (_ALONG, _ACROSS)
    sums = functional.avg_pool2d(both, kernel, stride=1, padding=(_ALONG // 2, _ACROSS // 2))[0]
    return sums[0] / sums[1].clamp_min(1e-9)
