"""Depth profiles and slopes: planted truth along linear and sector beams."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_bmaps.data.phantoms import convex_beam, heart_beam
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.geometry import Beam, LinearBeam, SectorBeam
from monai_bmaps.metrics.realism.depth_profile import BINS, db_per_cm, depth_profile, measure, slope
from monai_bmaps.metrics.realism.frame import Frame
from monai_bmaps.metrics.realism.settings import Settings

SHAPE = (96, 120)
LINEAR = LinearBeam(top=4, bottom=90, left=3, right=111)
BEAMS: dict[str, Beam] = {"linear": LINEAR, "phased": heart_beam(SHAPE), "convex": convex_beam(SHAPE)}
beams = pytest.mark.parametrize("beam", BEAMS.values(), ids=list(BEAMS))


def of_beam(beam: Beam, image: torch.Tensor, spacing: tuple[float, float] | None = None) -> Frame:
    depth, inside = beam.depth_map(SHAPE).double().numpy(), beam.mask(SHAPE).numpy()
    return Frame(image.double().numpy(), depth=depth, inside=inside, beam=beam, spacing=spacing)


def speckled(beam: Beam, loss_db: float, seed: int = 0) -> torch.Tensor:
    """Fully developed speckle whose level falls by ``loss_db`` from the face to the far end, at 100 dB."""
    return speckle_image(
        torch.zeros(SHAPE, dtype=torch.int64), beam, kind={0: -25.0}, attenuation_db=loss_db, tgc=0.0, specular_db=None,
        dynamic_range_db=100.0, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


@beams
def test_a_planted_ramp_has_its_slope_exactly(beam: Beam) -> None:
    depth, inside = beam.depth_map(SHAPE), beam.mask(SHAPE)
    # bins' medians lie off their centres by the rows' positions: less than 2 % of the slope
    assert slope(depth_profile(0.8 - 0.5 * depth, depth, inside)) == pytest.approx(-0.5 * 255, rel=0.02)


@beams
def test_a_planted_loss_is_found_in_decibels_per_centimetre(beam: Beam) -> None:
    found = measure(of_beam(beam, speckled(beam, 40.0), (0.5, 0.5)), Settings(100.0))
    pixels = beam.radii[1] - beam.radii[0] if isinstance(beam, SectorBeam) else 86
    # some 500 speckle cells: the level of a depth is known within a dB
    assert found["slope_db_tissue"] == pytest.approx(-40.0 / (pixels * 0.05), rel=0.1)


def test_spacing_along_the_beam_counts_and_not_the_one_across() -> None:
    frame = of_beam(LINEAR, speckled(LINEAR, 40.0), (0.5, 0.1))
    square = of_beam(LINEAR, speckled(LINEAR, 40.0), (0.5, 0.5))
    assert measure(frame, Settings())["slope_db_tissue"] == measure(square, Settings())["slope_db_tissue"]


def test_a_fan_whose_pixels_are_not_square_has_no_decibels_per_centimetre() -> None:
    found = measure(of_beam(heart_beam(SHAPE), speckled(heart_beam(SHAPE), 40.0), (0.5, 0.3)), Settings())
    assert math.isnan(found["slope_db_tissue"])
    assert math.isfinite(found["slope_tissue"])


def test_decibels_per_centimetre_by_hand() -> None:
    # 255 grey levels are 60 dB, over 120 mm
    assert db_per_cm(-255.0, 120.0, 60.0) == pytest.approx(-5.0)


def test_clipping_less_than_half_of_the_pixels_to_black_leaves_the_slope() -> None:
    noise = 0.2 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    depth = LINEAR.depth_map(SHAPE)
    image = (0.4 - 0.3 * depth + noise).clamp(0, 1)
    assert float((image == 0).float().mean()) > 0.1
    # the standard error of a bin's median is 0.015 here
    assert slope(depth_profile(image, depth, LINEAR.mask(SHAPE))) == pytest.approx(-0.3 * 255, rel=0.15)


def test_depths_that_are_black_in_the_median_do_not_flatten_the_slope() -> None:
    depth = LINEAR.depth_map(SHAPE)
    image = (0.5 - 0.8 * depth).clamp(0, 1)
    profile = depth_profile(image, depth, LINEAR.mask(SHAPE))
    assert np.isnan(profile.median[profile.depth > 0.7]).all()
    assert slope(profile) == pytest.approx(-0.8 * 255, rel=0.02)


def test_a_bright_interface_does_not_move_the_slope() -> None:
    depth, inside = LINEAR.depth_map(SHAPE), LINEAR.mask(SHAPE)
    image = 0.7 - 0.4 * depth
    image[40:46] = 1.0
    assert slope(depth_profile(image, depth, inside)) == pytest.approx(-0.4 * 255, rel=0.03)


def test_mean_and_spread_of_a_depth_are_those_of_its_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    image, depth = torch.rand(SHAPE, generator=generator).double(), torch.rand(SHAPE, generator=generator).double()
    where = torch.rand(SHAPE, generator=generator) > 0.5
    profile = depth_profile(image, depth, where, bins=4)
    chosen = 255 * image[where & (depth >= 0.25) & (depth < 0.5)]
    assert profile.mean[1] == pytest.approx(float(chosen.mean()))
    assert profile.spread[1] == pytest.approx(float(chosen.std(correction=0)))
    assert profile.depth.tolist() == [0.125, 0.375, 0.625, 0.875]


def test_an_empty_region_has_no_profile_and_no_slope() -> None:
    profile = depth_profile(torch.ones(SHAPE), LINEAR.depth_map(SHAPE), torch.zeros(SHAPE, dtype=torch.bool))
    assert np.isnan(profile.mean).all()
    assert profile.mean.shape == (BINS,)
    assert math.isnan(slope(profile))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full(SHAPE, math.nan), "without NaN"),
        (torch.full(SHAPE, 255.0), "divide 8-bit images by 255"),
        (torch.zeros(1, *SHAPE), r"must be \(height, width\)"),
        (torch.zeros(5, 7), "must have one shape"),
    ],
)
def test_images_that_are_none_are_refused(image: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        depth_profile(image, LINEAR.depth_map(SHAPE), LINEAR.mask(SHAPE))
