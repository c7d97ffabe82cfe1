"""Where the sound goes: a beam turns pixel positions into depth, 0 at the transducer and 1 at the far end.

Linear: ``(row - top) / (bottom - top)``; sector: ``(r - near) / (far - near)``, r being the distance from the
apex (Dominguez et al. 2024, https://arxiv.org/abs/2407.05428). Pixel (i, j)'s centre lies at
(i * spacing_row, j * spacing_column): lengths share the unit of ``spacing``, pixels at the default 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

Shape: TypeAlias = Sequence[int]
Spacing: TypeAlias = float | tuple[float, float]

# Ends are inclusive: this share of a length keeps row 3 at spacing 0.1 inside an end at 0.3.
_ROUNDING = 1e-9


class _Traced(ABC):
    """What both beams offer once they can trace depth and inside."""

    @abstractmethod
    def _trace(self, shape: Shape, spacing: Spacing) -> tuple[Tensor, Tensor]:
        """Depth (float64, meaningless outside) and whether inside, each broadcastable to (height, width)."""

    def depth_map(
        self, shape: Shape, spacing: Spacing = 1.0, *, device: torch.device | str | None = None
    ) -> Tensor:
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
        # float64 stays on the CPU: some devices lack it
        return torch.where(inside, depth.clamp(0.0, 1.0), 0.0).to(torch.float32).to(device)

    def mask(self, shape: Shape, spacing: Spacing = 1.0) -> Tensor:
        """Whether each pixel's centre lies inside the beam, ends included: (height, width), bool."""
        return self._trace(shape, spacing)[1]


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
                _set(self, name, _number(name, value))
        if self.bottom is not None:
            _check_order("top", self.top, "bottom", self.bottom)
        if self.left is not None and self.right is not None:
            _check_order("left", self.left, "right", self.right)

    def ends(self, shape: Shape, spacing: Spacing = 1.0) -> tuple[float, float, float, float]:
        """Top, bottom, left and right in an image of this shape, with None replaced by the image's edge.

        >>> LinearBeam(top=1).ends((4, 6), spacing=0.5)
        (1.0, 1.5, 0.0, 2.5)
        """
        (height, width), (row, column) = _check_shape(shape), _check_spacing(spacing)
        bottom = (height - 1) * row if self.bottom is None else self.bottom
        right = (width - 1) * column if self.right is None else self.right
        _check_order("top", self.top, f"bottom, in an image {height} pixels high", bottom)
        return self.top, bottom, 0.0 if self.left is None else self.left, right

    def _trace(self, shape: Shape, spacing: Spacing) -> tuple[Tensor, Tensor]:
        rows, columns = _centres(shape, spacing)
        top, bottom, left, right = ends = self.ends(shape, spacing)
        slack = _ROUNDING * max(map(abs, ends))
        inside_rows = (rows >= top - slack) & (rows <= bottom + slack)
        inside = inside_rows & (columns >= left - slack) & (columns <= right + slack)
        return (rows - top) / (bottom - top), inside

    def scaled(self, factor: float) -> LinearBeam:
        """The same beam in another unit of length: every length times ``factor`` (e.g. pixels to mm)."""
        factor = _check_positive("factor", factor)
        bottom, left, right = (
            None if v is None else v * factor for v in (self.bottom, self.left, self.right)
        )
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
            _set(self, name, _pair(name, getattr(self, name)))
        for name in ("half_angle_deg", "steering_deg"):
            _set(self, name, _number(name, getattr(self, name)))
        if self.radii[0] < 0:
            raise ValueError(f"the near radius must be at least 0, got {self.radii[0]}; a phased array has 0")
        _check_order("near radius", self.radii[0], "far radius", self.radii[1])
        if not 0 < self.half_angle_deg <= 90:
            given = self.half_angle_deg
            raise ValueError(
                f"half_angle_deg must lie in (0, 90], got {given}; give half the opening in degrees"
            )
        if not -180 <= self.steering_deg <= 180:
            given = self.steering_deg
            raise ValueError(f"steering_deg must lie in [-180, 180], got {given}; 0 is straight down")

    def _trace(self, shape: Shape, spacing: Spacing) -> tuple[Tensor, Tensor]:
        rows, columns = _centres(shape, spacing)
        steering = torch.tensor(math.radians(self.steering_deg), dtype=torch.float64)
        radius, angle = _polar(rows - self.apex[0], columns - self.apex[1], steering)
        near, far = self.radii
        slack = _ROUNDING * far
        inside = (radius >= near - slack) & (radius <= far + slack)
        return (radius - near) / (far - near), inside & (
            angle.abs() <= math.radians(self.half_angle_deg) + _ROUNDING
        )

    def scaled(self, factor: float) -> SectorBeam:
        """The same beam in another unit of length: every length times ``factor`` (e.g. pixels to mm)."""
        factor = _check_positive("factor", factor)
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
        return {"kind": "sector"} | {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()
        }


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


