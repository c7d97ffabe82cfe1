"""Every kind of frame, measured by markers that lie off every axis: position, left and right, depth, elevation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed here; `make test-slicer` runs these")

from slicer_module import phantom  # noqa: E402
from slicer_module.phantom import AXES, DEPTH, ELEVATION, FACE, LATERAL, MARKERS, SIZE, SWEEP  # noqa: E402

PARENT = phantom.rigid(phantom.rotation(70, 10, -35), (5, 40, -20))
OTHER_PARENT = phantom.rigid(phantom.rotation(-15, 60, 20), (-30, 4, 11))


@pytest.fixture
def module(scene: Any) -> Any:
    from SlicerBMapDiffusionLib import scene as module

    return module


def under(node: Any, parent: np.ndarray | None) -> Any:
    if parent is not None:
        node.SetAndObserveTransformNodeID(phantom.add_transform(parent).GetID())
    return node


def local(parent: np.ndarray | None, point: np.ndarray) -> np.ndarray:
    return point if parent is None else (np.linalg.inv(parent) @ (*point, 1))[:3]


def view_on(lateral: np.ndarray, down: np.ndarray, middle: np.ndarray, pan: tuple[float, float] = (0.0, 0.0)) -> Any:
    """A slice view, 60 x 48 mm, whose screen's right and down are known."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    node.SetLayoutName(node.GetName())
    node.SetDimensions(240, 192, 1)
    node.SetFieldOfView(60, 48, 1)
    turn = np.column_stack((lateral, -down, np.cross(lateral, down)))
    matrix = phantom.rigid(turn, middle - turn[:, :2] @ pan)
    node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
    node.SetXYZOrigin(*pan, 0)
    node.UpdateMatrices()
    return node


