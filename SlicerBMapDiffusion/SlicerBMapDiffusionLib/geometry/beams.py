"""The beam of a probe on a frame: in mm as its user sets it, in pixels as the generator reads it, as an outline.

A dictionary of a beam is what ``Beam.to_dict()`` of monai_bmaps gives, in pixels of the frame, pixel (0, 0)'s centre
being (0, 0): ``{"kind": "linear", "top", "bottom", "left", "right"}``, None being the image's edge, or
``{"kind": "sector", "apex": [row, column], "radii": [near, far], "half_angle_deg", "steering_deg"}``, the angle of
its steering counted from straight down towards larger columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from SlicerBMapDiffusionLib.geometry.frames import Frame, FrameSize

BeamKind: TypeAlias = Literal["linear", "curvilinear", "phased"]
Beam: TypeAlias = Mapping[str, Any]

_SAME = 1e-3
_ARC_STEP_DEG = 2.0


@dataclass(frozen=True)
class BeamSettings:
    """A beam in mm and degrees.

    Args:
        kind: "linear" (parallel lines), "curvilinear" (a curved face) or "phased" (from one point).
        depth_mm: from the probe's face to the far end.
        width_mm: between the outermost lines of a linear beam.
        radius_mm: of a curvilinear probe's face.
        half_angle_deg: half the opening of a curvilinear or phased beam, in (0, 90].
        steering_deg: from straight down towards larger columns, curvilinear or phased, in [-90, 90].
        offset_mm: (row, column) of the face's middle from the middle of the frame's first row.

    Raises:
        ValueError: a number is out of its range.
    """

    kind: BeamKind
    depth_mm: float
    width_mm: float = 40.0
    radius_mm: float = 50.0
    half_angle_deg: float = 35.0
    steering_deg: float = 0.0
    offset_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.kind not in get_args(BeamKind):
            raise ValueError(f"a beam is {', '.join(get_args(BeamKind))}, not {self.kind!r}; choose one of these")
        for name in ("depth_mm", "width_mm", "radius_mm"):
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise ValueError(f"{name} must be above 0 mm, got {value}; give a length in mm")
        if not 0 < self.half_angle_deg <= 90:
            raise ValueError(f"half_angle_deg must lie in (0, 90], got {self.half_angle_deg}; give half the opening")
        if not -90 <= self.steering_deg <= 90:
            raise ValueError(f"steering_deg must lie in [-90, 90], got {self.steering_deg}; 0 is straight down")

    def to_pixels(self, size: FrameSize) -> dict[str, Any]:
        """The beam as the generator reads it, in pixels of a frame of this size.

        Raises:
            ValueError: a curvilinear or phased beam on pixels that are not square.
        """
        row = self.offset_mm[0] / size.row_mm
        column = (size.columns - 1) / 2 + self.offset_mm[1] / size.column_mm
        if self.kind == "linear":
            half, bottom = self.width_mm / 2 / size.column_mm, row + self.depth_mm / size.row_mm
            return {"kind": "linear", "top": row, "bottom": bottom, "left": column - half, "right": column + half}
        pixel = _square_pixel(size)
        near = self.radius_mm / pixel if self.kind == "curvilinear" else 0.0
        along = (math.cos(math.radians(self.steering_deg)), math.sin(math.radians(self.steering_deg)))
        return {
            "kind": "sector",
            "apex": [row - near * along[0], column - near * along[1]],
            "radii": [near, near + self.depth_mm / pixel],
            "half_angle_deg": self.half_angle_deg,
            "steering_deg": self.steering_deg,
        }

    @classmethod
    def from_pixels(cls, beam: Beam, size: FrameSize) -> BeamSettings:
        """The beam that a dictionary in pixels of a frame of this size describes.

        Raises:
            ValueError: the dictionary is no beam, or a sector on pixels that are not square.
        """
        kind, values = _checked(beam, size.rows, size.columns)
        middle = (size.columns - 1) / 2
        if kind == "linear":
            top, bottom, left, right = values
            offset = (top * size.row_mm, ((left + right) / 2 - middle) * size.column_mm)
            width, depth = (right - left) * size.column_mm, (bottom - top) * size.row_mm
            return cls("linear", depth, width_mm=width, offset_mm=offset)
        row, column, near, far, half_angle, steering = values
        pixel = _square_pixel(size)
        row += near * math.cos(math.radians(steering))
        column += near * math.sin(math.radians(steering)) - middle
        round_face = {"radius_mm": near * pixel} if near > 0 else {}
        return cls(
            "curvilinear" if near > 0 else "phased",
            (far - near) * pixel,
            half_angle_deg=half_angle,
            steering_deg=steering,
            offset_mm=(row * pixel, column * pixel),
            **round_face,
        )

    def described(self) -> str:
        """The numbers that this kind of beam has, for a line of text."""
        if self.kind == "linear":
            return f"{self.depth_mm:.1f} mm deep, {self.width_mm:.1f} mm wide"
        return f"{self.depth_mm:.1f} mm deep, {2 * self.half_angle_deg:.1f}\N{DEGREE SIGN} wide"

    def lowered(self) -> BeamSettings:
        """The same beam where its whole face is in the frame: a curved face's ends lie above its middle."""
        if self.kind != "curvilinear":
            return replace(self, offset_mm=(0.0, self.offset_mm[1]))
        ends = [min(abs(self.steering_deg + side * self.half_angle_deg), 180.0) for side in (-1, 1)]
        rise = math.cos(math.radians(self.steering_deg)) - min(math.cos(math.radians(angle)) for angle in ends)
        return replace(self, offset_mm=(max(self.radius_mm * rise, 0.0), self.offset_mm[1]))