def beam_from_slicer_ultrasound(parameters: Mapping[str, object]) -> Beam:
    """Read the mask parameters that SlicerUltrasound's AnonymizeUltrasound module saves; lengths in pixels.

    Angles count from the image's right (+x) towards down (+y), in either order; 90 is straight down. Its
    rectangle ends before ``rectangle_right`` and ``rectangle_bottom``, whereas a beam's ends are inclusive.
    The names ``angle_min_degrees``, ``radius_min_px``, ... are read too; other keys are ignored.

    Raises:
        ValueError: ``mask_type`` is neither "fan" nor "rectangle", or a key is missing.

    >>> fan = {"mask_type": "fan", "angle1": 120, "angle2": 60, "center_rows_px": 0, "center_cols_px": 64}
    >>> beam_from_slicer_ultrasound(fan | {"radius1": 10, "radius2": 100})
    SectorBeam(apex=(0.0, 64.0), radii=(10.0, 100.0), half_angle_deg=30.0, steering_deg=0.0)
    """
    mask_type = parameters.get("mask_type", "fan")
    if mask_type == "rectangle":
        ends = ("top", "bottom", "left", "right")
        top, bottom, left, right = (_look_up(parameters, f"rectangle_{end}") for end in ends)
        return LinearBeam(top, bottom - 1, left, right - 1)
    if mask_type != "fan":
        raise ValueError(
            f"mask_type must be 'fan' or 'rectangle', got {mask_type!r}; draw the mask as one of them"
        )
    first, second = sorted(_look_up(parameters, f"angle{i}", f"angle_{m}_degrees") for i, m in _ENDS)
    if second - first > 180:  # the fan crosses the image's left, where angles jump from 180 to -180
        first, second = second, first + 360
    near, far = sorted(_look_up(parameters, f"radius{i}", f"radius_{m}_px") for i, m in _ENDS)
    return SectorBeam(
        apex=(_look_up(parameters, "center_rows_px"), _look_up(parameters, "center_cols_px")),
        radii=(near, far),
        half_angle_deg=(second - first) / 2,
        steering_deg=math.remainder(90 - (first + second) / 2, 360),
    )


def beam_to_slicer_ultrasound(beam: Beam, shape: Shape) -> dict[str, object]:
    """The beam, in pixels, as SlicerUltrasound's mask parameters for an image of ``shape`` (height, width).

    A rectangle gets whole numbers, because SlicerUltrasound slices arrays with them; its mask stays the same.

    >>> beam_to_slicer_ultrasound(LinearBeam(top=2), (10, 12))["rectangle_bottom"]
    10
    """
    height, width = _check_shape(shape)
    size: dict[str, object] = {"image_size_rows": height, "image_size_cols": width}
    if isinstance(beam, LinearBeam):
        top, bottom, left, right = beam.ends(shape)
        return size | {
            "mask_type": "rectangle",
            "rectangle_top": max(math.ceil(top), 0),
            "rectangle_bottom": min(math.floor(bottom) + 1, height),
            "rectangle_left": max(math.ceil(left), 0),
            "rectangle_right": min(math.floor(right) + 1, width),
        }
    centre = 90 - beam.steering_deg
    return size | {
        "mask_type": "fan",
        "angle1": centre - beam.half_angle_deg,
        "angle2": centre + beam.half_angle_deg,
        "center_rows_px": beam.apex[0],
        "center_cols_px": beam.apex[1],
        "radius1": beam.radii[0],
        "radius2": beam.radii[1],
    }


