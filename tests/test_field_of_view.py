"""What is ultrasound and what is text, bars, boxes and JPEG noise; and the beam that fits it."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from trees import BAND, FAN, SHAPE, frame

from monai_bmaps.data.prepare.beams import beam_of
from monai_bmaps.data.prepare.field_of_view import field_of_view
from monai_bmaps.data.prepare.frames import Frame
from monai_bmaps.geometry import Beam, BeamKind, LinearBeam, SectorBeam, fit_beam

LARGE = (150, 130)
WIDE = SectorBeam(apex=(-30.0, 65.0), radii=(38.0, 160.0), half_angle_deg=24.0)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("beam", [FAN, BAND])
def test_the_region_is_the_beams(beam: Beam) -> None:
    inside, unknown = field_of_view(frame(beam))
    assert overlap(inside, beam.mask(SHAPE).numpy()) > 0.97
    assert not unknown.any()


def test_deep_shadow_is_inside_as_long_as_it_shows_noise() -> None:
    image = frame(WIDE, LARGE)
    image[80:, 40:80] = np.where(image[80:, 40:80] > 0, 1, 0)
    inside, _ = field_of_view(image)
    assert overlap(inside, WIDE.mask(LARGE).numpy()) > 0.96


def test_black_holes_are_filled() -> None:
    image = frame(WIDE, LARGE)
    image[60:80, 50:75] = 0
    assert field_of_view(image)[0][60:80, 50:75].all()


def test_text_and_bars_beside_the_beam_are_not_inside() -> None:
    image = frame(WIDE, LARGE)
    image[60:140, 2:6], image[4:9, 4:20:2] = 180, 255
    inside, _ = field_of_view(image)
    assert overlap(inside, WIDE.mask(LARGE).numpy()) > 0.96


def test_a_box_over_a_corner_is_unknown_and_does_not_bend_the_beam() -> None:
    image = frame(WIDE, LARGE)
    image[75:, 75:] = 0
    inside, unknown = field_of_view(image)
    assert unknown[80:125, 80:100].all()
    assert not unknown[:, :70].any()
    beam = fit_beam(inside, "sector", ignore=unknown)
    assert overlap(beam.mask(LARGE).numpy(), WIDE.mask(LARGE).numpy()) > 0.97
    bent = fit_beam(inside, "sector")
    assert overlap(bent.mask(LARGE).numpy(), WIDE.mask(LARGE).numpy()) < 0.95


def test_the_sides_of_a_fan_are_not_taken_for_boxes() -> None:
    assert not field_of_view(frame(WIDE, LARGE))[1].any()


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="the frame is empty"):
        field_of_view(np.zeros((20, 30), np.uint8))


@pytest.mark.parametrize("quality", [60, 90])
def test_jpeg_noise_does_not_widen_the_beam(quality: int) -> None:
    stream = BytesIO()
    Image.fromarray(frame(WIDE, LARGE)).save(stream, "JPEG", quality=quality)
    fitted = beam_of(Frame("a", np.asarray(Image.open(stream))), "sector")
    assert fitted is not None
    assert overlap(fitted.inside, WIDE.mask(LARGE).numpy()) > 0.95


def test_a_grey_background_counts_as_outside() -> None:
    image = np.where(WIDE.mask(LARGE).numpy(), frame(WIDE, LARGE), 33).astype(np.uint8)
    fitted = beam_of(Frame("a", image), "auto")
    assert fitted is not None
    assert overlap(fitted.inside, WIDE.mask(LARGE).numpy()) > 0.95


def test_depth_0_lies_on_the_face_of_an_inset_band_and_not_in_row_0() -> None:
    fitted = beam_of(Frame("a", frame(BAND)), "auto")
    assert fitted is not None
    assert isinstance(fitted.beam, LinearBeam)
    assert fitted.beam.top == pytest.approx(BAND.top, abs=1)
    assert fitted.beam.bottom == pytest.approx(BAND.bottom, abs=1)


def test_a_tilted_linear_probe_gets_steered_almost_parallel_lines() -> None:
    tilted = SectorBeam(apex=(-1400.0, -340.0), radii=(1465.0, 1560.0), half_angle_deg=1.9, steering_deg=15.0)
    fitted = beam_of(Frame("a", frame(tilted, LARGE)), "auto")
    assert fitted is not None
    assert isinstance(fitted.beam, SectorBeam)
    assert fitted.beam.steering_deg == pytest.approx(15, abs=3)
    assert fitted.beam.half_angle_deg < 10


def test_a_field_of_view_that_the_source_knows_is_followed() -> None:
    image = np.full(SHAPE, 90, np.uint8)
    fitted = beam_of(Frame("a", image, inside=FAN.mask(SHAPE).numpy()), "sector")
    assert fitted is not None
    assert overlap(fitted.inside, FAN.mask(SHAPE).numpy()) > 0.98


@pytest.mark.parametrize("kind", ["sector", "auto"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_fan_that_does_not_open_downwards_is_refused(turns: int, kind: BeamKind) -> None:
    turned = Frame("a", np.rot90(frame(WIDE, LARGE), turns).copy())
    with pytest.raises(ValueError, match="the frame is turned; if its affine is wrong, give --stored-order"):
        beam_of(turned, kind)


def test_no_beam_fits_two_separate_halves() -> None:
    image = np.zeros((60, 60), np.uint8)
    image[5:50, :12] = image[30:58, 48:] = 80
    assert beam_of(Frame("a", image), "linear") is None


def test_pixels_to_ignore_must_have_the_masks_shape_and_leave_some() -> None:
    mask = FAN.mask(SHAPE)
    with pytest.raises(ValueError, match="must have the mask's shape"):
        fit_beam(mask, ignore=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="leaves nothing of the mask"):
        fit_beam(mask, ignore=np.ones(SHAPE))


def test_ignoring_what_was_not_hidden_changes_little() -> None:
    away = np.zeros(SHAPE, bool)
    away[50:, 30:] = True
    fitted = fit_beam(FAN.mask(SHAPE), "sector", ignore=away)
    assert overlap(fitted.mask(SHAPE).numpy(), FAN.mask(SHAPE).numpy()) > 0.97
    assert fitted != replace(FAN, steering_deg=FAN.steering_deg + 5)