def outline(beam: Beam, rows: int, columns: int) -> NDArray[np.float64]:
    """The beam's edge as a closed line: (N, 2) positions (row, column), the last the first again.

    Raises:
        ValueError: the dictionary is no beam.
    """
    kind, values = _checked(beam, rows, columns)
    if kind == "linear":
        top, bottom, left, right = values
        return np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])
    row, column, near, far, half_angle, steering = values
    steps = max(math.ceil(2 * half_angle / _ARC_STEP_DEG), 2)
    angles = np.radians(steering + np.linspace(-half_angle, half_angle, steps + 1))
    rays = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    face = near * rays if near > 0 else np.zeros((1, 2))
    line = np.concatenate((face, far * rays[::-1], face[:1]))
    return np.asarray(line + np.array((row, column)))


def carried(beam: Beam, source: Frame, target: Frame) -> dict[str, Any]:
    """A beam known in one frame's pixels, in those of another frame that lies in the same plane.

    Raises:
        ValueError: the planes differ, a sector's pixels are not square, or a linear beam would come to lie askew.
    """
    if abs(source.axes[2] @ target.axes[2]) < 1 - _SAME:
        raise ValueError("the beam was found in another plane than the frame's; choose the volume's own slices")
    to_target = np.linalg.inv(target.ijk_to_ras) @ source.ijk_to_ras
    kind, values = _checked(beam, source.rows, source.columns)
    if kind == "linear":
        return _carried_rectangle(to_target, values)
    row, column, near, far, half_angle, steering = values
    scale = _square_pixel(source.size) / _square_pixel(target.size)
    apex = to_target @ (column, row, 0, 1)
    ray = to_target[:2, :2] @ (math.sin(math.radians(steering)), math.cos(math.radians(steering)))
    return {
        "kind": "sector",
        "apex": [float(apex[1]), float(apex[0])],
        "radii": [near * scale, far * scale],
        "half_angle_deg": half_angle,
        "steering_deg": math.degrees(math.atan2(ray[0], ray[1])),
    }


def _carried_rectangle(to_target: NDArray[np.float64], values: tuple[float, ...]) -> dict[str, Any]:
    top, bottom, left, right = values
    along = to_target[:2, 1] / np.linalg.norm(to_target[:2, 1])
    if along[1] < 1 - _SAME:
        raise ValueError("a linear beam points straight down, this one lies askew in the frame; turn the frame")
    first, last = (to_target @ (column, row, 0, 1) for column, row in ((left, top), (right, bottom)))
    left, right = sorted((float(first[0]), float(last[0])))
    return {"kind": "linear", "top": float(first[1]), "bottom": float(last[1]), "left": left, "right": right}


