"""What stands between items of a training set and a model that draws: classes, field of view, scale and grey levels."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor

from monai_bmaps.geometry import Beam
from monai_bmaps.transforms.beam import BeamDepthd
from monai_bmaps.transforms.synthesis.grid import ASPECT_TOLERANCE, Placement
from monai_bmaps.transforms.synthesis.model import FrameCondition, SynthesisModel

Range = tuple[float, float]

_COMMON_RANGES: tuple[Range, ...] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
_SLACK = 0.05  # share of a range by which noise and interpolation may leave it
_DARKEST = 16.0  # a frame of grey levels to 255 has brighter pixels than that, one of normalised values has none


class FrameKeys(NamedTuple):
    """Where an item has what; errors call it so."""

    image: Hashable = "image"
    label: Hashable = "label"
    depth: Hashable = "depth"
    sector: Hashable = "sector"
    beam: Hashable = "beam"


@dataclass(frozen=True)
class Levels:
    """What is black and what is white in an image.

    Args:
        black: value of -1 in the model's images.
        white: value of 1.
    """

    black: float
    white: float

    def to_model(self, image: torch.Tensor) -> torch.Tensor:
        """In [-1, 1]; what reaches beyond the range is cut off."""
        return ((image.float() - self.black) / (self.white - self.black) * 2 - 1).clamp(-1.0, 1.0)

    def from_model(self, image: torch.Tensor) -> torch.Tensor:
        """In the image's own values."""
        return (image + 1) / 2 * (self.white - self.black) + self.black