_ENDS = ((1, "min"), (2, "max"))


def _look_up(parameters: Mapping[str, object], *names: str) -> float:
    """The number under the first of these names that is there."""
    for name in names:
        if parameters.get(name) is not None:
            return _number(name, parameters[name])
    found = sorted(map(str, parameters))
    raise ValueError(f"SlicerUltrasound parameters need {' or '.join(names)}, got the keys {found}; add it")


BeamKind: TypeAlias = Literal["auto", "sector", "linear"]

_LEAST_OVERLAP = 0.8  # a fit below this intersection over union is refused
_PREFER_LINEAR = 0.03  # a linear beam is preferred although a sector overlaps by this much more
_STEP = 0.03  # of the search, in image sizes and radians: larger ones leave the basin of a good start


def fit_beam(mask: Any, kind: BeamKind = "auto", spacing: Spacing = 1.0) -> Beam:
    """Find the beam whose mask overlaps a field-of-view mask best (intersection over union, IoU).

    Sides cut off by the image's edges, holes, speckle and ragged edges are tolerated. The image's edge is no
    evidence of an end; an arc that the mask does not show is put at its nearest or deepest pixel. A near
    radius under 3 % of the far one cannot be told from 0 and becomes 0 (phased array). Deterministic.

    Args:
        mask: (height, width), boolean or 0 and 1; 1 inside the field of view, holes filled if possible.
        kind: which beam; "auto" takes the better one, the linear one where both do (IoU within 0.03).
        spacing: distance between pixel centres; the beam has the same unit (pixels at spacing 1).

    Returns:
        The beam, whose ``mask(mask.shape, spacing)`` reproduces ``mask``.

    Raises:
        ValueError: the mask is empty, not two-dimensional or not 0/1, or no beam reaches IoU 0.8.

    >>> fit_beam(LinearBeam(top=3, bottom=20).mask((24, 32)))
    LinearBeam(top=3.0, bottom=20.0, left=None, right=None)
    """
    inside = _check_mask(mask)
    fits: dict[str, Callable[[Tensor, Spacing], Beam]] = {"linear": _fit_linear, "sector": _fit_sector}
    if kind not in ("auto", *fits):
        raise ValueError(f"kind must be 'auto', 'linear' or 'sector', got {kind!r}; choose one")
    shape = (inside.shape[0], inside.shape[1])
    beams: list[Beam] = [fit(inside, spacing) for name, fit in fits.items() if kind in ("auto", name)]
    overlaps = [_overlap(beam.mask(shape, spacing), inside) for beam in beams]
    linear_will_do = overlaps[0] >= overlaps[-1] - _PREFER_LINEAR
    beam, overlap = (beams[0], overlaps[0]) if linear_will_do else (beams[-1], overlaps[-1])
    if overlap < _LEAST_OVERLAP:
        raise ValueError(
            f"the overlap (IoU) of a beam with the mask must be at least {_LEAST_OVERLAP}, kind {kind!r} got "
            f"{overlap:.3f}; pass the filled field of view as mask, or give the beam's numbers yourself"
        )
    return beam


