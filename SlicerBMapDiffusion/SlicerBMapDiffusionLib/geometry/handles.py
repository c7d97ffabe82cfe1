"""Three points by which a beam is pulled into shape: the middle of its face, its far end, and its edge.

Places are (row, column) in mm from the middle of the frame's first row, as :attr:`BeamSettings.offset_mm` counts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

from SlicerBMapDiffusionLib.geometry.beams import BeamSettings

Place: TypeAlias = tuple[float, float]

HANDLES = ("face", "end", "edge")
"""The middle of the probe's face, of the far end, and a point on the edge at half depth, towards larger columns."""

_LEAST_MM, _LEAST_DEG, _MOST_STEERED = 1.0, 1.0, 60.0


def places(beam: BeamSettings) -> dict[str, Place]:
    """Where the handles of a beam are."""
    row, column = beam.offset_mm
    if beam.kind == "linear":
        end, edge = (row + beam.depth_mm, column), (row + beam.depth_mm / 2, column + beam.width_mm / 2)
        return {"face": beam.offset_mm, "end": end, "edge": edge}
    near = _near(beam)
    edge = _along(_apex(beam), beam.steering_deg + beam.half_angle_deg, near + beam.depth_mm / 2)
    return {"face": beam.offset_mm, "end": _along((row, column), beam.steering_deg, beam.depth_mm), "edge": edge}


def pulled(beam: BeamSettings, handle: str, place: Place) -> BeamSettings:
    """The beam after one of its handles was moved; the others follow.

    The face moves the whole beam, the end changes its depth and, but for a linear one, steers it about its face, and
    the edge opens it.

    Args:
        beam: before.
        handle: one of :data:`HANDLES`.
        place: where the handle is now; where no beam has it, the nearest beam is taken.
    """
    if handle == "face":
        return replace(beam, offset_mm=place)
    down, right = place[0] - beam.offset_mm[0], place[1] - beam.offset_mm[1]
    if beam.kind == "linear":
        if handle == "end":
            return replace(beam, depth_mm=max(down, _LEAST_MM))
        return replace(beam, width_mm=max(2 * right, _LEAST_MM))
    if handle == "end":
        steering = min(max(math.degrees(math.atan2(right, down)), -_MOST_STEERED), _MOST_STEERED)
        return replace(beam, depth_mm=max(math.hypot(down, right), _LEAST_MM), steering_deg=steering)
    apex = _apex(beam)
    angle = math.degrees(math.atan2(place[1] - apex[1], place[0] - apex[0])) - beam.steering_deg
    return replace(beam, half_angle_deg=min(max(angle, _LEAST_DEG), 90.0))


def _near(beam: BeamSettings) -> float:
    return beam.radius_mm if beam.kind == "curvilinear" else 0.0


def _apex(beam: BeamSettings) -> Place:
    return _along(beam.offset_mm, beam.steering_deg, -_near(beam))


def _along(place: Place, angle_deg: float, length: float) -> Place:
    """A place so far away, the angle counted from straight down towards larger columns."""
    angle = math.radians(angle_deg)
    return place[0] + length * math.cos(angle), place[1] + length * math.sin(angle)
