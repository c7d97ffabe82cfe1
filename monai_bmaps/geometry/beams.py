"""Where the sound goes: a beam turns pixel positions into depth, 0 at the transducer and 1 at the far end.

Linear: ``(row - top) / (bottom - top)``; sector: ``(r - near) / (far - near)``, r being the distance from the
apex (Dominguez et al. 2024, https://arxiv.org/abs/2407.05428). Pixel (i, j)'s centre lies at
(i * spacing_row, j * spacing_column): lengths share the unit of ``spacing``, pixels at the default 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_bmaps.geometry.checks import (
    Shape,
    Spacing,
    check_number,
    check_order,
    check_pair,
    check_positive,
    check_shape,
    check_spacing,
)

# Traced in NumPy: with PyTorch's threads a map this small waits longer for them than it computes.
Numbers: TypeAlias = NDArray[np.float64]

# Ends are inclusive: this share of a length keeps row 3 at spacing 0.1 inside an end at 0.3.
_ROUNDING = 1e-9


class _Traced(ABC):
    """What both beams offer once they can trace depth and inside."""

    @abstractmethod
    def _trace(self, shape: Shape, spacing: Spacing) -> tuple[Numbers, NDArray[np.bool_]]:
        """Depth (float64, meaningless outside) and whether inside, each broadcastable to (height, width)."""

    def depth_map(self, shape: Shape, spacing: Spacing = 1.0, *, device: torch.device | str | None = None) -> Tensor:
        """Depth at each pixel's centre; 0 outside the beam.

        Pixel (i, j)'s centre lies at (i * spacing_row, j * spacing_column). Computed in float64, cast once.

        Args:
            shape: (height, width) of the image.
            spacing: distance between pixel centres, one number or (row, column).
            device: where the result goes; None is the CPU.

        Returns:
            (height, width), float32, in [0, 1].

        Raises:
            ValueError: the shape or spacing is unusable, or the beam has no extent in such an image.
        """
        depth, inside = self._trace(shape, spacing)
        return torch.from_numpy(np.where(inside, depth.clip(0.0, 1.0), 0.0).astype(np.float32)).to(device)

    def mask(self, shape: Shape, spacing: Spacing = 1.0) -> Tensor:
        """Whether each pixel's centre lies inside the beam, ends included: (height, width), bool."""
        return torch.from_numpy(self._trace(shape, spacing)[1])


