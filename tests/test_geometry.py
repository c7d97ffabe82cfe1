"""Beams: depth, resizing, validation, serialisation, the fan of the authors' code."""

from __future__ import annotations

import doctest
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from monai_bmaps.geometry import Beam, LinearBeam, SectorBeam, beam_from_dict, fitting, slicer_ultrasound
from monai_bmaps.geometry import beams as beams_module

SHARED = Path(__file__).parents[2] / "shared"
ORACLE = SHARED / "oracle" / "authors_public.npz"
CAMUS_FAN = SectorBeam(apex=(0, 128), radii=(0, 250), half_angle_deg=32.1003690834937)

BEAMS: dict[str, Beam] = {
    "linear": LinearBeam(),
    "linear inset": LinearBeam(top=6.5, bottom=70, left=8, right=90.25),
    "phased": SectorBeam(apex=(3, 60), radii=(0, 72), half_angle_deg=38),
    "curvilinear": SectorBeam(apex=(-40, 58), radii=(48, 118), half_angle_deg=27),
    "steered": SectorBeam(apex=(4, 50), radii=(0, 80), half_angle_deg=30, steering_deg=12),
}
beams = pytest.mark.parametrize("beam", BEAMS.values(), ids=list(BEAMS))


@pytest.mark.parametrize("module", [beams_module, fitting, slicer_ultrasound], ids=lambda module: module.__name__)
def test_examples_in_the_docstrings_run(module):
    assert doctest.testmod(module).failed == 0


def test_polar_and_depth_agree_inside_a_steered_beam():
    beam = SectorBeam(apex=(-6, 3), radii=(4, 15), half_angle_deg=28, steering_deg=-11)
    radius, angle = beam.polar((11, 13))
    inside = beam.mask((11, 13))
    assert torch.equal(inside, (radius >= 4) & (radius <= 15) & (angle.abs() <= math.radians(28)))
    torch.testing.assert_close(beam.depth_map((11, 13))[inside], ((radius - 4) / 11)[inside].float())


# Depth


def test_linear_depth_is_exactly_zero_in_the_first_and_one_in_the_last_row():
    depth = LinearBeam().depth_map((5, 7))
    assert torch.equal(depth[[0, -1]], torch.tensor([0.0, 1.0])[:, None].expand(2, 7))


@pytest.mark.parametrize("spacing", [0.1, 1 / 3, (0.7, 0.3)])
def test_linear_beam_reaches_one_in_the_last_row_at_any_spacing(spacing):
    assert LinearBeam().depth_map((11, 7), spacing)[-1].eq(1).all()


def test_linear_beam_fills_the_whole_image_by_default():
    assert LinearBeam().mask((5, 7)).all()


def test_inset_linear_beam_includes_its_four_ends():
    rows, columns = LinearBeam(top=1, bottom=3, left=2, right=4).mask((6, 8)).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 3, 2, 4)


def test_end_given_in_decimals_includes_the_pixel_that_rounding_puts_beyond_it():
    assert 3 * 0.1 > 0.3
    assert LinearBeam(bottom=0.3).depth_map((6, 2), spacing=0.1)[3, 0] == 1


@beams
def test_depth_is_float32_in_the_unit_interval_and_zero_outside_the_beam(beam):
    depth, mask = beam.depth_map((84, 110)), beam.mask((84, 110))
    assert depth.dtype == torch.float32
    assert depth.shape == (84, 110)
    assert 0.9 < depth.max() <= 1
    assert depth.min() == 0
    assert depth[~mask].eq(0).all()


def test_sector_depth_is_the_distance_from_the_apex_between_the_radii():
    beam = SectorBeam(apex=(-3, 2), radii=(5, 15), half_angle_deg=80)
    assert beam.depth_map((9, 7))[1, 5] == pytest.approx((5 - 5) / 10)
    assert beam.depth_map((9, 7))[5, 8 - 2] == pytest.approx((math.hypot(8, 4) - 5) / 10)


