"""Handles of a beam: where they are, and what pulling at one does, for every kind of beam."""

from __future__ import annotations

import numpy as np
import pytest

from SlicerBMapDiffusionLib.geometry.beams import BeamSettings, outline
from SlicerBMapDiffusionLib.geometry.frames import FrameSize
from SlicerBMapDiffusionLib.geometry.handles import HANDLES, places, pulled

BEAMS = {
    "linear": BeamSettings("linear", 40, width_mm=30, offset_mm=(2, -3)),
    "curvilinear": BeamSettings("curvilinear", 60, radius_mm=25, half_angle_deg=30, steering_deg=12, offset_mm=(8, 4)),
    "phased": BeamSettings("phased", 90, half_angle_deg=40, steering_deg=-15, offset_mm=(5, 0)),
}
SIZE = FrameSize(110, 130, 1.0, 1.0)


@pytest.mark.parametrize("kind", BEAMS)
def test_the_handles_lie_on_the_beam_s_outline(kind):
    beam = BEAMS[kind]
    rim = outline(beam.to_pixels(SIZE), SIZE.rows, SIZE.columns) - (0, (SIZE.columns - 1) / 2)
    for name, place in places(beam).items():
        assert _distance(np.array(place), rim) < 0.05, name


@pytest.mark.parametrize("kind", ["curvilinear", "phased"])
def test_the_edge_is_the_one_towards_larger_columns_at_half_depth(kind):
    beam = BEAMS[kind]
    face, edge, apex = np.array(places(beam)["face"]), np.array(places(beam)["edge"]), np.array(_apex(beam))
    assert _angle(edge - apex) == pytest.approx(beam.steering_deg + beam.half_angle_deg)
    assert np.linalg.norm(edge - apex) == pytest.approx(np.linalg.norm(face - apex) + beam.depth_mm / 2)


@pytest.mark.parametrize("kind", BEAMS)
@pytest.mark.parametrize("handle", HANDLES)
def test_a_handle_is_where_it_was_pulled_to(kind, handle):
    beam = BEAMS[kind]
    before = places(beam)[handle]
    target = (before[0] + 3.0, before[1] + 2.0)
    after = places(pulled(beam, handle, target))[handle]
    if kind == "linear" and handle == "end":
        assert after == pytest.approx((target[0], before[1]))  # parallel lines are not steered
    elif kind == "linear" and handle == "edge":
        assert after == pytest.approx((before[0], target[1]))  # stays at half depth
    elif handle == "edge":
        apex = np.array(_apex(beam))
        assert _angle(after - apex) == pytest.approx(_angle(target - apex))  # stays at half depth
    else:
        assert after == pytest.approx(target)


@pytest.mark.parametrize("kind", BEAMS)
@pytest.mark.parametrize("handle", HANDLES)
def test_pulling_a_handle_to_its_own_place_changes_nothing(kind, handle):
    beam = BEAMS[kind]
    same = pulled(beam, handle, places(beam)[handle])
    for name in ("depth_mm", "width_mm", "radius_mm", "half_angle_deg", "steering_deg", "offset_mm"):
        assert getattr(same, name) == pytest.approx(getattr(beam, name)), name


@pytest.mark.parametrize("kind", BEAMS)
def test_the_face_takes_the_whole_beam_along(kind):
    beam = BEAMS[kind]
    moved = places(pulled(beam, "face", (20.0, -7.0)))
    shift = np.array((20.0, -7.0)) - beam.offset_mm
    for name, place in places(beam).items():
        assert moved[name] == pytest.approx(place + shift)


@pytest.mark.parametrize("kind", BEAMS)
@pytest.mark.parametrize("handle", HANDLES)
@pytest.mark.parametrize("place", [(-500.0, 0.0), (0.0, -500.0), (0.0, 0.0), (300.0, 300.0)])
def test_wherever_a_handle_is_pulled_there_is_a_beam(kind, handle, place):
    pulled(BEAMS[kind], handle, place)


def _apex(beam: BeamSettings) -> tuple[float, float]:
    near = beam.radius_mm if beam.kind == "curvilinear" else 0.0
    angle = np.radians(beam.steering_deg)
    return beam.offset_mm[0] - near * np.cos(angle), beam.offset_mm[1] - near * np.sin(angle)


def _angle(vector: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(vector[1], vector[0])))


def _distance(point: np.ndarray, line: np.ndarray) -> float:
    """From a point to a line of (N, 2) points."""
    starts, ways = line[:-1], np.diff(line, axis=0)
    lengths = np.maximum((ways**2).sum(axis=1), 1e-12)
    shares = np.clip(((point - starts) * ways).sum(axis=1) / lengths, 0, 1)
    return float(np.linalg.norm(starts + shares[:, None] * ways - point, axis=1).min())