class FrameSynthesis:
    """Draws images for items: nothing in it is random, the seeds are given.

    Args:
        model: what draws.
        keys: names in the item.
        label_mapping: the item's label values -> the model's classes, by number or name; 0 stays 0 unless told.
            ``None``: they are the model's.
        beam: one beam for all items, in pixels of the item.
        intensity_range: the items' (black, white); ``None`` finds it out for each image.
        spacing_tolerance: the factor by which a frame's pixels on the model's grid may be larger or smaller than
            those it was trained on, where both are known.

    Raises:
        ValueError: a mapping to classes the model has not, a range upside down, or a tolerance below 1.
    """

    def __init__(
        self,
        model: SynthesisModel,
        keys: FrameKeys = FrameKeys(),  # noqa: B008 - a constant
        label_mapping: Mapping[int, int | str] | None = None,
        beam: Beam | Mapping[str, Any] | None = None,
        intensity_range: Range | None = None,
        spacing_tolerance: float = 1.5,
    ) -> None:
        if intensity_range is not None and not intensity_range[0] < intensity_range[1]:
            raise ValueError(f"intensity_range must be (black, white), black below white, got {intensity_range}")
        if not spacing_tolerance >= 1:
            raise ValueError(f"spacing_tolerance must be a factor of at least 1, got {spacing_tolerance}")
        self.model = model
        self.keys = keys
        self.beam = beam
        self.intensity_range = intensity_range
        self.spacing_tolerance = spacing_tolerance
        self.mapping = _mapping(label_mapping, model.classes)

    def lacks(self, item: Mapping[Hashable, Any]) -> str:
        """What an item lacks to be drawn, in words; nothing if it has all."""
        if self.model.classes and self.keys.label not in item:
            return f"{self.keys.label!r}, the label map to draw for"
        if self.beam is None and not any(item.get(key) is not None for key in self.keys[2:]):
            return (
                f"{self.keys.depth!r}, nor {self.keys.sector!r} or {self.keys.beam!r} to make it from: run BeamDepthd "
                "before, or give the transform a beam"
            )
        return ""

    def condition(self, item: Mapping[Hashable, Any]) -> FrameCondition:
        """What to draw for an item, of which image, label, depth and sector are ``(1, H, W)``.

        Raises:
            KeyError: an item that lacks something.
            ValueError: unknown label values, or shapes or a spacing that do not fit.
        """
        if missing := self.lacks(item):
            raise KeyError(f"the item has no {missing}; it has {', '.join(map(str, item))}")
        present = [key for key in self.keys[:4] if item.get(key) is not None]
        own = {key: torch.as_tensor(item[key]) for key in present}
        self._check_shapes(own)
        reference = self._reference(own)
        if self.model.classes:
            classes = self._mapped(own[self.keys.label].as_subclass(torch.Tensor))
        else:
            classes = torch.zeros_like(own[reference].as_subclass(torch.Tensor), dtype=torch.int64)
        depth, sector = self._beam_of(item, own, reference)
        self._check_scale(own[reference], str(reference), self.model.place(sector))
        return FrameCondition(classes, sector, depth)

    def levels(self, image: torch.Tensor | None) -> Levels:
        """Black and white of an image.

        Raises:
            ValueError: an image beyond the given range or any of the usual ones, or no image and no range given.
        """
        name, known = self.keys.image, " or ".join(f"({low:g}, {high:g})" for low, high in _COMMON_RANGES)
        if image is None:
            if self.intensity_range is None:
                raise ValueError(
                    f"the item has no {name!r} to take the range of intensities from; give intensity_range, for "
                    f"example {known}"
                )
            return Levels(*self.intensity_range)
        low, high = (float(value) for value in image.as_subclass(torch.Tensor).aminmax())
        if self.intensity_range is not None and _holds(self.intensity_range, low, high):
            return Levels(*self.intensity_range)
        if self.intensity_range is None and (usual := _usual_range(low, high, image.is_floating_point())):
            return Levels(*usual)
        expected = f"intensity_range {self.intensity_range}" if self.intensity_range else f"any of {known}"
        raise ValueError(
            f"{name!r} has values from {low:g} to {high:g}, outside {expected}; give intensity_range=(black, white), "
            "or put the synthesis before the normalisation"
        )

    def drawn(
        self,
        conditions: Sequence[FrameCondition],
        images: Sequence[torch.Tensor | None],
        seeds: Sequence[int],
        strength: float = 1.0,
        weights: Sequence[float] | None = None,
    ) -> list[torch.Tensor]:
        """A synthetic image for each condition, in the range of the image it takes the place of, float32.

        Args:
            conditions: of the items.
            images: the real ones ``(1, H, W)``, or ``None`` where there is none, for all or for no item.
            seeds: one per image.
            strength: 1 draws from noise, less restyles the real image; of no effect without one.
            weights: share of the synthetic image in a mixture with the real one; ``None`` is 1 for all.
        """
        levels = [self.levels(image) for image in images]
        real = [image.as_subclass(torch.Tensor) for image in images if image is not None]
        restyled = bool(real) and strength < 1.0
        scaled = [level.to_model(image) for level, image in zip(levels, real, strict=True)] if restyled else None
        made = self.model.draw(conditions, seeds, scaled, strength if restyled else 1.0)
        results = []
        for k, (level, image) in enumerate(zip(levels, made, strict=True)):
            outside = level.to_model(real[k]).to(image) if restyled else torch.full_like(image, -1.0)
            inside = conditions[k].sector.to(image.device) > 0.5
            result = level.from_model(torch.where(inside, image, outside))
            if real and weights is not None and weights[k] < 1.0:
                result = weights[k] * result + (1 - weights[k]) * real[k].to(result)
            results.append(result)
        return results

    def _reference(self, own: Mapping[Hashable, Any]) -> Hashable:
        """Whose pixels count."""
        return next((key for key in (self.keys.label, self.keys.image) if key in own), next(iter(own), ""))

    def _check_shapes(self, own: Mapping[Hashable, torch.Tensor]) -> None:
        shapes = {str(key): tuple(value.shape) for key, value in own.items()}
        if not shapes:
            raise KeyError(f"the item has neither {self.keys.image!r} nor {self.keys.sector!r}, so no size")
        if any(len(shape) != 3 or shape[0] != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            raise ValueError(
                f"all must be frames of one size with one channel, (1, H, W), got {shapes}; resize them together "
                "before, and average colours"
            )

    def _mapped(self, label: torch.Tensor) -> torch.Tensor:
        """The model's classes of a label map."""
        values: list[float] = torch.unique(label).tolist()
        if unknown := [value for value in values if value not in self.mapping]:
            listed = ", ".join(f"{value:g}" for value in unknown[:8])
            named = ", ".join(f"{k} {name}" for k, name in enumerate(self.model.classes, start=1))
            raise ValueError(
                f"{self.keys.label!r} has the value {listed}, and {self.model.name} knows {sorted(self.mapping)}; say "
                f"with label_mapping={{{unknown[0]:g}: ...}} which of its classes that is (0 background, {named}), "
                "and resize label maps with mode='nearest'"
            )
        classes = torch.zeros_like(label, dtype=torch.int64)
        for value in values:
            classes[label == value] = self.mapping[value]
        return classes

    def _beam_of(
        self, item: Mapping[Hashable, Any], own: Mapping[Hashable, torch.Tensor], reference: Hashable
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Depth map and field of view; a depth map alone says both."""
        _, _, depth_key, sector_key, beam_key = (str(key) for key in self.keys)
        frame: dict[Hashable, Any] = {str(reference): own[reference], beam_key: item.get(self.keys.beam)}
        frame |= {str(key): own[key] for key in (self.keys.depth, self.keys.sector) if key in own}
        if depth_key in frame and sector_key not in frame:
            frame[sector_key] = (own[self.keys.depth] > 0).float()
        make = BeamDepthd(str(reference), self.beam, beam_key=beam_key, depth_key=depth_key, sector_key=sector_key)
        made = make(frame)
        depth, sector = (made[key].as_subclass(torch.Tensor).float() for key in (depth_key, sector_key))
        return depth, sector

    def _check_scale(self, frame: torch.Tensor, name: str, place: Placement) -> None:
        if place.stretch > ASPECT_TOLERANCE:
            raise ValueError(
                f"{name!r} is a frame of {place.part[0]} x {place.part[1]}, {place.stretch:.3g} times longer or wider "
                f"than the {place.grid[0]} x {place.grid[1]} of {self.model.name}, and at most {ASPECT_TOLERANCE:g} "
                "fits; crop or pad it before"
            )
        spacing, expected = _spacing(frame), self.model.spacing_mm
        if spacing is None or expected is None:
            return
        found = [pixel * part / scaled for pixel, part, scaled in zip(spacing, place.part, place.scaled, strict=True)]
        factor = max(max(a / b, b / a) for a, b in zip(found, expected, strict=True))
        if factor > self.spacing_tolerance:
            raise ValueError(
                f"{name!r} has pixels of {found[0]:.3g} x {found[1]:.3g} mm once it is {place.grid[0]} x "
                f"{place.grid[1]}, and {self.model.name} was trained on {expected[0]:.3g} x {expected[1]:.3g} mm, "
                f"{factor:.3g} times more or less (at most {self.spacing_tolerance:g}); crop or pad it to the same "
                "depth, or give spacing_tolerance=math.inf"
            )


def check_share(name: str, value: float) -> float:
    """The value, or a ValueError unless it lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value}; 0 is never or nothing, 1 always or all")
    return float(value)


def share_range(name: str, given: float | Sequence[float]) -> Range:
    """Least and greatest of one share or two, or a ValueError unless both lie in [0, 1], in this order."""
    low, high = (given, given) if isinstance(given, (int, float)) else given
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"{name} must be one number in [0, 1], or (least, greatest) within it, got {given}")
    return float(low), float(high)


