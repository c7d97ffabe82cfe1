"""Beams read off their depth maps."""

from __future__ import annotations

import doctest

import pytest
import torch

from monai_bmaps.geometry import Beam, LinearBeam, SectorBeam, beam_from_depth, reading

SHAPE = (84, 110)
FANS = {
    "phased": SectorBeam(apex=(3, 60), radii=(0, 72), half_angle_deg=38),
    "curvilinear": SectorBeam(apex=(-40, 58), radii=(48, 118), half_angle_deg=27),
    "steered": SectorBeam(apex=(4, 50), radii=(0, 80), half_angle_deg=30, steering_deg=12),
}


def test_examples_in_the_docstring_run() -> None:
    assert doctest.testmod(reading).failed == 0


@pytest.mark.parametrize("fan", FANS.values(), ids=list(FANS))
def test_a_fan_comes_back_from_its_depth_map_within_a_pixel_at_its_sides(fan: SectorBeam) -> None:
    read = beam_from_depth(fan.depth_map(SHAPE), fan.mask(SHAPE))
    assert isinstance(read, SectorBeam)
    assert read.apex == pytest.approx(fan.apex, abs=1e-3)
    assert read.radii == pytest.approx(fan.radii, abs=1e-3)
    # the outermost pixel's centre lies up to a pixel's angle within the side
    assert (read.half_angle_deg, read.steering_deg) == pytest.approx((fan.half_angle_deg, fan.steering_deg), abs=0.8)


@pytest.mark.parametrize(
    "beam", [LinearBeam(), LinearBeam(top=6.5, bottom=70, left=8, right=90)], ids=["full", "inset"]
)
def test_a_linear_beam_comes_back_with_the_same_depth(beam: Beam) -> None:
    read = beam_from_depth(beam.depth_map(SHAPE), beam.mask(SHAPE))
    assert isinstance(read, LinearBeam)
    torch.testing.assert_close(read.depth_map(SHAPE), beam.depth_map(SHAPE), atol=1e-4, rtol=0)


def test_the_depth_map_of_a_deformed_beam_is_refused() -> None:
    depth = FANS["phased"].depth_map(SHAPE) ** 2
    with pytest.raises(ValueError, match="before any deformation"):
        beam_from_depth(depth, FANS["phased"].mask(SHAPE))


@pytest.mark.parametrize(
    ("depth", "inside", "message"),
    [
        (torch.zeros(4, 5), torch.ones(4, 6, dtype=torch.bool), r"one shape.*\(4, 5\) and \(4, 6\)"),
        (torch.zeros(4, 5), torch.zeros(4, 5, dtype=torch.bool), "12 pixels at least, got 0"),
        (torch.zeros(4, 5), torch.ones(4, 5, dtype=torch.bool), "no linear or sector beam"),
    ],
)
def test_impossible_maps_are_refused(depth: torch.Tensor, inside: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        beam_from_depth(depth, inside)