def _check_mask(mask: Any) -> Tensor:
    """The mask as (height, width), bool."""
    values = mask if isinstance(mask, Tensor) else torch.tensor(mask)
    values = values.detach().cpu().as_subclass(Tensor)  # plain: subclasses such as MetaTensor are slow
    if values.ndim != 2:
        given = tuple(values.shape)
        raise ValueError(f"mask must be (height, width), got shape {given}; drop batch and channel")
    if not bool(((values == 0) | (values == 1)).all()):
        span = f"{values.min().item()} to {values.max().item()}"
        raise ValueError(f"mask must hold only 0 and 1, got values from {span}; pass e.g. image > 0")
    if not bool(values.any()):
        given = tuple(values.shape)
        raise ValueError(
            f"mask must be 1 inside the beam, got only zeros, shape {given}; check the threshold"
        )
    return values.bool()


def _overlap(first: Tensor, second: Tensor) -> float:
    """Intersection over union of two boolean masks."""
    return float((first & second).sum() / (first | second).sum().clamp(min=1))


def _fit_linear(inside: Tensor, spacing: Spacing) -> LinearBeam:
    """The rectangle of rows and columns that are filled at least half as well as the best ones."""
    row, column = _check_spacing(spacing)
    height, width = inside.shape
    top, bottom, left, right = 0, height - 1, 0, width - 1
    for _ in range(3):  # rows and columns depend on one another
        top, bottom = _filled_range(inside[:, left : right + 1].double().mean(1))
        left, right = _filled_range(inside[top : bottom + 1].double().mean(0))
    return LinearBeam(
        top=top * row,
        bottom=None if bottom == height - 1 else max(bottom, top + 1) * row,
        left=None if left == 0 else left * column,
        right=None if right == width - 1 else max(right, left + 1) * column,
    )


def _filled_range(share: Tensor) -> tuple[int, int]:
    """First and last index at which the profile reaches half of its top."""
    filled = (share >= 0.5 * torch.quantile(share[share > 0], 0.9)).nonzero()
    return int(filled[0]), int(filled[-1])


def _fit_sector(inside: Tensor, spacing: Spacing) -> SectorBeam:
    """Refine a few starts on a coarse image and the best two of them on a finer one."""
    with torch.inference_mode(False), torch.enable_grad():  # the caller may have switched gradients off
        coarse, fine = _Sample.of(inside.clone(), spacing, 48), _Sample.of(inside.clone(), spacing, 128)
        trials = [_refine(_refine(start, coarse, 1.0), coarse, 0.5) for start in _starts(coarse)]
        trials.sort(key=lambda trial: _doubt(trial, coarse, 0.5))
        trials = [_refine(_refine(trial, fine, 0.7), fine, 0.3) for trial in trials[:2]]
        return _sector(min(trials, key=lambda trial: _doubt(trial, fine, 0.3)), fine.unit)


def _sector(parameters: Tensor, unit: float) -> SectorBeam:
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
    """A mask averaged to few pixels: positions and pixel size over ``unit``, and the share inside."""

    rows: Tensor
    columns: Tensor
    inside: Tensor
    pixel: float
    unit: float

    @classmethod
    def of(cls, inside: Tensor, spacing: Spacing, longest: int) -> _Sample:
        row, column = _check_spacing(spacing)
        height, width = inside.shape
        shrink = max(1.0, max(height, width) / longest)
        size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
        share = torch.nn.functional.interpolate(inside.double()[None, None], size, mode="area")[0, 0]
        unit = max(height * row, width * column)
        rows = ((torch.arange(size[0], dtype=torch.float64) + 0.5) * height / size[0] - 0.5) * row / unit
        columns = ((torch.arange(size[1], dtype=torch.float64) + 0.5) * width / size[1] - 0.5) * column / unit
        return cls(rows[:, None], columns[None, :], share, shrink * max(row, column) / unit, unit)


