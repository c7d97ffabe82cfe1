"""What slice views show of a result, of a frame and of its beam: the nodes, and the pictures drawn from them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed here; `make test-slicer` runs these")

from slicer_module import phantom  # noqa: E402
from slicer_module.phantom import SIZE, SWEEP  # noqa: E402
from slicer_module.slice_view import SliceView, can_render  # noqa: E402
from SlicerBMapDiffusionLib.geometry.beams import outline  # noqa: E402
from SlicerBMapDiffusionLib.geometry.frames import Frame, FrameSize  # noqa: E402

FAN = {"kind": "sector", "apex": [4.0, 18.0], "radii": [3.0, 33.0], "half_angle_deg": 26.0, "steering_deg": 8.0}
# Square pixels, for a sector.
SQUARE = FrameSize(rows=44, columns=40, row_mm=0.5, column_mm=0.5)
AMBER = np.array((255, 191, 51))


@pytest.fixture
def module(scene: Any) -> Any:
    from SlicerBMapDiffusionLib import scene as module

    return module


@pytest.fixture
def view(application: Any, scene: Any) -> SliceView:
    if not can_render():
        pytest.skip("libEGL is not installed here, nothing can be drawn")
    return SliceView(application, size=(300, 320))


@pytest.fixture
def plane(application: Any, scene: Any) -> Any:
    """A slice node of which nothing is drawn."""
    return application.add_slice_view(size=(300, 320)).GetSliceNode()


def on_screen(plane: Any, points: np.ndarray) -> np.ndarray:
    """(N, 2) RAS points as picture positions (x, y), y down from the top, pixel centres at whole numbers."""
    to_screen = np.linalg.inv(slicer.util.arrayFromVTKMatrix(plane.GetXYToRAS()))
    xy = (np.column_stack((points, np.ones(len(points)))) @ to_screen.T)[:, :2]
    return np.column_stack((xy[:, 0], plane.GetDimensions()[1] - 1 - xy[:, 1]))


def outlines() -> int:
    models = slicer.util.getNodesByClass("vtkMRMLModelNode")
    return len([model for model in models if model.GetAttribute("BMapDiffusion.outline")])


# layers


def test_a_result_lies_over_its_input_in_every_view(module, application):
    views = [application.add_slice_view(name) for name in ("Red", "Green")]
    beneath, node = (phantom.add_volume(np.zeros((1, 3, 4), dtype=np.uint8), np.eye(4), n) for n in "ab")
    module.show(node, beneath)
    for view in views:
        layers = view.GetSliceCompositeNode()
        assert layers.GetBackgroundVolumeID() == beneath.GetID()
        assert layers.GetForegroundVolumeID() == node.GetID()
        assert layers.GetForegroundOpacity() == 1
    module.show(node)
    assert layers.GetBackgroundVolumeID() == node.GetID()
    assert layers.GetForegroundVolumeID() is None


# aiming


@pytest.mark.parametrize("size", [SIZE, SWEEP, FrameSize(20, 90, 0.5, 0.45)], ids=["single", "sweep", "wide"])
def test_a_view_aimed_at_a_frame_shows_the_whole_of_it_with_its_face_up(module, plane, size):
    frame = phantom.marker_frame(size)
    module.aim(plane, frame)
    left_top, right_top, right_bottom, left_bottom = on_screen(plane, frame.corners((frame.count - 1) / 2))
    assert left_top[0] == pytest.approx(left_bottom[0])
    assert left_top[0] < right_top[0]
    assert left_top[1] == pytest.approx(right_top[1])
    assert left_top[1] < left_bottom[1]
    assert min(left_top) > 0
    assert (right_bottom < plane.GetDimensions()[:2]).all()


def test_a_view_aimed_at_a_frame_lies_in_its_plane_and_moves_along_its_stack(module, plane):
    frame = phantom.marker_frame(SWEEP)
    module.aim(plane, frame)
    before = plane.GetSliceOffset()
    middle = slicer.util.arrayFromVTKMatrix(plane.GetSliceToRAS())[:3, 3]
    assert middle == pytest.approx(frame.centre)
    plane.SetSliceOffset(before + SWEEP.step_mm)
    moved = slicer.util.arrayFromVTKMatrix(plane.GetSliceToRAS())[:3, 3]
    assert moved - middle == pytest.approx(frame.axes[2] * SWEEP.step_mm)


def test_a_frame_taken_from_an_aimed_view_points_the_same_way(module, plane):
    frame = phantom.marker_frame()
    module.aim(plane, frame)
    assert module.frame_from_view(plane, SIZE).axes == pytest.approx(frame.axes, abs=1e-9)


@pytest.mark.parametrize("size", [SIZE, SWEEP, FrameSize(20, 90, 0.5, 0.45)], ids=["single", "sweep", "wide"])
def test_a_frame_hung_up_in_a_view_is_found_again_there(module, plane, size):
    frame = phantom.marker_frame(size)
    module.aim(plane, frame, hanging=True)
    assert module.frame_from_view(plane, size).coincides(frame)
    left_top, _right_top, right_bottom, _left_bottom = on_screen(plane, frame.corners((frame.count - 1) / 2))
    assert left_top[0] > 0
    assert (right_bottom < plane.GetDimensions()[:2]).all()


# the outline


def test_there_is_one_outline_updated_in_place_and_taken_away_without_a_trace(module):
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    first = module.show_outline(phantom.marker_frame(SQUARE), FAN)
    second = module.show_outline(phantom.marker_frame(), None)
    assert first is second
    assert outlines() == 1
    module.hide_outline()
    module.hide_outline()
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_the_outline_is_not_saved_nor_offered_in_lists(module, scene, application, tmp_path):
    node = module.show_outline(phantom.marker_frame(SQUARE), FAN)
    assert node.GetHideFromEditors()
    assert not node.GetSelectable()
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    application.close_scene()
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert outlines() == 0


def test_a_dictionary_that_is_no_beam_draws_nothing(module):
    with pytest.raises(ValueError, match="'linear' or 'sector'"):
        module.show_outline(phantom.marker_frame(SQUARE), {"kind": "round"})
    assert outlines() == 0


def test_the_outline_reaches_half_a_step_beyond_the_stack(module):
    frame = phantom.marker_frame(SWEEP)
    node = module.show_outline(frame)
    points = slicer.util.arrayFromModelPoints(node)
    across = (points - frame.ras(0, 0, 0)) @ frame.axes[2] / SWEEP.step_mm
    assert (across.min(), across.max()) == pytest.approx((-0.5, SWEEP.count - 0.5))


# pictures


def test_the_picture_shows_the_image_where_the_frame_is(module, view):
    """Off by half a pixel of the image at most, left and right and depth told apart by a mark in one corner."""
    frame = phantom.marker_frame(SQUARE)
    images = np.zeros((1, 44, 40), dtype=np.uint8)
    images[0, 3:8, 5:12] = 255
    module.show(module.add_result(images, frame, {}, "mark"))
    module.aim(view.node, frame)
    picture = view.render()[..., 0].astype(float)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    seen = np.array(((x * picture).sum(), (y * picture).sum())) / picture.sum()
    (expected,) = on_screen(view.node, frame.ras([8.0], [5.0]))
    pixel = SQUARE.row_mm / (view.node.GetFieldOfView()[0] / view.node.GetDimensions()[0])
    assert pixel > 4
    assert np.abs(seen - expected).max() < 0.5 * pixel


def test_the_picture_shows_the_beams_outline_over_the_image(module, view):
    frame = phantom.marker_frame(SQUARE)
    module.show(module.add_result(np.full((1, 44, 40), 90, dtype=np.uint8), frame, {}, "fan"))
    module.aim(view.node, frame)
    without = view.render()
    module.show_outline(frame, FAN)
    picture = view.render()
    drawn = np.argwhere((picture != without).any(axis=-1))[:, ::-1]
    assert len(drawn) > 300
    colours = picture[drawn[:, 1], drawn[:, 0]]
    assert np.abs(np.percentile(colours, 95, axis=0) - AMBER).max() < 30
    # Every drawn point lies within one pixel of the image of the beam's edge.
    line = outline(FAN, 44, 40)
    dense = np.concatenate([np.linspace(a, b, 40) for a, b in pairwise(line)])
    edge = on_screen(view.node, frame.ras(dense[:, 1], dense[:, 0]))
    pixel = SQUARE.row_mm / (view.node.GetFieldOfView()[0] / view.node.GetDimensions()[0])
    distance = np.sqrt(((drawn[:, None] - edge[None]) ** 2).sum(-1)).min(axis=1)
    assert distance.max() < pixel
    # ... and every point of the edge is drawn.
    assert np.sqrt(((drawn[None] - edge[:, None]) ** 2).sum(-1)).min(axis=1).max() < pixel


def test_away_from_the_frame_there_is_no_outline(module, view):
    frame = phantom.marker_frame(SQUARE)
    module.show_outline(frame, FAN)
    module.aim(view.node, frame.moved(3))
    assert not view.render().any()


def test_a_frame_that_meets_the_view_askew_is_a_line_in_it(module, view):
    frame = Frame(np.diag((0.5, 0.5, 1.0, 1.0)), rows=44, columns=40)
    module.show_outline(frame, None)
    across = Frame(np.array(((0.5, 0, 0, 0), (0, 0, 1, 10), (0, -0.5, 0, 10), (0, 0, 0, 1.0))), rows=44, columns=40)
    module.aim(view.node, across)
    picture = view.render()
    drawn = np.argwhere(picture.any(axis=-1))
    assert 0 < len(drawn) < 200


def test_a_picture_is_written_as_it_is_rendered(view, tmp_path):
    view.ruler()
    pixels = view.save(tmp_path / "view.png")
    assert pixels.shape == (320, 300, 3)
    assert (tmp_path / "view.png").read_bytes().startswith(b"\x89PNG")