def test_apex_of_a_steered_phased_array_lies_inside_its_beam():
    assert SectorBeam(apex=(0, 3), radii=(0, 9), half_angle_deg=10, steering_deg=40).mask((5, 7))[0, 3]


def test_steering_by_a_quarter_turn_transposes_the_image():
    down = SectorBeam(apex=(2, 5), radii=(1, 9), half_angle_deg=33, steering_deg=0)
    right = SectorBeam(apex=(5, 2), radii=(1, 9), half_angle_deg=33, steering_deg=90)
    # float64 inside, so that only the last bit of float32 may differ
    torch.testing.assert_close(right.depth_map((11, 13)), down.depth_map((13, 11)).T, atol=1e-6, rtol=0)


def test_positive_steering_turns_towards_larger_columns():
    beam = SectorBeam(apex=(0, 20), radii=(0, 18), half_angle_deg=20, steering_deg=30)
    assert beam.mask((20, 41)).nonzero()[:, 1].double().mean() > 25


def test_opposite_steering_mirrors_the_depth_map():
    one, other = (SectorBeam((1, 10), (2, 15), 25, steering) for steering in (17.0, -17.0))
    torch.testing.assert_close(one.depth_map((17, 21)), other.depth_map((17, 21)).flip(1), atol=1e-6, rtol=0)


@beams
def test_scaling_beam_and_spacing_together_changes_no_depth(beam):
    expected = beam.depth_map((84, 110))
    torch.testing.assert_close(beam.scaled(0.3).depth_map((84, 110), spacing=0.3), expected, atol=1e-6, rtol=0)


def test_spacing_pair_is_row_then_column():
    beam = SectorBeam(apex=(0, 6), radii=(0, 8), half_angle_deg=60)
    every_other_column = beam.depth_map((9, 13))[:, ::2]
    assert torch.equal(beam.depth_map((9, 7), spacing=(1, 2)), every_other_column)


# Resizing


def interior(mask: torch.Tensor) -> torch.Tensor:
    """Pixels whose neighbourhood of five is inside, so that interpolation mixes in nothing from outside."""
    return F.avg_pool2d(mask[None, None].float(), 5, 1, 2)[0, 0] > 0.999


@beams
@pytest.mark.parametrize("factor", [2, 0.5])
def test_resizing_the_image_and_resampling_the_beam_give_the_same_depth(beam, factor):
    shape, small = (84, 110), (round(84 * factor), round(110 * factor))
    resized = F.interpolate(beam.depth_map(shape)[None, None], small, mode="bilinear", align_corners=False)[0, 0]
    moved = beam.resampled(shape, small)
    inside = interior(moved.mask(small))
    # away from the apex bilinear interpolation of r errs by second order: 0.1 pixel of about 70
    torch.testing.assert_close(resized[inside], moved.depth_map(small)[inside], atol=6e-3, rtol=0)


def test_linear_beam_resamples_by_a_different_factor_along_rows_and_columns():
    beam = LinearBeam(top=4, bottom=30, left=5, right=20).resampled((40, 30), (80, 90))
    assert beam == LinearBeam(top=8.5, bottom=60.5, left=16, right=61)


def test_full_linear_beam_stays_full_after_resampling():
    assert LinearBeam().resampled((40, 30), (80, 90)) == LinearBeam()


def test_sector_refuses_two_resize_factors_and_names_spacing():
    with pytest.raises(ValueError, match="use spacing"):
        CAMUS_FAN.resampled((256, 256), (128, 256))


def test_advice_for_two_resize_factors_gives_the_resized_depth():
    beam = BEAMS["curvilinear"]
    with pytest.raises(ValueError, match="shifted") as refusal:
        beam.resampled((84, 110), (168, 110))
    advised = eval(str(refusal.value).split("spacing: ")[1], {"beam": beam})
    expected = F.interpolate(beam.depth_map((84, 110))[None, None], (168, 110), mode="bilinear")[0, 0]
    inside = interior(advised > 0)
    torch.testing.assert_close(advised[inside], expected[inside], atol=6e-3, rtol=0)