def _soft_loss(parameters: Tensor, sample: _Sample, softness: float) -> Tensor:
    """One minus a differentiable IoU: the beam's edge is a sigmoid, ``softness`` pixels wide.

    The six parameters: apex row and column, near and far radius, half angle and steering (radians).
    """
    apex_row, apex_column, near, far, half, steering = parameters.unbind()
    rows, columns = sample.rows - apex_row, sample.columns - apex_column
    along = rows * steering.cos() + columns * steering.sin()
    across = columns * steering.cos() - rows * steering.sin()
    radius = (along.square() + across.square() + 1e-12).sqrt()
    side = along * half.sin() - across.abs() * half.cos()  # signed distance to the nearer side line
    width = softness * sample.pixel
    soft = ((radius - near) / width).sigmoid() * ((far - radius) / width).sigmoid() * (side / width).sigmoid()
    both = (soft * sample.inside).sum()
    return 1 - both / (soft.sum() + sample.inside.sum() - both)


def _refine(start: Tensor, sample: _Sample, softness: float) -> Tensor:
    """Descend from ``start`` to the nearest best overlap."""
    move = torch.zeros_like(start, requires_grad=True)
    descent = torch.optim.LBFGS([move], max_iter=60, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def closure() -> float:
        descent.zero_grad()
        loss = _soft_loss(start + _STEP * move, sample, softness)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    descent.step(closure)  # type: ignore[no-untyped-call]
    return _within_sight((start + _STEP * move).detach(), sample)


def _doubt(parameters: Tensor, sample: _Sample, softness: float) -> float:
    """The loss, and a little for steering: of two fits that overlap alike, the straighter is likelier."""
    return float(_soft_loss(parameters, sample, softness) + 0.02 * parameters[5].abs())


def _within_sight(parameters: Tensor, sample: _Sample) -> Tensor:
    """Radii brought back to what the mask shows: beyond it they change no pixel and have no gradient."""
    row, column, near, far, half, steering = parameters
    radius, angle = _polar(sample.rows - row, sample.columns - column, steering)
    seen = radius[(sample.inside > 0.5) & (angle.abs() <= half)]
    if seen.numel() == 0:
        return parameters
    nearest, farthest = torch.quantile(seen, torch.tensor([0.001, 0.999], dtype=torch.float64))
    margin = 0.5 * sample.pixel
    if nearest < 0.05 * farthest:  # the quantile of a full wedge lies at 3 % of its radius
        nearest = torch.zeros_like(nearest)
    near = near.clamp(min=float((nearest - margin).clamp(min=0.0)))
    return torch.stack([row, column, near, far.clamp(max=float(farthest + margin)), half, steering])


def _starts(sample: _Sample) -> list[Tensor]:
    """Guesses (6,): a phased and two curvilinear arrays, and the mask's straight sides if it shows them."""
    inside = sample.inside > 0.5
    if not bool(inside.any()):
        inside = sample.inside > 0
    rows = sample.rows[inside.any(1), 0]
    columns = sample.columns[0, inside.any(0)]
    top, height = rows[0], rows[-1] - rows[0] + sample.pixel
    middle = (columns[0] + columns[-1]) / 2
    starts = []
    for near, half in ((0.0 * height, 0.7), (0.5 * height, 0.5), (2.0 * height, 0.2)):
        angles = torch.tensor([half, 0.0], dtype=torch.float64)
        starts.append(torch.stack([top - near, middle, near, near + height, *angles]))
    if (sides := _side_lines(inside, sample)) is not None:
        starts.append(sides)
    return starts


def _side_lines(inside: Tensor, sample: _Sample) -> Tensor | None:
    """A guess (6,) from the straight lines along the mask's left and right side; None if they do not meet."""
    rows = inside.any(1).nonzero()[:, 0]
    numbers = torch.arange(inside.shape[1])
    left = torch.where(inside[rows], numbers, inside.shape[1]).amin(1)
    right = torch.where(inside[rows], numbers, -1).amax(1)
    lines = []
    for ends, edge in ((left, 0), (right, inside.shape[1] - 1)):
        seen = ends != edge  # a boundary on the image's edge is no evidence
        if int(seen.sum()) < 3:
            return None
        lines.append(_dominant_line(sample.rows[rows[seen], 0], sample.columns[0, ends[seen]], sample.pixel))
    (slope_left, base_left), (slope_right, base_right) = lines
    if slope_right - slope_left < 1e-3:
        return None
    row = (base_left - base_right) / (slope_right - slope_left)
    column = base_left + slope_left * row
    angle_left, angle_right = math.atan(slope_left), math.atan(slope_right)
    radius = torch.hypot(sample.rows - row, sample.columns - column)[inside]
    near, far = torch.quantile(radius, torch.tensor([0.01, 0.99], dtype=torch.float64)).tolist()
    half, steering = (angle_right - angle_left) / 2, (angle_right + angle_left) / 2
    return torch.tensor([row, column, near, far, half, steering], dtype=torch.float64)


def _dominant_line(rows: Tensor, columns: Tensor, tolerance: float) -> tuple[float, float]:
    """Slope and base of ``column = base + slope * row``, through the two points that most others are near."""
    first, second = torch.combinations(torch.arange(len(rows))).unbind(1)
    slope = (columns[second] - columns[first]) / (rows[second] - rows[first])
    base = columns[first] - slope * rows[first]
    miss = (base[:, None] + slope[:, None] * rows - columns).abs() / (1 + slope[:, None].square()).sqrt()
    best = int((1 - (miss / tolerance).square()).clamp(min=0).sum(1).argmax())
    return float(slope[best]), float(base[best])


def _centres(shape: Shape, spacing: Spacing) -> tuple[Tensor, Tensor]:
    """Row positions (height, 1) and column positions (1, width) of the pixel centres, float64."""
    (height, width), (row, column) = _check_shape(shape), _check_spacing(spacing)
    rows = torch.arange(height, dtype=torch.float64) * row
    columns = torch.arange(width, dtype=torch.float64) * column
    return rows[:, None], columns[None, :]


def _polar(rows: Tensor, columns: Tensor, steering: Tensor) -> tuple[Tensor, Tensor]:
    """Distance from the apex and angle from the centre line (radians) of offsets from the apex."""
    along = rows * steering.cos() + columns * steering.sin()
    across = columns * steering.cos() - rows * steering.sin()
    return torch.hypot(along, across), torch.atan2(across, along)


def _resize_factors(from_shape: Shape, to_shape: Shape) -> tuple[float, float]:
    before, after = _check_shape(from_shape), _check_shape(to_shape)
    return after[0] / before[0], after[1] / before[1]


def _resized(position: float, factor: float) -> float:
    return (position + 0.5) * factor - 0.5


def _set(beam: object, name: str, value: object) -> None:
    object.__setattr__(beam, name, value)


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {value!r}; give one")
    return number


def _pair(name: str, value: Any) -> tuple[float, float]:
    values = tuple(value) if isinstance(value, Iterable) else (value,)
    if len(values) != 2:
        raise ValueError(f"{name} must be two numbers, got {value!r}; give a pair")
    return _number(name, values[0]), _number(name, values[1])


def _check_positive(name: str, value: Any) -> float:
    if (number := _number(name, value)) <= 0:
        raise ValueError(f"{name} must be above 0, got {number}; give a positive number")
    return number


def _check_order(low: str, first: float, high: str, second: float) -> None:
    if not first < second:
        raise ValueError(f"{low} must be less than {high}, got {first} and {second}; swap or widen them")


def _check_shape(shape: Shape) -> tuple[int, int]:
    if len(shape) != 2 or any(int(n) != n or n < 1 for n in shape):
        raise ValueError(
            f"shape must be (height, width), whole and above 0, got {tuple(shape)}; give these two"
        )
    return int(shape[0]), int(shape[1])


def _check_spacing(spacing: Spacing) -> tuple[float, float]:
    row, column = _pair("spacing", spacing if isinstance(spacing, Iterable) else (spacing, spacing))
    return _check_positive("spacing", row), _check_positive("spacing", column)
