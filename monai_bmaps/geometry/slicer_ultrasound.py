"""Beams to and from the mask parameters of SlicerUltrasound's AnonymizeUltrasound module.

Its angles count in degrees from the image's right (+x) towards down (+y), its lengths in pixels
(https://github.com/SlicerUltrasound/SlicerUltrasound).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from monai_bmaps.geometry.beams import Beam, LinearBeam, SectorBeam
from monai_bmaps.geometry.checks import Shape, check_number, check_shape


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
        raise ValueError(f"mask_type must be 'fan' or 'rectangle', got {mask_type!r}; draw the mask as one of them")
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
    height, width = check_shape(shape)
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
            return check_number(name, parameters[name])
    found = sorted(map(str, parameters))
    raise ValueError(f"SlicerUltrasound parameters need {' or '.join(names)}, got the keys {found}; add it")
