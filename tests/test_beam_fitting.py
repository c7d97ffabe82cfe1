"""Beams fitted to masks: damaged, cropped, in millimetres, of real frames; refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from monai_bmaps.geometry import LinearBeam, SectorBeam, fit_beam

SECTORS = Path(__file__).parents[2] / "shared" / "data" / "camus_apical" / "sectors"
NAN = float("nan")


def iou(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first & second).sum() / (first | second).sum())


FANS = {
    "phased": SectorBeam((12.5, 101), (0, 142), 36),
    "phased cropped by both sides": SectorBeam((10, 99.5), (0, 145), 52),
    "phased steered": SectorBeam((8, 80), (0, 130), 28, 14),
    "curvilinear": SectorBeam((-60, 103), (75, 205), 29),
    "curvilinear with a flat face": SectorBeam((-260, 97), (275, 400), 14),
    "curvilinear steered": SectorBeam((-20, 95), (32, 160), 31, -9),
    "curvilinear cropped below": SectorBeam((-50, 100), (70, 230), 30),
}
SHAPE = (160, 200)


def damaged(mask: torch.Tensor) -> torch.Tensor:
    """Speckle of both kinds, a ragged edge and a hole."""
    generator = torch.Generator().manual_seed(0)
    ragged = F.avg_pool2d(mask[None, None].float(), 5, 1, 2)[0, 0] > 0.2 + 0.6 * torch.rand(SHAPE, generator=generator)
    noisy = ragged ^ (torch.rand(SHAPE, generator=generator) < 0.01)
    noisy[70:85, 95:110] = False
    return noisy


@pytest.mark.parametrize("fan", FANS.values(), ids=list(FANS))
def test_fit_to_a_damaged_mask_recovers_the_fan(fan):
    mask = fan.mask(SHAPE)
    fitted = fit_beam(damaged(mask))
    assert iou(fitted.mask(SHAPE), mask) > 0.98


@pytest.mark.parametrize("name", ["phased", "curvilinear", "phased steered"])
def test_fit_to_a_clean_mask_recovers_the_fans_numbers(name):
    fan = FANS[name]
    fitted = fit_beam(fan.mask(SHAPE), "sector")
    # half a pixel of edge moves apex and radii of a narrow fan by about a pixel or two
    assert fitted.apex == pytest.approx(fan.apex, abs=2)
    assert fitted.radii == pytest.approx(fan.radii, abs=2)
    assert fitted.half_angle_deg == pytest.approx(fan.half_angle_deg, abs=0.7)
    assert fitted.steering_deg == pytest.approx(fan.steering_deg, abs=0.7)


def test_fitted_depth_stays_near_the_true_depth():
    fan = FANS["curvilinear"]
    fitted, both = fit_beam(damaged(fan.mask(SHAPE)), "sector"), fan.mask(SHAPE)
    both &= fitted.mask(SHAPE)
    # two pixels of 130
    torch.testing.assert_close(fitted.depth_map(SHAPE)[both], fan.depth_map(SHAPE)[both], atol=2 / 130, rtol=0)


def test_fit_in_millimetres_is_the_fit_in_pixels_scaled():
    mask = FANS["curvilinear"].mask(SHAPE)
    pixels, millimetres = fit_beam(mask, "sector"), fit_beam(mask, "sector", spacing=0.25)
    assert millimetres.apex == pytest.approx(pixels.scaled(0.25).apex, abs=0.02)
    assert millimetres.radii == pytest.approx(pixels.scaled(0.25).radii, abs=0.02)


def test_fit_repeats_exactly():
    mask = damaged(FANS["phased"].mask(SHAPE))
    assert fit_beam(mask) == fit_beam(mask)


def test_fit_works_where_the_caller_switched_gradients_off():
    with torch.inference_mode():
        assert isinstance(fit_beam(FANS["phased"].mask(SHAPE)), SectorBeam)


@pytest.mark.parametrize(
    "beam", [LinearBeam(), LinearBeam(top=12, bottom=140), LinearBeam(top=9, left=20, right=171)], ids=str
)
def test_auto_fit_to_a_damaged_rectangle_is_that_linear_beam(beam):
    fitted = fit_beam(damaged(beam.mask(SHAPE)))
    assert isinstance(fitted, LinearBeam)
    assert fitted.ends(SHAPE) == pytest.approx(beam.ends(SHAPE), abs=1)


def test_fit_leaves_the_mask_unchanged_and_takes_numpy():
    mask = FANS["phased"].mask(SHAPE).numpy().astype(np.uint8)
    mask.setflags(write=False)
    assert isinstance(fit_beam(mask), SectorBeam)


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        (torch.zeros(8, 9), "auto", "got only zeros"),
        (torch.ones(1, 8, 9), "auto", r"mask must be \(height, width\)"),
        (torch.full((8, 9), NAN), "auto", "mask must hold only 0 and 1"),
        (torch.full((8, 9), 255), "auto", "mask must hold only 0 and 1, got values from 255 to 255"),
        (torch.ones(8, 9), "disc", "kind must be"),
        (torch.eye(64), "auto", r"IoU\) of a beam with the mask must be at least 0.8"),
        (FANS["phased"].mask(SHAPE), "linear", "filled field of view"),
    ],
)
def test_mask_that_cannot_be_fitted_is_refused_with_its_reason(mask, kind, message):
    with pytest.raises(ValueError, match=message):
        fit_beam(mask, kind)


@pytest.mark.skipif(not SECTORS.is_dir(), reason="../shared/data/camus_apical/sectors is not there")
@pytest.mark.parametrize("start", [0, 100, 200])
def test_fit_matches_real_apical_sectors(start):
    # three of the 312 masks are nibbled at dark corners; none of these is among the sample
    for path in sorted(SECTORS.glob("*.png"))[start : start + 100 : 25]:
        mask = torch.from_numpy(np.asarray(Image.open(path)) > 0)
        assert iou(fit_beam(mask, "sector").mask(mask.shape), mask) > 0.99, path.name
