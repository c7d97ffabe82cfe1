"""Beams through SlicerUltrasound's mask parameters and back."""

from __future__ import annotations

import pytest
import torch

from monai_bmaps.geometry import (
    Beam,
    LinearBeam,
    SectorBeam,
    beam_from_slicer_ultrasound,
    beam_to_slicer_ultrasound,
)

BEAMS: dict[str, Beam] = {
    "phased": SectorBeam(apex=(3, 60), radii=(0, 72), half_angle_deg=38),
    "curvilinear": SectorBeam(apex=(-40, 58), radii=(48, 118), half_angle_deg=27),
    "steered": SectorBeam(apex=(4, 50), radii=(0, 80), half_angle_deg=30, steering_deg=12),
}


@pytest.mark.parametrize("name", ["phased", "curvilinear", "steered"])
def test_fan_round_trip_through_slicer_ultrasound_keeps_the_depth(name):
    beam = BEAMS[name]
    back = beam_from_slicer_ultrasound(beam_to_slicer_ultrasound(beam, (84, 110)))
    assert isinstance(back, SectorBeam)
    assert (back.apex, back.radii) == (beam.apex, beam.radii)
    assert (back.half_angle_deg, back.steering_deg) == pytest.approx((beam.half_angle_deg, beam.steering_deg))


def test_rectangle_round_trip_through_slicer_ultrasound_is_exact():
    beam = LinearBeam(top=3, bottom=40, left=5, right=60)
    assert beam_from_slicer_ultrasound(beam_to_slicer_ultrasound(beam, (48, 64))) == beam


def test_rectangle_for_slicer_ultrasound_slices_out_the_beams_mask():
    beam = LinearBeam(top=2.5, bottom=9.5, left=-3)
    keys = beam_to_slicer_ultrasound(beam, (8, 12))
    rows, columns = (
        (keys[f"rectangle_{a}"], keys[f"rectangle_{b}"]) for a, b in (("top", "bottom"), ("left", "right"))
    )
    sliced = torch.zeros(8, 12, dtype=torch.bool)
    sliced[slice(*rows), slice(*columns)] = True
    assert torch.equal(sliced, beam.mask((8, 12)))


@pytest.mark.parametrize(
    "names", [("angle1", "angle2"), ("angle2", "angle1"), ("angle_min_degrees", "angle_max_degrees")]
)
def test_fan_angles_are_read_in_either_order_and_by_their_older_names(names):
    fan = {"center_rows_px": 4, "center_cols_px": 50, "radius1": 0, "radius2": 80}
    beam = beam_from_slicer_ultrasound(fan | dict(zip(names, (48, 108), strict=True)))
    assert beam == BEAMS["steered"]


def test_fan_radii_are_read_by_their_older_names():
    fan = {"angle1": 60, "angle2": 120, "center_rows_px": 0, "center_cols_px": 9}
    beam = beam_from_slicer_ultrasound(fan | {"radius_min_px": 2, "radius_max_px": 8})
    assert beam == SectorBeam((0, 9), (2, 8), 30)


def test_fan_across_the_images_left_keeps_its_small_angle():
    fan = {
        "angle1": 170,
        "angle2": -170,
        "center_rows_px": 0,
        "center_cols_px": 9,
        "radius1": 0,
        "radius2": 8,
    }
    assert beam_from_slicer_ultrasound(fan) == SectorBeam((0, 9), (0, 8), 10, -90)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mask_type": "disc"}, "mask_type must be"),
        ({"angle1": 60}, "angle2 or angle_max_degrees"),
    ],
)
def test_unusable_mask_parameters_are_refused_with_their_reason(parameters, message):
    with pytest.raises(ValueError, match=message):
        beam_from_slicer_ultrasound(parameters)