@dataclass(frozen=True)
class LinearBeam(_Traced):
    """A rectangular beam: parallel lines straight down, from the transducer face at row ``top``.

    Args:
        top: row position of the transducer face, where depth is 0; 0 is the first row.
        bottom: row position of the far end, where depth is 1; None is the last row.
        left: column position of the first line; None is the image's edge.
        right: column position of the last line; None is the image's edge.

    All four ends are inclusive and in the unit of ``spacing`` (pixels at spacing 1).

    Raises:
        ValueError: an end is not finite, ``top >= bottom`` or ``left >= right``.

    >>> LinearBeam().depth_map((5, 2))[:, 0]
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """

    top: float = 0.0
    bottom: float | None = None
    left: float | None = None
    right: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name == "top" or value is not None:
                _set(self, name, check_number(name, value))
        if self.bottom is not None:
            check_order("top", self.top, "bottom", self.bottom)
        if self.left is not None and self.right is not None:
            check_order("left", self.left, "right", self.right)

    def ends(self, shape: Shape, spacing: Spacing = 1.0) -> tuple[float, float, float, float]:
        """Top, bottom, left and right in an image of this shape, with None replaced by the image's edge.

        >>> LinearBeam(top=1).ends((4, 6), spacing=0.5)
        (1.0, 1.5, 0.0, 2.5)
        """
        (height, width), (row, column) = check_shape(shape), check_spacing(spacing)
        bottom = (height - 1) * row if self.bottom is None else self.bottom
        right = (width - 1) * column if self.right is None else self.right
        check_order("top", self.top, f"bottom, in an image {height} pixels high", bottom)
        return self.top, bottom, 0.0 if self.left is None else self.left, right

    def _trace(self, shape: Shape, spacing: Spacing) -> tuple[Numbers, NDArray[np.bool_]]:
        rows, columns = _centres(shape, spacing)
        top, bottom, left, right = ends = self.ends(shape, spacing)
        slack = _ROUNDING * max(map(abs, ends))
        inside_rows = (rows >= top - slack) & (rows <= bottom + slack)
        inside = inside_rows & (columns >= left - slack) & (columns <= right + slack)
        return (rows - top) / (bottom - top), inside

    def scaled(self, factor: float) -> LinearBeam:
        """The same beam in another unit of length: every length times ``factor`` (e.g. pixels to mm)."""
        factor = check_positive("factor", factor)
        bottom, left, right = (None if v is None else v * factor for v in (self.bottom, self.left, self.right))
        return LinearBeam(self.top * factor, bottom, left, right)

    def resampled(self, from_shape: Shape, to_shape: Shape) -> LinearBeam:
        """The beam, in pixels, after its image is resized with ``align_corners=False``.

        A position x becomes ``(x + 0.5) * factor - 0.5``, the factors of rows and columns may differ.
        Ends at the image's edge (``top`` 0, the others None) stay at the edge.

        Args:
            from_shape: (height, width) of the image the beam belongs to.
            to_shape: (height, width) after resizing.

        >>> LinearBeam(top=10, bottom=50).resampled((64, 64), (128, 64))
        LinearBeam(top=20.5, bottom=100.5, left=None, right=None)
        """
        row, column = _resize_factors(from_shape, to_shape)
        return LinearBeam(
            top=_resized(self.top, row) if self.top else 0.0,
            bottom=None if self.bottom is None else _resized(self.bottom, row),
            left=None if self.left is None else _resized(self.left, column),
            right=None if self.right is None else _resized(self.right, column),
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able mapping that :func:`beam_from_dict` reads back exactly."""
        return {"kind": "linear", **asdict(self)}


@dataclass(frozen=True)
class SectorBeam(_Traced):
    """A fan of lines from one apex: phased array (near radius 0) or curvilinear array (near radius > 0).

    Args:
        apex: (row, column) where the lines meet; may lie outside the image.
        radii: (near, far): the apex's distance to the transducer face (depth 0) and far end (depth 1).
        half_angle_deg: angle between the centre line and either side, in (0, 90].
        steering_deg: angle of the centre line from straight down, positive towards larger columns,
            in [-180, 180].

    Both radii and both sides are inclusive; lengths are in the unit of ``spacing`` (pixels at spacing 1).

    Raises:
        ValueError: a number is not finite or out of its range, or ``near >= far``.

    >>> SectorBeam(apex=(0, 2), radii=(0, 4), half_angle_deg=45).depth_map((5, 5))[:, 2]
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """

    apex: tuple[float, float]
    radii: tuple[float, float]
    half_angle_deg: float
    steering_deg: float = 0.0

    def __post_init__(self) -> None:
        for name in ("apex", "radii"):
            _set(self, name, check_pair(name, getattr(self, name)))
        for name in ("half_angle_deg", "steering_deg"):
            _set(self, name, check_number(name, getattr(self, name)))
        if self.radii[0] < 0:
            raise ValueError(f"the near radius must be at least 0, got {self.radii[0]}; a phased array has 0")
        check_order("near radius", self.radii[0], "far radius", self.radii[1])
        if not 0 < self.half_angle_deg <= 90:
            given = self.half_angle_deg
            raise ValueError(f"half_angle_deg must lie in (0, 90], got {given}; give half the opening in degrees")
        if not -180 <= self.steering_deg <= 180:
            given = self.steering_deg
            raise ValueError(f"steering_deg must lie in [-180, 180], got {given}; 0 is straight down")

    def _trace(self, shape: Shape, spacing: Spacing) -> tuple[Numbers, NDArray[np.bool_]]:
        radius, angle = self._polar(shape, spacing)
        near, far = self.radii
        slack = _ROUNDING * far
        inside = (radius >= near - slack) & (radius <= far + slack)
        return (radius - near) / (far - near), inside & (np.abs(angle) <= math.radians(self.half_angle_deg) + _ROUNDING)

    def polar(self, shape: Shape, spacing: Spacing = 1.0) -> tuple[Tensor, Tensor]:
        """Each pixel centre's distance from the apex, and its angle from the centre line in radians.

        The angle is positive towards larger columns, in [-pi, pi]. Both (height, width), float64.

        >>> [float(x) for x in SectorBeam((0, 0), (0, 9), 40, steering_deg=90).polar((1, 4))[0][0]]
        [0.0, 1.0, 2.0, 3.0]
        """
        radius, angle = self._polar(shape, spacing)
        return torch.from_numpy(radius), torch.from_numpy(angle)

    def _polar(self, shape: Shape, spacing: Spacing) -> tuple[Numbers, Numbers]:
        rows, columns = _centres(shape, spacing)
        rows, columns, steering = rows - self.apex[0], columns - self.apex[1], math.radians(self.steering_deg)
        along = rows * math.cos(steering) + columns * math.sin(steering)
        across = columns * math.cos(steering) - rows * math.sin(steering)
        return np.hypot(along, across), np.arctan2(across, along)

    def scaled(self, factor: float) -> SectorBeam:
        """The same beam in another unit of length: every length times ``factor`` (e.g. pixels to mm)."""
        factor = check_positive("factor", factor)
        (row, column), (near, far) = self.apex, self.radii
        return replace(self, apex=(row * factor, column * factor), radii=(near * factor, far * factor))

    def shifted(self, rows: float, columns: float) -> SectorBeam:
        """The beam moved by (rows, columns), in its own unit."""
        return replace(self, apex=(self.apex[0] + rows, self.apex[1] + columns))

    def resampled(self, from_shape: Shape, to_shape: Shape) -> SectorBeam:
        """The beam, in pixels, after its image is resized with ``align_corners=False``.

        A position x becomes ``(x + 0.5) * factor - 0.5``.

        Args:
            from_shape: (height, width) of the image the beam belongs to.
            to_shape: (height, width) after resizing, by one factor for rows and columns.

        Raises:
            ValueError: the factors differ, so that circles would become ellipses.

        >>> SectorBeam((-0.5, 31.5), (0, 60), 40).resampled((64, 64), (128, 128)).apex
        (-0.5, 63.5)
        """
        row, column = _resize_factors(from_shape, to_shape)
        if not math.isclose(row, column, rel_tol=1e-9):
            move = (0.5 - 0.5 / row, 0.5 - 0.5 / column)
            raise ValueError(
                f"a sector needs one factor for rows and columns, got {row:g} and {column:g}; "
                "keep the old pixels as unit and use spacing: "
                f"beam.shifted{move}.depth_map({tuple(to_shape)}, spacing={(1 / row, 1 / column)})"
            )
        apex = (_resized(self.apex[0], row), _resized(self.apex[1], column))
        return replace(self, apex=apex, radii=(self.radii[0] * row, self.radii[1] * row))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able mapping that :func:`beam_from_dict` reads back exactly."""
        return {"kind": "sector"} | {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


Beam: TypeAlias = LinearBeam | SectorBeam

_KINDS: dict[str, type[LinearBeam] | type[SectorBeam]] = {"linear": LinearBeam, "sector": SectorBeam}


def beam_from_dict(mapping: Mapping[str, Any]) -> Beam:
    """Read a beam back from its ``to_dict()``.

    Raises:
        ValueError: the kind or a key is unknown, or a needed key is missing.

    >>> beam_from_dict({"kind": "linear", "top": 8})
    LinearBeam(top=8.0, bottom=None, left=None, right=None)
    """
    values = dict(mapping)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"beam kind must be one of {sorted(_KINDS)}, got {kind!r}; set the key 'kind'")
    allowed = [field.name for field in fields(_KINDS[kind])]
    if unknown := sorted(set(values) - set(allowed)):
        raise ValueError(f"a {kind} beam has the keys {allowed}, got {unknown}; remove or rename these")
    needed = ("apex", "radii", "half_angle_deg") if kind == "sector" else ()
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"a {kind} beam needs the keys {list(needed)}, {missing} are missing; add them")
    return _KINDS[kind](**values)


def _centres(shape: Shape, spacing: Spacing) -> tuple[Numbers, Numbers]:
    """Row positions (height, 1) and column positions (1, width) of the pixel centres, float64."""
    (height, width), (row, column) = check_shape(shape), check_spacing(spacing)
    rows = np.arange(height, dtype=np.float64) * row
    columns = np.arange(width, dtype=np.float64) * column
    return rows[:, None], columns[None, :]


def _resize_factors(from_shape: Shape, to_shape: Shape) -> tuple[float, float]:
    before, after = check_shape(from_shape), check_shape(to_shape)
    return after[0] / before[0], after[1] / before[1]


def _resized(position: float, factor: float) -> float:
    return (position + 0.5) * factor - 0.5


def _set(beam: object, name: str, value: object) -> None:
    object.__setattr__(beam, name, value)
