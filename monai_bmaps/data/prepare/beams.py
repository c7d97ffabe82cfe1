"""The beam of a frame: fitted to its field of view, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_bmaps.data.prepare.field_of_view import Mask, field_of_view
from monai_bmaps.data.prepare.frames import Frame
from monai_bmaps.geometry import Beam, BeamKind, LinearBeam, SectorBeam, fit_beam

_MORE_NOISE = (0.0, 3.0, 6.0, 12.0)  # grey levels, tried until a beam matches
_NOISE = 6.0  # grey levels that JPEG changes a flat area by, at most
_FILLED = 0.9  # of a corner, that nothing else may stand in
_DARK = 64.0  # grey that a background may have
_FAIR = 0.9  # overlap at which no brighter part is tried
_GOOD = 0.95  # overlap at which an upright linear beam needs no rival
_NARROW_DEG = 15.0


@dataclass(frozen=True)
class FittedBeam:
    """A beam in pixels of its frame, and how well it matches the field of view seen there.

    Args:
        beam: the beam.
        overlap: intersection over union with the field of view, where that is known.
        inside: (height, width), bool, the beam's own field of view.
        unknown: (height, width), bool, under boxes that hide text.
    """

    beam: Beam
    overlap: float
    inside: Mask
    unknown: Mask


def beam_of(frame: Frame, kind: BeamKind) -> FittedBeam | None:
    """The beam of a frame with square pixels; ``None`` if none matches.

    Raises:
        ValueError: a fan that opens upwards or sideways: the frame is turned.
    """
    best: FittedBeam | None = None
    for seen, unknown in _views(frame):
        fitted = _fit(seen, unknown, kind)
        if fitted is not None and (best is None or fitted.overlap > best.overlap + 0.01):
            best = fitted
        overlap = 0.0 if best is None else best.overlap
        if kind != "linear" and overlap < _GOOD:
            _refuse_turned(frame.name, seen, unknown, overlap)
        if overlap >= _FAIR:
            break
    return best


def _refuse_turned(name: str, seen: Mask, unknown: Mask, overlap: float) -> None:
    """Refuse a frame that shows a fan, only not one that opens downwards."""
    for turns, way in enumerate(("to the right", "upwards", "to the left"), start=1):
        upright = _fit_kind(np.rot90(seen, turns), np.rot90(unknown, turns), "sector")
        if upright is not None and upright.overlap > max(_GOOD, overlap + 0.05) and _is_fan(upright.beam):
            raise ValueError(
                f"the beam of {name} opens {way}: the frame is turned; if its affine is wrong, give --stored-order, or "
                "say --depth-axis j- or the like"
            )


def _is_fan(beam: Beam) -> bool:
    return isinstance(beam, SectorBeam) and beam.half_angle_deg > _NARROW_DEG and abs(beam.steering_deg) < _NARROW_DEG


def _views(frame: Frame) -> Iterator[tuple[Mask, Mask]]:
    """Fields of view to try: the source's own, else the brighter and brighter parts of the image."""
    if frame.inside is not None:
        yield frame.inside, np.zeros_like(frame.inside)
        return
    flat, noise = _background(frame.image)
    for more in _MORE_NOISE:
        try:
            yield field_of_view(frame.image, flat, noise + more)
        except ValueError:
            return


def _background(image: NDArray[np.uint8]) -> tuple[float, float]:
    """The grey that fills a top corner, and its noise there: of what is not ultrasound. Both 0 if none is filled.

    A beam that reaches both top corners fills the frame, and its tissue there is neither flat nor dark.
    """
    rows, columns = (max(2, n // 16) for n in image.shape)
    found = []
    for corner in (image[:rows, :columns], image[:rows, -columns:]):
        common = float(np.bincount(corner.ravel(), minlength=256).argmax())
        away = np.abs(corner - common)
        found.append((float(np.quantile(away, 0.75)), common, float((away <= _NOISE).mean())))
    noise, flat, share = min(found)
    return (flat, noise) if share >= _FILLED and noise <= _NOISE and flat <= _DARK else (0.0, 0.0)


def _fit(seen: Mask, unknown: Mask, kind: BeamKind) -> FittedBeam | None:
    best = _fit_kind(seen, unknown, kind)
    if kind == "auto" and best is not None and isinstance(best.beam, LinearBeam) and best.overlap < _GOOD:
        # A probe held at an angle: its lines are parallel, but not upright, which only a far apex can say.
        tilted = _fit_kind(seen, unknown, "sector")
        if tilted is not None and tilted.overlap > best.overlap + 0.015:
            return tilted
    return best


def _fit_kind(seen: Mask, unknown: Mask, kind: BeamKind) -> FittedBeam | None:
    try:
        beam = fit_beam(seen, kind, ignore=unknown)
    except ValueError:
        return None
    inside = beam.mask(seen.shape).numpy()
    known = ~unknown
    overlap = (inside & seen & known).sum() / max(1, ((inside | seen) & known).sum())
    return FittedBeam(beam, float(overlap), inside, unknown)
