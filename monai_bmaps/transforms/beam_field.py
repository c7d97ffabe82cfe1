"""What an augmentation follows along the beam: the depth of each pixel and whether it lies inside; and its refusals.

Depth comes from a beam or a depth map. Without a ``sector`` depth 0 counts as outside, which takes in the pixels at
the face; nothing fades there, so it costs an augmentation next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch

from monai_bmaps.geometry import Beam
from monai_bmaps.transforms.beam import BeamDepth

AnyBeam: TypeAlias = Beam | Mapping[str, Any]
Range: TypeAlias = tuple[float, float]

_ROUNDING = 1e-3  # of the value range: what resampling in single precision may add


class BeamField(NamedTuple):
    """Depth in [0, 1] and whether a pixel is inside, both ``(1, *spatial)``; depth is 0 outside."""

    depth: torch.Tensor
    inside: torch.Tensor


@dataclass(frozen=True)
class FieldKeys:
    """Where an item has its depth map, its field of view and its beam."""

    depth: str = "depth"
    sector: str = "sector"
    beam: str = "beam"

    def field(self, item: Mapping[Hashable, Any], key: Hashable, beam: AnyBeam | None = None) -> BeamField:
        """The field for ``item[key]``: of the beam given here, else of the item's depth map, else of its beam.

        Raises:
            KeyError: the item has neither.
            ValueError: a depth map or sector of another size, or with values that are none.
        """
        depth, sector = (item.get(x) if beam is None else None for x in (self.depth, self.sector))
        beam = item.get(self.beam) if beam is None else beam
        if depth is None and beam is None:
            raise self._missing(item, key, f"a depth map {self.depth!r}")
        names = {"name": str(key), "depth_name": self.depth, "sector_name": self.sector}
        return beam_field(item[key].shape, depth, sector, beam, **names)

    def inside(self, item: Mapping[Hashable, Any], key: Hashable, beam: AnyBeam | None = None) -> torch.Tensor:
        """Inside the beam given here, else the item's sector, else its depth above 0, else its beam: ``(1, *spatial)``.

        Raises:
            KeyError: the item has none of them.
            ValueError: a sector or depth map of another size.
        """
        known = [x for x in (self.sector, self.depth) if beam is None and item.get(x) is not None]
        beam = item.get(self.beam) if beam is None else beam
        if not known and beam is None:
            raise self._missing(item, key, f"a sector {self.sector!r}")
        sector, name = (item[known[0]], known[0]) if known else (None, self.sector)
        return inside_beam(item[key].shape, sector, beam, name=str(key), sector_name=name)

    def _missing(self, item: Mapping[Hashable, Any], key: Hashable, wanted: str) -> KeyError:
        return KeyError(
            f"no depth for {key!r}: the item has neither {wanted} nor a beam {self.beam!r}; run BeamDepthd before, or "
            f"give beam=...; it has {', '.join(map(str, item))}"
        )


def beam_field(
    shape: Sequence[int],
    depth: Any = None,
    sector: Any = None,
    beam: AnyBeam | None = None,
    *,
    name: str = "image",
    depth_name: str = "depth",
    sector_name: str = "sector",
) -> BeamField:
    """The field of an image ``(C, *spatial)`` from its depth map, else from a beam in its pixels.

    Args:
        shape: of the image.
        depth: ``(1, *spatial)`` or ``(*spatial)``, in [0, 1].
        sector: likewise, positive inside the beam.
        beam: instead of a depth map; two dimensions only.
        name: of the image in messages.
        depth_name: of the depth map in messages.
        sector_name: of the sector in messages.

    Raises:
        ValueError: neither depth nor beam, another size, or a depth that is not finite or outside [0, 1].
    """
    size = tuple(shape[1:])
    if depth is None:
        depth, sector = _of_beam(beam, size, name)
    depth = _of_size(depth, size, depth_name, name).float()
    low, high = (float(x) for x in depth.aminmax())
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(f"{depth_name} must lie in [0, 1], got [{low:.4g}, {high:.4g}]; normalise with BeamDepthd")
    inside = depth > 0 if sector is None else _of_size(sector, size, sector_name, name) > 0
    return BeamField(torch.where(inside, depth, 0.0), inside)


def inside_beam(
    shape: Sequence[int],
    sector: Any = None,
    beam: AnyBeam | None = None,
    *,
    name: str = "image",
    sector_name: str = "sector",
) -> torch.Tensor:
    """Which pixels of an image ``(C, *spatial)`` lie inside: ``(1, *spatial)`` bool; arguments of :func:`beam_field`.

    Raises:
        ValueError: neither sector nor beam, or another size.
    """
    size = tuple(shape[1:])
    sector = _of_beam(beam, size, name)[1] if sector is None else sector
    return _of_size(sector, size, sector_name, name) > 0


def check_intensities(img: torch.Tensor, value_range: Range, clip: bool, name: str = "image") -> None:
    """Refuse images outside their range; without clipping, those farther out than the range is wide.

    Raises:
        ValueError: values that are not finite, or outside; or whole numbers that shall not be clipped.
    """
    if not clip and not img.is_floating_point():
        raise ValueError(f"clip=False needs floating point, got {name} of {img.dtype}; cast it, or let clip=True")
    low, high = (float(x) for x in img.as_subclass(torch.Tensor).aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} holds values that are not finite (NaN or infinity); replace them before")
    width = value_range[1] - value_range[0]
    slack = (_ROUNDING if clip else 1.0) * width
    if low < value_range[0] - slack or high > value_range[1] + slack:
        raise ValueError(
            f"{name} must lie in value_range {_pair(value_range)}, got {_pair((low, high))}; state its range, as "
            "value_range=(0, 255), or rescale it before"
        )


def check_probability(prob: float) -> float:
    """Refuse what is no probability; MONAI's own transforms clamp it."""
    if not 0.0 <= prob <= 1.0:
        raise ValueError(f"prob must lie in [0, 1], got {prob}; 1 transforms every item")
    return prob