def from_view(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    return module.frame_from_view(view_on(LATERAL, DEPTH, FACE + 24 * DEPTH), size)


def from_panned_view(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    return module.frame_from_view(view_on(LATERAL, DEPTH, FACE + 24 * DEPTH, pan=(7.0, -3.0)), size)


def from_probe(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    world = phantom.rigid(AXES, FACE)
    probe = phantom.add_transform(world if parent is None else np.linalg.inv(parent) @ world)
    return module.frame_from_probe(under(probe, parent), size)


def from_line(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    turned = (AXES @ phantom.rotation(25, 0, 0)).T
    view = view_on(turned[0], turned[1], FACE + 5 * DEPTH)
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    for end in (-7, 7):
        line.AddControlPoint(local(parent, FACE + end * LATERAL))
    return module.frame_from_markup(under(line, parent), size, view)


def from_plane(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    plane = under(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode"), parent)
    plane.SetCenterWorld(FACE + 9 * DEPTH)
    plane.SetAxesWorld(LATERAL, DEPTH, ELEVATION)
    plane.SetSizeWorld(20, 18)
    return module.frame_from_markup(plane, size)


def slices(parent: np.ndarray | None, across: int, thin: bool) -> Any:
    """A volume with slices of 0.4 x 0.3 mm, one of them (or the only one) in the plane of the face's middle."""
    turn = np.column_stack((0.4 * LATERAL, 0.3 * DEPTH, across * 0.7 * ELEVATION))
    index = 0 if thin else 5
    matrix = phantom.rigid(turn, FACE - turn @ (25, 0, index))
    inside = np.eye(4) if parent is None else np.linalg.inv(parent)
    voxels = np.zeros((1 if thin else 11, 70, 51), dtype=np.uint8)
    return under(phantom.add_volume(voxels, inside @ matrix), parent)


def from_slices(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    return module.frame_from_slices(slices(parent, 1, thin=False), size)


def from_left_handed_slices(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    return module.frame_from_slices(slices(parent, -1, thin=False), size, index=5)


def from_single_slice(module: Any, size: Any, parent: np.ndarray | None) -> Any:
    return module.frame_from_slices(slices(parent, -1, thin=True), size)


KINDS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "view": from_view,
    "panned view": from_panned_view,
    "probe": from_probe,
    "line": from_line,
    "plane": from_plane,
    "slices": from_slices,
    "left-handed slices": from_left_handed_slices,
    "single slice": from_single_slice,
}


@pytest.mark.parametrize("left_handed", [False, True], ids=["right-handed", "left-handed"])
@pytest.mark.parametrize("parents", [(None, None), (PARENT, OTHER_PARENT)], ids=["in world", "under transforms"])
@pytest.mark.parametrize("kind", KINDS)
def test_markers_lie_where_the_frame_says_within_half_a_pixel(module, kind, parents, left_handed):
    segmentation = phantom.add_segmentation(left_handed, parents[0])
    frame = KINDS[kind](module, SWEEP, parents[1])
    labels = module.labels_in_frame(segmentation, phantom.mapping_of(segmentation), frame)
    for label, marker in enumerate(MARKERS, start=1):
        off = phantom.centroid(labels, label) - phantom.expected_pixels(marker, SWEEP)
        assert np.abs(off).max() < 0.5, (label, off)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_frame(module, kind):
    frame = KINDS[kind](module, SIZE, OTHER_PARENT)
    assert frame.ijk_to_ras == pytest.approx(phantom.marker_frame().ijk_to_ras, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_frame_is_the_middle_of_its_sweep(module, kind):
    single, sweep = (KINDS[kind](module, size, None) for size in (SIZE, SWEEP))
    assert sweep.moved((SWEEP.count - 1) / 2).corners() == pytest.approx(single.corners(), abs=1e-9)


def test_a_line_drawn_the_other_way_turns_the_image_round(module):
    view = view_on(LATERAL, DEPTH, FACE)
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    for end in (7, -7):
        line.AddControlPoint(FACE + end * LATERAL)
    frame = module.frame_from_markup(line, SIZE, view)
    assert frame.axes == pytest.approx(np.stack((-LATERAL, -DEPTH, ELEVATION)), abs=1e-9)


# the volume's own pixels


@pytest.mark.parametrize("across", [1, -1])
def test_own_slices_have_the_voxels_own_places(module, across):
    volume = slices(PARENT, across, thin=False)
    frame = module.frame_from_slices(volume, count=11)
    from SlicerBMapDiffusionLib.scene.frames import volume_to_ras

    matrix = volume_to_ras(volume)
    first, last = (matrix @ (3, 4, k, 1) for k in (0, 10))
    ends = (first, last) if across == 1 else (last, first)
    assert frame.ras(3, 4, (0, 10)) == pytest.approx(np.stack(ends)[:, :3], abs=1e-9)
    assert np.linalg.det(frame.ijk_to_ras[:3, :3]) > 0


def test_two_dimensional_ultrasound_from_dicom_runs_left_and_back(module):
    volume = phantom.add_volume(np.zeros((1, 30, 41, 3), dtype=np.uint8), np.diag((-0.25, -0.2, 1, 1)))
    frame = module.frame_from_slices(volume)
    assert (frame.rows, frame.columns, frame.count) == (30, 41, 1)
    assert frame.axes == pytest.approx(np.diag((-1.0, -1.0, 1.0)))
    assert frame.ras(40, 29) == pytest.approx((-10, -5.8, 0))


@pytest.mark.parametrize(("shape", "plane"), [((9, 7, 1), (1, 2)), ((9, 1, 7), (0, 2)), ((1, 9, 7), (0, 1))])
def test_the_axis_of_one_voxel_is_the_normal(module, shape, plane):
    frame = module.frame_from_slices(phantom.add_volume(np.zeros(shape, dtype=np.uint8), np.diag((1, 2, 3, 1.0))))
    assert (frame.rows, frame.columns) == (9, 7)
    assert frame.axes[:2] == pytest.approx(np.eye(3)[list(plane)])


def test_upside_down_slices_begin_at_the_last_row(module):
    volume = slices(None, 1, thin=True)
    frame = module.frame_from_slices(volume, upside_down=True)
    assert frame.axes == pytest.approx(np.stack((LATERAL, -DEPTH, -ELEVATION)), abs=1e-9)
    assert frame.ras(25, 0) == pytest.approx(FACE + 69 * 0.3 * DEPTH, abs=1e-9)


def test_some_of_the_slices_are_those_about_the_index(module):
    volume = slices(None, 1, thin=False)
    assert module.frame_from_slices(volume, index=4, count=3).ras(25, 0, 1) == pytest.approx(FACE - 0.7 * ELEVATION)
    assert module.frame_from_slices(volume, index=10, count=3).ras(25, 0, 2) == pytest.approx(FACE + 3.5 * ELEVATION)


# bad input


def test_a_slice_outside_the_volume_is_refused(module):
    with pytest.raises(ValueError, match="slices 0 to 10, not 11"):
        module.frame_from_slices(slices(None, 1, thin=False), index=11)


def test_more_slices_than_there_are_are_refused(module):
    with pytest.raises(ValueError, match="has 11 slices, not 12"):
        module.frame_from_slices(slices(None, 1, thin=False), count=12)


def test_an_empty_volume_is_refused(module):
    with pytest.raises(ValueError, match="no voxels"):
        module.frame_from_slices(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))


def test_a_sheared_volume_is_refused_where_the_shear_shows(module):
    matrix = np.eye(4)
    matrix[0, 2] = 0.4
    volume = phantom.add_volume(np.zeros((3, 4, 5), dtype=np.uint8), matrix)
    assert module.frame_from_slices(volume).spacing == pytest.approx((1, 1, np.hypot(1, 0.4)))
    with pytest.raises(ValueError, match="sheared against each other"):
        module.frame_from_slices(volume, count=3)
    matrix[0, 1] = 0.4
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    with pytest.raises(ValueError, match="not perpendicular"):
        module.frame_from_slices(volume)


def test_nothing_under_a_non_linear_transform_gives_a_frame(module):
    bend = phantom.add_bend().GetID()
    volume = slices(None, 1, thin=False)
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    probe = phantom.add_transform(np.eye(4))
    for node in (volume, line, probe):
        node.SetAndObserveTransformNodeID(bend)
    with pytest.raises(ValueError, match="harden it first"):
        module.frame_from_slices(volume)
    with pytest.raises(ValueError, match="harden it first"):
        module.frame_from_markup(line, SIZE)
    with pytest.raises(ValueError, match="not linear"):
        module.frame_from_probe(probe, SIZE)


def test_markups_that_give_no_plane_are_refused(module):
    view = view_on(LATERAL, DEPTH, FACE)
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    with pytest.raises(ValueError, match="fewer than two points"):
        module.frame_from_markup(line, SIZE, view)
    for end in (0, 1):
        line.AddControlPoint(FACE + end * ELEVATION)
    with pytest.raises(ValueError, match="in which slice view"):
        module.frame_from_markup(line, SIZE)
    with pytest.raises(ValueError, match="across the slice view"):
        module.frame_from_markup(line, SIZE, view)
    with pytest.raises(ValueError, match="not drawn yet"):
        module.frame_from_markup(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode"), SIZE)
    with pytest.raises(ValueError, match="neither a line nor a plane"):
        module.frame_from_markup(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsAngleNode"), SIZE)


@pytest.mark.parametrize("left_handed", [False, True])
def test_the_slice_through_a_point_is_the_nearest_one_and_the_ends_hold(module, left_handed):
    matrix = phantom.grid(left_handed)
    volume = under(phantom.add_volume(np.zeros((4, 5, 6), np.uint8), matrix), PARENT)
    for index in range(4):
        for beside in (-0.4, 0.4):
            point = (PARENT @ matrix @ (9, -3, index + beside, 1))[:3]
            assert module.slice_through(volume, point) == index
    assert module.slice_through(volume, (PARENT @ matrix @ (0, 0, -7, 1))[:3]) == 0
    assert module.slice_through(volume, (PARENT @ matrix @ (0, 0, 70, 1))[:3]) == 3


def test_the_slices_of_a_volume_of_one_row_are_across_its_rows(module):
    volume = phantom.add_volume(np.zeros((4, 1, 6), np.uint8), phantom.grid(False))
    assert module.slice_through(volume, (phantom.grid(False) @ (2, 3, 1, 1))[:3]) == 0