# Validation

NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearBeam(top=5, bottom=5), "top must be less than bottom"),
        (lambda: LinearBeam(left=8, right=2), "left must be less than right"),
        (lambda: LinearBeam(top=NAN), "top must be a finite number"),
        (lambda: LinearBeam(bottom="9"), "bottom must be a finite number"),
        (lambda: LinearBeam(top=None), "top must be a finite number"),
        (lambda: SectorBeam((0, NAN), (0, 5), 30), "apex must be a finite number"),
        (lambda: SectorBeam((0, 1, 2), (0, 5), 30), "apex must be two numbers"),
        (lambda: SectorBeam((0, 1), 5, 30), "radii must be two numbers"),
        (lambda: SectorBeam((0, 1), (-1, 5), 30), "near radius must be at least 0"),
        (lambda: SectorBeam((0, 1), (5, 5), 30), "near radius must be less than far radius"),
        (lambda: SectorBeam((0, 1), (0, 5), 0), r"half_angle_deg must lie in \(0, 90\]"),
        (lambda: SectorBeam((0, 1), (0, 5), 91), r"half_angle_deg must lie in \(0, 90\]"),
        (lambda: SectorBeam((0, 1), (0, 5), 30, 181), r"steering_deg must lie in \[-180, 180\]"),
        (lambda: LinearBeam(top=9).mask((9, 4)), "must be less than bottom, in an image 9 pixels high"),
        (lambda: LinearBeam().mask((1, 5, 7)), r"shape must be \(height, width\)"),
        (lambda: LinearBeam().mask((5, 0)), r"shape must be \(height, width\)"),
        (lambda: LinearBeam().mask((5, 7), spacing=0), "spacing must be above 0"),
        (lambda: LinearBeam().mask((5, 7), spacing=(1, 2, 3)), "spacing must be two numbers"),
        (lambda: LinearBeam().scaled(-1), "factor must be above 0"),
        (lambda: beam_from_dict({"kind": "disc"}), "beam kind must be one of"),
        (lambda: beam_from_dict({"kind": "linear", "apex": 0}), "remove or rename"),
        (lambda: beam_from_dict({"kind": "sector", "apex": [0, 1]}), "are missing"),
    ],
)
def test_unusable_numbers_are_refused_with_their_reason(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Serialisation


@beams
def test_dict_round_trip_through_json_is_exact(beam):
    assert beam_from_dict(json.loads(json.dumps(beam.to_dict()))) == beam


# The authors' code


def authors(case: str) -> tuple[dict[str, object], torch.Tensor, torch.Tensor]:
    """Configuration, ramp b_t (steps, 1, 1) and B-maps (steps, height, width) of one case."""
    with np.load(ORACLE) as arrays:
        config = json.loads(str(arrays[f"{case}/config"]))
        ramp = torch.from_numpy(arrays[f"{case}/b_betas"]).double()
        steps = torch.from_numpy(arrays[f"{case}/timesteps"]).long()
        maps = torch.from_numpy(arrays[f"{case}/b_maps"])
    return config, ramp[steps][:, None, None], maps.double()


@pytest.mark.skipif(not ORACLE.is_file(), reason="../shared/oracle/authors_public.npz is not there")
@pytest.mark.parametrize("case", ["convex_sqrt", "convex_linear_preserve"])
def test_camus_fan_gives_the_authors_b_maps(case):
    config, ramp, expected = authors(case)
    size = config["image_size"]
    beam = CAMUS_FAN.scaled(size / 256)  # their pixel numbers, not a resized image
    depth, inside = beam.depth_map((size, size)).double(), beam.mask((size, size))
    loss = (1 - config["bmap_min"]) * ramp
    if config["preserve_length"]:
        depth = (depth - (1 - ramp)).clamp(min=0) / (ramp + 1e-6)
    maps = torch.where(inside, 1 - loss * depth, 1.0).sqrt()
    torch.testing.assert_close(maps, expected, atol=5e-5, rtol=0)
