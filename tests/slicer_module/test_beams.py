"""Beams in mm and in pixels: there and back, outlines round the generator's masks, other frames, SlicerUltrasound."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from SlicerBMapDiffusionLib.geometry.beams import BeamSettings, carried, from_slicer_ultrasound, outline
from SlicerBMapDiffusionLib.geometry.frames import Frame, FrameSize, frame_from_axes

SIZE = FrameSize(rows=48, columns=64, row_mm=0.5, column_mm=0.5)
OBLONG = FrameSize(rows=48, columns=64, row_mm=0.5, column_mm=0.4)
SETTINGS = {
    "linear": BeamSettings("linear", 20.0, width_mm=24.0, offset_mm=(1.5, -3.0)),
    "curvilinear": BeamSettings("curvilinear", 15.0, radius_mm=40.0, half_angle_deg=12.0, offset_mm=(2.0, 1.0)),
    "steered": BeamSettings("phased", 21.0, half_angle_deg=30.0, steering_deg=14.0, offset_mm=(0.5, -1.0)),
}
PIXELS = {
    "whole image": {"kind": "linear", "top": 0.0, "bottom": None, "left": None, "right": None},
    "linear": {"kind": "linear", "top": 3.0, "bottom": 40.5, "left": 5.0, "right": 60.0},
    "curvilinear": {
        "kind": "sector",
        "apex": [-40.0, 30.0],
        "radii": [48.0, 86.0],
        "half_angle_deg": 21.0,
        "steering_deg": 0.0,
    },
    "phased": {"kind": "sector", "apex": [3.0, 33.25], "radii": [0.0, 42.0], "half_angle_deg": 38.0},
    "steered": {
        "kind": "sector",
        "apex": [4.0, 20.0],
        "radii": [0.0, 40.0],
        "half_angle_deg": 30.0,
        "steering_deg": 12.0,
    },
}


def numbers(settings: BeamSettings) -> list[float]:
    values = [value for name, value in asdict(settings).items() if name not in {"kind", "offset_mm"}]
    return [*values, *settings.offset_mm]


# mm and pixels


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_survive_the_way_through_pixels(name):
    back = BeamSettings.from_pixels(SETTINGS[name].to_pixels(SIZE), SIZE)
    assert back.kind == SETTINGS[name].kind
    assert numbers(back) == pytest.approx(numbers(SETTINGS[name]))


def test_a_linear_beam_may_have_oblong_pixels():
    pixels = SETTINGS["linear"].to_pixels(OBLONG)
    assert (pixels["top"], pixels["bottom"]) == pytest.approx((3, 43))
    assert (pixels["left"], pixels["right"]) == pytest.approx((31.5 - 37.5, 31.5 + 22.5))
    assert numbers(BeamSettings.from_pixels(pixels, OBLONG)) == pytest.approx(numbers(SETTINGS["linear"]))


def test_the_whole_image_is_a_linear_beam_as_wide_and_deep_as_its_pixel_centres_span():
    settings = BeamSettings.from_pixels(PIXELS["whole image"], OBLONG)
    assert (settings.depth_mm, settings.width_mm) == pytest.approx((23.5, 25.2))
    assert settings.offset_mm == pytest.approx((0, 0))


@pytest.mark.parametrize("name", ["curvilinear", "steered"])
def test_a_curved_beam_with_oblong_pixels_is_refused(name):
    with pytest.raises(ValueError, match=r"needs square pixels, these are 0\.5 x 0\.4 mm"):
        SETTINGS[name].to_pixels(OBLONG)
    with pytest.raises(ValueError, match="needs square pixels"):
        BeamSettings.from_pixels(PIXELS[name], OBLONG)


def test_a_curved_faces_middle_lies_where_it_was_put():
    beam = SETTINGS["curvilinear"].to_pixels(SIZE)
    assert beam["apex"][0] + beam["radii"][0] == pytest.approx(2.0 / 0.5)
    assert beam["apex"][1] == pytest.approx(31.5 + 1.0 / 0.5)


@pytest.mark.parametrize("steering", [0.0, 20.0, -35.0])
def test_lowering_brings_the_whole_face_into_the_frame_and_no_further(steering):
    settings = BeamSettings("curvilinear", 15.0, radius_mm=40.0, half_angle_deg=25.0, steering_deg=steering).lowered()
    pixels = settings.to_pixels(SIZE)
    angles = np.radians(np.linspace(-25, 25, 101) + steering)
    assert (pixels["apex"][0] + pixels["radii"][0] * np.cos(angles)).min() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", ["linear", "phased"])
def test_lowering_puts_other_faces_on_the_first_row(kind):
    settings = BeamSettings(kind, 15.0, offset_mm=(4.0, -2.0)).lowered()
    assert settings.offset_mm == (0.0, -2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "round"}, "not 'round'"),
        ({"depth_mm": 0.0}, "depth_mm must be above 0"),
        ({"width_mm": float("nan")}, "width_mm must be above 0"),
        ({"radius_mm": -1.0}, "radius_mm must be above 0"),
        ({"half_angle_deg": 0.0}, "half_angle_deg must lie"),
        ({"half_angle_deg": 91.0}, "half_angle_deg must lie"),
        ({"steering_deg": 100.0}, "steering_deg must lie"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS["linear"], **change)


# what the generator makes of it


@pytest.mark.parametrize("name", SETTINGS)
def test_the_generator_reads_what_settings_write(name):
    geometry = pytest.importorskip("monai_bmaps.geometry", reason="monai_bmaps is not installed in this environment")
    pixels = SETTINGS[name].to_pixels(SIZE)
    assert geometry.beam_from_dict(pixels).to_dict() == pixels


@pytest.mark.parametrize("name", PIXELS)
def test_the_outline_goes_round_the_generators_mask(name):
    """The polygon's area is the mask's, but for half a pixel along its length."""
    geometry = pytest.importorskip("monai_bmaps.geometry", reason="monai_bmaps is not installed in this environment")
    line = outline(PIXELS[name], 48, 64)
    assert np.array_equal(line[0], line[-1])
    row, column = line.T
    area = abs(np.sum(row[:-1] * column[1:] - row[1:] * column[:-1])) / 2
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    beam = PIXELS[name]
    if name == "curvilinear":  # the ends of its face lie above the frame
        beam = beam | {"apex": [0.0, 100.0]}
    covered = geometry.beam_from_dict(beam).mask((200, 200) if name != "whole image" else (48, 64))
    assert int(covered.sum()) == pytest.approx(area, abs=0.6 * length)


def test_the_outline_of_a_sector_keeps_to_its_radii_and_angles():
    line = outline(PIXELS["steered"], 48, 64) - (4.0, 20.0)
    radius, angle = np.hypot(*line.T), np.degrees(np.arctan2(line[:, 1], line[:, 0]))
    assert radius.max() == pytest.approx(40)
    assert radius[radius > 1].min() == pytest.approx(40)
    assert (angle[radius > 1].min(), angle[radius > 1].max()) == pytest.approx((-18, 42))


@pytest.mark.parametrize(
    ("beam", "message"),
    [
        ({}, "'linear' or 'sector', not None"),
        ({"kind": "sector", "apex": [0, 0]}, "lacks numbers"),
        ({"kind": "sector", "apex": None, "radii": [0, 9], "half_angle_deg": 9}, "lacks numbers"),
        ({"kind": "sector", "apex": [0, 0, 0], "radii": [0, 9], "half_angle_deg": 9}, "no extent"),
        ({"kind": "sector", "apex": [0, 0], "radii": [9, 9], "half_angle_deg": 9}, "no extent"),
        ({"kind": "sector", "apex": [0, 0], "radii": [0, 9], "half_angle_deg": 0}, "no extent"),
        ({"kind": "sector", "apex": [0, float("nan")], "radii": [0, 9], "half_angle_deg": 9}, "no extent"),
        ({"kind": "linear", "top": 47}, "no extent"),
        ({"kind": "linear", "left": 9, "right": 3}, "no extent"),
    ],
)
def test_dictionaries_that_are_no_beam_are_refused(beam, message):
    with pytest.raises(ValueError, match=message):
        outline(beam, 48, 64)


# another frame in the same plane

SOURCE = frame_from_axes((5, 1, 2), (1, 2, 0), (0, 1, -3), 48, 64, (0.5, 0.5))


@pytest.mark.parametrize("name", ["linear", "curvilinear", "steered"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_carried_beam_covers_the_same_points_of_the_patient(name, mirrored):
    lateral, depth, _ = SOURCE.axes
    face = SOURCE.centre_top + 3 * lateral - 2 * depth
    target = frame_from_axes(face, -lateral if mirrored else lateral, depth, 130, 150, (0.25, 0.25))
    beam = carried(PIXELS[name], SOURCE, target)
    points = SOURCE.ras(*outline(PIXELS[name], 48, 64).T[::-1])
    line = target.ras(*outline(beam, 130, 150).T[::-1])
    nearest = np.linalg.norm(points[:, None] - line[None], axis=-1).min(axis=1)
    assert nearest.max() < 1e-6


def test_a_sector_may_be_carried_into_a_turned_frame():
    lateral, depth, _ = SOURCE.axes
    turned = frame_from_axes(SOURCE.centre_top, lateral + 0.2 * depth, depth - 0.2 * lateral, 48, 64, (0.5, 0.5))
    beam = carried(PIXELS["steered"], SOURCE, turned)
    # Its columns lean towards depth: what was straight down now runs towards larger columns.
    assert beam["steering_deg"] == pytest.approx(12 + np.degrees(np.arctan(0.2)))
    back = carried(beam, turned, SOURCE)
    assert back["apex"] == pytest.approx([4, 20])
    assert back["steering_deg"] == pytest.approx(12)


def test_a_linear_beam_that_would_lie_askew_is_refused():
    lateral, depth, _ = SOURCE.axes
    turned = frame_from_axes(SOURCE.centre_top, lateral + 0.2 * depth, depth - 0.2 * lateral, 48, 64, (0.5, 0.5))
    with pytest.raises(ValueError, match="askew"):
        carried(PIXELS["linear"], SOURCE, turned)


def test_a_beam_of_another_plane_is_refused():
    other = Frame(np.eye(4), rows=48, columns=64)
    with pytest.raises(ValueError, match="another plane"):
        carried(PIXELS["linear"], SOURCE, other)


# SlicerUltrasound


@pytest.mark.parametrize("name", ["linear", "curvilinear", "phased", "steered"])
def test_slicer_ultrasounds_parameters_are_read_as_the_generator_reads_them(name):
    geometry = pytest.importorskip("monai_bmaps.geometry", reason="monai_bmaps is not installed in this environment")
    parameters = geometry.beam_to_slicer_ultrasound(geometry.beam_from_dict(PIXELS[name]), (48, 64))
    assert from_slicer_ultrasound(parameters) == geometry.beam_from_slicer_ultrasound(parameters).to_dict()


@pytest.mark.parametrize(
    "names", [("angle1", "angle2"), ("angle2", "angle1"), ("angle_min_degrees", "angle_max_degrees")]
)
def test_angles_are_read_in_either_order_and_by_their_older_names(names):
    fan = {"center_rows_px": 4, "center_cols_px": 20, "radius_min_px": 0, "radius_max_px": 40}
    assert from_slicer_ultrasound(fan | dict(zip(names, (48, 108), strict=True))) == PIXELS["steered"]


def test_a_fan_across_the_images_left_keeps_its_small_angle():
    fan = {"angle1": 170, "angle2": -170, "center_rows_px": 0, "center_cols_px": 9, "radius1": 0, "radius2": 8}
    beam = from_slicer_ultrasound(fan)
    assert (beam["half_angle_deg"], beam["steering_deg"]) == (10, -90)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"mask_type": "disc"}, "mask_type must be"), ({"angle1": 60}, "a number under angle2 or angle_max_degrees")],
)
def test_unusable_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        from_slicer_ultrasound(parameters)
