"""Labels and grey values that a frame sees of the scene, and every input that it cannot use."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed here; `make test-slicer` runs these")

import vtk  # noqa: E402

from slicer_module import phantom  # noqa: E402
from slicer_module.phantom import AXES, FACE, MARKERS, SIZE, SWEEP  # noqa: E402
from SlicerBMapDiffusionLib.geometry.frames import Frame, FrameSize  # noqa: E402

PARENT = phantom.rigid(phantom.rotation(70, 10, -35), (5, 40, -20))
UNIT = Frame(np.eye(4), rows=5, columns=7)


@pytest.fixture
def module(scene: Any) -> Any:
    from SlicerBMapDiffusionLib import scene as module

    return module


def box(rows: slice, columns: slice, shape: tuple[int, int, int] = (1, 5, 7), value: int = 1) -> np.ndarray:
    voxels = np.zeros(shape, dtype=np.uint8)
    voxels[:, rows, columns] = value
    return voxels


def add_boxes(*boxes: np.ndarray) -> tuple[Any, list[str]]:
    """A segmentation in which each box is a segment with voxels of its own, so that boxes may overlap."""
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "boxes")
    identifiers = []
    for index, voxels in enumerate(boxes):
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(voxels.shape[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = voxels.ravel()
        name = f"box {index}"
        identifiers.append(segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, name))
    return segmentation, identifiers


def add_ball(centre: np.ndarray, radius: float, parent: np.ndarray | None = None) -> Any:
    """A segmentation that is one closed surface and has no voxels."""
    source = vtk.vtkSphereSource()
    source.SetCenter(centre)
    source.SetRadius(radius)
    source.SetThetaResolution(40)
    source.SetPhiResolution(40)
    source.Update()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    segmentation.GetSegmentation().SetSourceRepresentationName(surface)
    segmentation.AddSegmentFromClosedSurfaceRepresentation(source.GetOutput(), "ball")
    if parent is not None:
        segmentation.SetAndObserveTransformNodeID(phantom.add_transform(parent).GetID())
    return segmentation


# where the anatomy lies


@pytest.mark.parametrize("parent", [None, PARENT], ids=["in world", "under a transform"])
def test_the_middle_of_segments_is_that_of_the_box_about_them(module, parent):
    first, second = box(slice(1, 2), slice(0, 2)), box(slice(3, 5), slice(5, 6))
    segmentation, identifiers = add_boxes(first, second, box(slice(0, 5), slice(0, 7)))
    if parent is not None:
        segmentation.SetAndObserveTransformNodeID(phantom.add_transform(parent).GetID())
    to_world = np.eye(4) if parent is None else parent
    # columns 0 to 5, rows 1 to 4 of pixels whose centres are whole numbers
    assert module.middle_of(segmentation, identifiers[:2]) == pytest.approx((to_world @ (2.5, 2.5, 0, 1))[:3])
    assert module.middle_of(segmentation, identifiers[1:2]) == pytest.approx((to_world @ (5, 3.5, 0, 1))[:3])


def test_the_middle_of_one_of_several_segments_in_shared_voxels_is_its_own(module):
    segmentation = phantom.add_segmentation()
    for identifier, marker in zip(phantom.mapping_of(segmentation), MARKERS, strict=True):
        far = np.linalg.norm(module.middle_of(segmentation, [identifier]) - phantom.in_world(marker))
        assert far < 1.0


def test_the_middle_of_a_closed_surface_is_its_own(module):
    centre = np.array((3.0, -4.0, 5.0))
    segmentation = add_ball(centre, 2.0, PARENT)
    middle = module.middle_of(segmentation, phantom.mapping_of(segmentation))
    assert middle == pytest.approx((PARENT @ (*centre, 1))[:3], abs=0.05)


def test_segments_that_are_empty_have_no_middle(module):
    segmentation, identifiers = add_boxes(np.zeros((1, 5, 7), np.uint8))
    with pytest.raises(ValueError, match="are empty"):
        module.middle_of(segmentation, identifiers)


# labels


def test_labels_keep_their_values_and_the_empty_rest_is_0(module):
    segmentation = phantom.add_segmentation()
    identifiers = list(phantom.mapping_of(segmentation))
    labels = module.labels_in_frame(segmentation, {identifiers[0]: 7, identifiers[1]: 3}, phantom.marker_frame())
    assert labels.shape == (1, SIZE.rows, SIZE.columns)
    assert labels.dtype == np.uint8
    assert np.unique(labels).tolist() == [0, 3, 7]


def test_two_segments_may_be_one_class(module):
    segmentation, (first, second) = add_boxes(box(slice(0, 2), slice(0, 2)), box(slice(3, 5), slice(5, 7)))
    labels = module.labels_in_frame(segmentation, {first: 1, second: 1}, UNIT)
    assert labels.sum() == 8


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_segments_overlap_the_later_in_the_mapping_wins(module, order):
    segmentation, identifiers = add_boxes(box(slice(0, 4), slice(0, 4)), box(slice(2, 5), slice(2, 7)))
    mapping = {identifiers[index]: index + 1 for index in order}
    labels = module.labels_in_frame(segmentation, mapping, UNIT)
    assert (labels[0, 2:4, 2:4] == order[-1] + 1).all()
    assert labels[0, 0, 0] == 1
    assert labels[0, 4, 6] == 2


def test_labels_on_the_voxels_own_grid_are_the_voxels(module):
    voxels = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    matrix = phantom.grid(left_handed=False)
    segmentation = phantom.import_labels(voxels, matrix)
    frame = module.frame_from_slices(phantom.add_volume(voxels, matrix), count=4)
    assert np.array_equal(module.labels_in_frame(segmentation, phantom.mapping_of(segmentation), frame), voxels)


@pytest.mark.parametrize("parent", [None, PARENT], ids=["in world", "under a transform"])
def test_a_closed_surface_alone_is_cut_where_it_lies(module, parent):
    radius = MARKERS[1][3]
    local = np.eye(4) if parent is None else np.linalg.inv(parent)
    centre = (local @ (*phantom.in_world(MARKERS[1]), 1))[:3]
    segmentation = add_ball(centre, radius, parent)
    labels = module.labels_in_frame(segmentation, phantom.mapping_of(segmentation), phantom.marker_frame(SWEEP))
    off = phantom.centroid(labels, 1) - phantom.expected_pixels(MARKERS[1], SWEEP)
    volume = labels.sum() * SWEEP.row_mm * SWEEP.column_mm * SWEEP.step_mm
    assert np.abs(off).max() < 0.1
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)


def test_a_single_frame_cuts_a_closed_surface_as_its_sweep_does(module):
    segmentation = add_ball(phantom.in_world(MARKERS[1]), 2.0)
    mapping = phantom.mapping_of(segmentation)
    single, sweep = (module.labels_in_frame(segmentation, mapping, phantom.marker_frame(s)) for s in (SIZE, SWEEP))
    assert np.array_equal(single[0], sweep[SWEEP.count // 2])


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_a_stack_cut_in_parts_is_the_stack(module, monkeypatch, at_once):
    from SlicerBMapDiffusionLib.scene import surfaces

    segmentation = add_ball(phantom.in_world(MARKERS[1]), 4.0)
    mapping = phantom.mapping_of(segmentation)
    usual = module.labels_in_frame(segmentation, mapping, phantom.marker_frame(SWEEP))
    monkeypatch.setattr(surfaces, "_AT_ONCE", at_once)
    assert np.array_equal(module.labels_in_frame(segmentation, mapping, phantom.marker_frame(SWEEP)), usual)
    assert (usual.any(axis=(1, 2))).sum() > 5


def test_a_long_stack_looks_at_each_triangle_a_few_times_only(module, monkeypatch):
    """VTK by itself looks at all of them for each frame: seconds for a sweep of a fine surface."""
    from SlicerBMapDiffusionLib.scene import surfaces

    cut, seen = surfaces._cut, []
    monkeypatch.setattr(surfaces, "_cut", lambda *given: (seen.append(given), cut(*given))[1])
    segmentation = add_ball(phantom.in_world(MARKERS[1]), 8.0)
    frame = phantom.marker_frame(FrameSize(44, 40, 0.5, 0.45, count=200, step_mm=0.1))
    assert module.labels_in_frame(segmentation, phantom.mapping_of(segmentation), frame).any()
    surface = segmentation.GetSegmentation().GetNthSegment(0).GetRepresentation("Closed surface")
    assert sum(len(triangles) for _, triangles, _ in seen) < 4 * surface.GetNumberOfPolys()


def test_a_surface_in_strips_is_cut_as_its_triangles_are(module):
    segmentation = add_ball(phantom.in_world(MARKERS[1]), 2.0)
    mapping, frame = phantom.mapping_of(segmentation), phantom.marker_frame(SWEEP)
    expected = module.labels_in_frame(segmentation, mapping, frame)
    segment = segmentation.GetSegmentation().GetNthSegment(0)
    stripper = vtk.vtkStripper()
    stripper.SetInputData(segment.GetRepresentation("Closed surface"))
    stripper.Update()
    assert stripper.GetOutput().GetNumberOfStrips() > 0
    segment.AddRepresentation("Closed surface", stripper.GetOutput())
    assert np.array_equal(module.labels_in_frame(segmentation, mapping, frame), expected)


def test_the_segmentation_is_left_as_it_was(module):
    segmentation = add_ball(phantom.in_world(MARKERS[1]), 2.0)
    before = segmentation.GetMTime(), slicer.mrmlScene.GetNumberOfNodes()
    module.labels_in_frame(segmentation, phantom.mapping_of(segmentation), phantom.marker_frame())
    held = segmentation.GetSegmentation()
    names: list[str] = []
    held.GetContainedRepresentationNames(names)
    assert (segmentation.GetMTime(), slicer.mrmlScene.GetNumberOfNodes()) == before
    assert names == ["Closed surface"]


# images


def test_an_image_on_its_own_grid_is_the_image(module):
    voxels = np.random.default_rng(0).integers(0, 255, (4, 5, 6)).astype(np.uint8)
    volume = phantom.add_volume(voxels, phantom.grid(left_handed=False))
    assert np.array_equal(module.image_in_frame(volume, module.frame_from_slices(volume, count=4)), voxels)


def test_a_left_handed_volume_is_seen_from_its_last_slice_on(module):
    voxels = np.random.default_rng(0).integers(0, 255, (4, 5, 6)).astype(np.uint8)
    volume = phantom.add_volume(voxels, phantom.grid(left_handed=True))
    assert np.array_equal(module.image_in_frame(volume, module.frame_from_slices(volume, count=4)), voxels[::-1])


@pytest.mark.parametrize("left_handed", [False, True])
def test_a_slope_stays_the_slope_in_an_oblique_frame_under_a_transform(module, left_handed):
    matrix = phantom.grid(left_handed)
    k, j, i = np.mgrid[:61, :81, :76]
    world = np.stack((i, j, k), axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    slope = ((world - FACE) @ AXES @ (2.0, 3.0, 5.0)).astype(np.float32)
    volume = phantom.add_volume(slope, np.linalg.inv(PARENT) @ matrix)
    volume.SetAndObserveTransformNodeID(phantom.add_transform(PARENT).GetID())
    image = module.image_in_frame(volume, phantom.marker_frame())[0].astype(float)
    low, high = slope.min(), slope.max()
    row, column = np.mgrid[: SIZE.rows, : SIZE.columns]
    expected = 2 * (column - (SIZE.columns - 1) / 2) * SIZE.column_mm + 3 * row * SIZE.row_mm
    assert image == pytest.approx((expected - low) / (high - low) * 255, abs=0.51)


def test_colours_become_their_luminance_and_alpha_is_ignored(module):
    colours = np.zeros((1, 1, 4, 4), dtype=np.uint8)
    colours[0, 0, 0], colours[0, 0, 1], colours[0, 0, 2], colours[0, 0, 3] = 255, (255, 0, 0, 9), (0, 255, 0, 9), 9
    volume = phantom.add_volume(colours[..., :4], np.eye(4))
    image = module.image_in_frame(volume, Frame(np.eye(4), rows=1, columns=4))
    assert image[0, 0].tolist() == [255, 76, 150, 9]


def test_signed_values_are_scaled_from_the_volumes_range(module):
    volume = phantom.add_volume(np.array([[[-100, 0, 100]]], dtype=np.int16), np.eye(4))
    assert module.image_in_frame(volume, Frame(np.eye(4), rows=1, columns=3))[0, 0].tolist() == [0, 128, 255]


def test_what_lies_beside_the_volume_is_black(module):
    volume = phantom.add_volume(np.full((1, 1, 2), 9, dtype=np.uint8), np.eye(4))
    assert module.image_in_frame(volume, Frame(np.eye(4), rows=2, columns=3))[0].tolist() == [[9, 9, 0], [0, 0, 0]]


def test_the_item_of_a_sequence_that_is_shown_is_read(module):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode")
    for value in (10, 20):
        item = slicer.vtkMRMLVectorVolumeNode()
        slicer.util.updateVolumeFromArray(item, np.full((1, 4, 5, 3), value, dtype=np.uint8))
        item.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag((-0.25, -0.2, 1, 1))))
        sequence.SetDataNodeAtValue(item, str(value))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(sequence)
    assert (module.image_in_frame(shown, module.frame_from_slices(shown)) == 20).all()


# what is known of segments


def test_segments_say_their_name_and_terminology(module):
    segmentation, (identifier, other) = add_boxes(box(slice(0, 2), slice(0, 2)), box(slice(0, 2), slice(0, 2)))
    segment = segmentation.GetSegmentation().GetSegment(identifier)
    entry = "c~SCT^123037004^Anatomical Structure~SCT^69748006^Thyroid gland~^^~a~^^~^^"
    segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
    segmentation.GetSegmentation().GetSegment(other).RemoveTag(segment.GetTerminologyEntryTagName())
    first, second = module.segments_of(segmentation)
    assert (first.id, first.name, first.terminology) == (identifier, "box 0", entry)
    assert (second.id, second.terminology) == (other, "")


# bad input


def test_no_segmentation_and_no_segments_are_refused(module):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for segmentation in (None, empty):
        with pytest.raises(ValueError, match="no segment"):
            module.labels_in_frame(segmentation, {"a": 1}, UNIT)


def test_empty_segments_are_named(module):
    segmentation, (identifier,) = add_boxes(box(slice(0, 0), slice(0, 0)))
    drawn = segmentation.GetSegmentation().AddEmptySegment("", "not drawn")
    with pytest.raises(ValueError, match="are empty: box 0, not drawn"):
        module.labels_in_frame(segmentation, {identifier: 1, drawn: 2}, UNIT)


def fractional() -> Any:
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(7, 5, 1)
    image.AllocateScalars(vtk.VTK_CHAR, 1)
    image.GetPointData().GetScalars().Fill(108)
    return image


def contours() -> Any:
    loop = vtk.vtkRegularPolygonSource()
    loop.SetNumberOfSides(12)
    loop.GeneratePolygonOff()
    loop.Update()
    return loop.GetOutput()


@pytest.mark.parametrize(("kind", "make"), [("Fractional labelmap", fractional), ("Planar contour", contours)])
def test_segments_stored_in_another_way_ask_for_a_binary_labelmap(module, kind, make):
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "imported")
    segmentation.GetSegmentation().SetSourceRepresentationName(kind)
    segment = slicer.vtkSegment()
    segment.SetName("GTV")
    segment.AddRepresentation(kind, make())
    assert segmentation.GetSegmentation().AddSegment(segment, "gtv")
    with pytest.raises(ValueError, match=f"GTV is stored as {kind}; create a binary labelmap of it in the Segment"):
        module.labels_in_frame(segmentation, {"gtv": 1}, UNIT)


def test_planar_contours_whose_surface_was_made_are_cut_by_it(module):
    segmentation = add_ball(phantom.in_world(MARKERS[1]), 2.0)
    mapping, frame = phantom.mapping_of(segmentation), phantom.marker_frame()
    expected = module.labels_in_frame(segmentation, mapping, frame)
    segment = segmentation.GetSegmentation().GetNthSegment(0)
    surface = segment.GetRepresentation("Closed surface")
    segment.AddRepresentation("Planar contour", contours())
    segmentation.GetSegmentation().SetSourceRepresentationName("Planar contour")
    segment.AddRepresentation("Closed surface", surface)
    assert np.array_equal(module.labels_in_frame(segmentation, mapping, frame), expected)


def test_unmapped_segments_are_refused(module):
    segmentation, _ = add_boxes(box(slice(0, 2), slice(0, 2)))
    with pytest.raises(ValueError, match="No segment is mapped"):
        module.labels_in_frame(segmentation, {}, UNIT)


def test_a_segment_that_is_gone_is_named(module):
    segmentation, (identifier,) = add_boxes(box(slice(0, 2), slice(0, 2)))
    with pytest.raises(ValueError, match="are gone: nowhere"):
        module.labels_in_frame(segmentation, {identifier: 1, "nowhere": 2}, UNIT)


@pytest.mark.parametrize("label", [0, 256])
def test_labels_that_a_byte_cannot_hold_are_refused(module, label):
    segmentation, (identifier,) = add_boxes(box(slice(0, 2), slice(0, 2)))
    with pytest.raises(ValueError, match="1 to 255"):
        module.labels_in_frame(segmentation, {identifier: label}, UNIT)


def test_segments_outside_the_frame_are_refused(module):
    segmentation, (identifier,) = add_boxes(box(slice(0, 2), slice(0, 2)))
    with pytest.raises(ValueError, match="No mapped segment meets the image plane"):
        module.labels_in_frame(segmentation, {identifier: 1}, UNIT.moved(40))


def test_a_surface_outside_the_frame_is_refused(module):
    segmentation = add_ball(FACE + 400.0, 2.0)
    with pytest.raises(ValueError, match="No mapped segment meets the image plane"):
        module.labels_in_frame(segmentation, phantom.mapping_of(segmentation), phantom.marker_frame())


def test_a_segmentation_or_volume_under_a_non_linear_transform_asks_to_be_hardened(module):
    segmentation, (identifier,) = add_boxes(box(slice(0, 2), slice(0, 2)))
    volume = phantom.add_volume(np.zeros((3, 3, 3), dtype=np.uint8), np.eye(4))
    bend = phantom.add_bend().GetID()
    for node in (segmentation, volume):
        node.SetAndObserveTransformNodeID(bend)
    with pytest.raises(ValueError, match="boxes lies under a non-linear transform; harden it first"):
        module.labels_in_frame(segmentation, {identifier: 1}, UNIT)
    with pytest.raises(ValueError, match="input lies under a non-linear transform; harden it first"):
        module.image_in_frame(volume, UNIT)


def test_a_volume_outside_the_frame_and_one_without_voxels_are_refused(module):
    volume = phantom.add_volume(np.zeros((3, 3, 3), dtype=np.uint8), np.eye(4))
    with pytest.raises(ValueError, match="input lies outside the frame"):
        module.image_in_frame(volume, UNIT.moved(40))
    with pytest.raises(ValueError, match="no voxels"):
        module.image_in_frame(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"), UNIT)


# doubts

MODEL = SimpleNamespace(spacing_mm=(0.5, 0.5), depth_mm=40.0)


def test_an_uncalibrated_volume_is_doubted_and_a_calibrated_one_is_not(module):
    volume = phantom.add_volume(np.zeros((1, 3, 3), dtype=np.uint8), np.diag((-1, -1, 1, 1)))
    assert "spacing of input is 1 mm" in module.warnings_for(volume, MODEL)[0]
    volume.SetSpacing(0.3, 0.3, 1)
    assert module.warnings_for(volume, MODEL) == []


def test_a_huge_volume_is_doubted_without_being_touched(module, monkeypatch):
    from SlicerBMapDiffusionLib.scene import input as scene_input

    volume = phantom.add_volume(np.zeros((2, 3, 3), dtype=np.uint8), np.diag((0.3, 0.3, 1, 1)))
    monkeypatch.setattr(scene_input, "_HUGE", 17)
    assert "very large; crop it" in module.warnings_for(volume, MODEL)[0]


@pytest.mark.parametrize(
    ("rows", "pixel", "said"),
    [
        (81, 0.5, []),
        (41, 1.0, ["Pixels of 1.00 x 1.00 mm"]),
        (21, 0.5, ["10 mm deep"]),
        (9, 0.1, ["Pixels", "1 mm deep"]),
    ],
)
def test_a_frame_unlike_the_training_is_doubted(module, rows, pixel, said):
    frame = Frame(np.diag((pixel, pixel, 1, 1)), rows=rows, columns=5)
    warnings = module.warnings_for(frame, MODEL)
    assert len(warnings) == len(said)
    assert all(text in warning for text, warning in zip(said, warnings, strict=True))


def test_a_small_frame_of_a_large_volume_copies_only_what_it_shows(module):
    """Half a gigabyte that nobody wrote to takes no memory, a copy of it would."""
    image = vtk.vtkImageData()
    image.SetDimensions(1000, 1000, 500)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volume.SetAndObserveImageData(image)
    frame = module.frame_from_slices(volume, FrameSize(32, 24, 1.0, 1.0), index=250)
    tracemalloc.start()
    try:
        module.image_in_frame(volume, frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21