def frame_keys(
    keys: Sequence[Hashable], label_key: Hashable, depth_key: Hashable, sector_key: Hashable, beam_key: Hashable
) -> FrameKeys:
    """Names in an item, or a ValueError unless there is one image and no name twice."""
    if len(keys) != 1:
        raise ValueError(f"keys must name one image, got {tuple(keys)}; a label map has one")
    names = FrameKeys(keys[0], label_key, depth_key, sector_key, beam_key)
    if len(set(names)) != len(names):
        raise ValueError(f"image, label, depth, sector and beam need keys of their own, got {tuple(names)}")
    return names


def _spacing(frame: torch.Tensor) -> Range | None:
    """Pixel size (row, column) in mm; 1 x 1 is what frames without any have, and counts as unknown."""
    if not isinstance(frame, MetaTensor):
        return None
    row, column = (float(x) for x in frame.pixdim[:2])
    return None if math.isclose(row, 1.0) and math.isclose(column, 1.0) else (row, column)


def _holds(given: Range, low: float, high: float) -> bool:
    slack = _SLACK * (given[1] - given[0])
    return given[0] - slack <= low and high <= given[1] + slack


def _usual_range(low: float, high: float, fractions: bool) -> Range | None:
    """The first of the common ranges that holds an image's values, if any does."""
    small, grey = _COMMON_RANGES[:-1] if fractions else (), _COMMON_RANGES[-1]
    if found := [one for one in small if _holds(one, low, high)]:
        return found[0]
    plausible = not fractions or (low > -0.5 and high > _DARKEST)  # not centred and scaled
    return grey if plausible and _holds(grey, low, high) else None


def _mapping(given: Mapping[int, int | str] | None, classes: Sequence[str]) -> dict[float, int]:
    if given is None:
        return {value: value for value in range(len(classes) + 1)}
    mapping = {0: 0}
    for value, wanted in given.items():
        number = classes.index(wanted) + 1 if isinstance(wanted, str) and wanted in classes else wanted
        if not isinstance(number, int) or not 0 <= number <= len(classes):
            raise ValueError(
                f"label_mapping has {value} -> {wanted!r}, which is no class of the model: 0 (background) to "
                f"{len(classes)}, or {', '.join(classes) or 'none'}"
            )
        mapping[value] = number
    return {float(value): number for value, number in mapping.items()}