def check_range(name: str, value: Sequence[float], low: float = -math.inf, high: float = math.inf) -> Range:
    """Least and greatest of a draw, finite, in this order and between two bounds."""
    ends = tuple(float(x) for x in value) if isinstance(value, Sequence) else ()
    if len(ends) != 2 or not (low <= ends[0] <= ends[1] <= high and all(map(math.isfinite, ends))):
        bounds = "" if math.isinf(low) else f" in {_pair((low, high))}"
        raise ValueError(f"{name} must be (least, greatest){bounds}, got {value}; give two equal ones for one value")
    return ends


def check_value_range(value: Sequence[float]) -> Range:
    """Black and white of an image, in this order."""
    low, high = check_range("value_range", value)
    if low == high:
        raise ValueError(f"value_range must be (black, white) with black below white, got {_pair(value)}; (-1, 1)?")
    return low, high


def as_given(values: torch.Tensor, img: torch.Tensor, value_range: Range, clip: bool) -> torch.Tensor:
    """Values in the type of the image, rounded where it holds whole numbers, and within the range if clipped."""
    values = values.clamp(*value_range) if clip else values
    return (values if img.is_floating_point() else values.round()).to(img.dtype)


def working(img: torch.Tensor) -> torch.Tensor:
    """A plain tensor in single precision at least."""
    return img.as_subclass(torch.Tensor).to(torch.float64 if img.dtype == torch.float64 else torch.float32)


def _of_beam(beam: AnyBeam | None, size: tuple[int, ...], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    if beam is None:
        raise ValueError(f"no beam for {name}: give the maps that BeamDepth makes, or the transform beam=...")
    if len(size) != 2:
        raise ValueError(f"a beam has two dimensions, {name} {len(size)}; give a depth map {(1, *size)}")
    return BeamDepth()(beam, torch.empty(1, *size))


def _of_size(given: Any, size: tuple[int, ...], name: str, reference: str) -> torch.Tensor:
    tensor: torch.Tensor = torch.as_tensor(given).as_subclass(torch.Tensor)
    tensor = tensor[None] if tensor.ndim == len(size) else tensor
    if tuple(tensor.shape) != (1, *size):
        raise ValueError(
            f"{name} must be {(1, *size)}, as the {reference} beside it is, got {tuple(tensor.shape)}; resize them "
            "together, depth maps and sectors with mode='nearest'"
        )
    return tensor


def _pair(value: Sequence[float]) -> str:
    return f"[{value[0]:.4g}, {value[1]:.4g}]"