def from_slicer_ultrasound(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The beam of the mask parameters that SlicerUltrasound's AnonymizeUltrasound module saves.

    Its angles count from the image's right towards down, in either order; its rectangle ends before its right and
    bottom; older files say ``angle_min_degrees`` or ``radius_min_px``. In pixels of the image they were made on
    (``image_size_rows``, ``image_size_cols``).

    Raises:
        ValueError: ``mask_type`` is neither "fan" nor "rectangle", or a key is missing.
    """
    kind = parameters.get("mask_type", "fan")
    if kind == "rectangle":
        top, bottom, left, right = (
            _number(parameters, f"rectangle_{end}") for end in ("top", "bottom", "left", "right")
        )
        return {"kind": "linear", "top": top, "bottom": bottom - 1, "left": left, "right": right - 1}
    if kind != "fan":
        raise ValueError(f"mask_type must be 'fan' or 'rectangle', got {kind!r}; draw the mask as one of them")
    first, second = sorted(_number(parameters, f"angle{n}", f"angle_{m}_degrees") for n, m in _ENDS)
    if second - first > 180:  # across the image's left, where angles jump from 180 to -180
        first, second = second, first + 360
    return {
        "kind": "sector",
        "apex": [_number(parameters, "center_rows_px"), _number(parameters, "center_cols_px")],
        "radii": sorted(_number(parameters, f"radius{n}", f"radius_{m}_px") for n, m in _ENDS),
        "half_angle_deg": (second - first) / 2,
        "steering_deg": math.remainder(90 - (first + second) / 2, 360),
    }


_ENDS = ((1, "min"), (2, "max"))
_EDGES = ("top", "bottom", "left", "right")


def _number(parameters: Mapping[str, Any], *names: str) -> float:
    for name in names:
        value = parameters.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    raise ValueError(f"SlicerUltrasound's parameters need a number under {' or '.join(names)}; save them again there")


def _checked(beam: Beam, rows: int, columns: int) -> tuple[str, tuple[float, ...]]:
    """The kind, and the numbers in the order of its keys, with None replaced by the image's edge."""
    kind = beam.get("kind")
    try:
        if kind == "linear":
            values = _rectangle(beam, rows, columns)
            usable = values[0] < values[1] and values[2] < values[3]
        elif kind == "sector":
            values = (*beam["apex"], *beam["radii"], beam["half_angle_deg"], beam.get("steering_deg", 0.0))
            usable = len(values) == 6 and 0 <= values[2] < values[3] and 0 < values[4] <= 90
        else:
            raise ValueError(f"a beam's kind is 'linear' or 'sector', not {kind!r}; choose one of these")
        values = tuple(map(float, values))
    except (KeyError, TypeError) as error:
        raise ValueError(f"this {kind} beam lacks numbers: {error}; set it again") from error
    if not usable or not all(map(math.isfinite, values)):
        raise ValueError(
            f"this {kind} beam has no extent in an image of {rows} x {columns}: {dict(beam)}; set it again"
        )
    return str(kind), values


def _rectangle(beam: Beam, rows: int, columns: int) -> tuple[float, ...]:
    edges = dict(zip(_EDGES, (0.0, rows - 1.0, 0.0, columns - 1.0), strict=True))
    given = {name: value for name in edges if (value := beam.get(name)) is not None}
    return tuple(float(value) for value in (edges | given).values())


def _square_pixel(size: FrameSize) -> float:
    if not math.isclose(size.row_mm, size.column_mm, rel_tol=_SAME):
        raise ValueError(
            f"a curved beam needs square pixels, these are {size.row_mm:g} x {size.column_mm:g} mm; "
            "choose the same spacing for rows and columns"
        )
    return (size.row_mm + size.column_mm) / 2
