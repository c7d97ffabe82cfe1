"""Results: where they lie, what they remember, what a saved scene gives back, and that failures leave no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed here; `make test-slicer` runs these")

from slicer_module import phantom  # noqa: E402
from slicer_module.phantom import MARKERS, SIZE, SWEEP  # noqa: E402
from SlicerBMapDiffusionLib.geometry.frames import Frame  # noqa: E402

REQUEST = {"version": 1, "model": "thyroid", "seed": 17, "note": "Schilddrüse – quer"}
RECORD = {
    "model": "thyroid_bmap_sdm",
    "weights_sha256": "ab" * 32,
    "seed": 17,
    "seeds": [17, 18, 19],
    "steps": 20,
    "attenuation_db": 12.5,
    "guidance": None,
    "label_mapping": {"thyroid": ["left lobe", "right lobe"]},
    "request": json.dumps(REQUEST),
}
ATTRIBUTES = {
    "BMapDiffusion.synthetic": "true",
    "BMapDiffusion.model": "thyroid_bmap_sdm",
    "BMapDiffusion.weights_sha256": "ab" * 32,
    "BMapDiffusion.seed": "17",
    "BMapDiffusion.steps": "20",
    "BMapDiffusion.attenuation_db": "12.5",
    "BMapDiffusion.label_mapping": '{"thyroid": ["left lobe", "right lobe"]}',
}


@pytest.fixture
def module(scene: Any) -> Any:
    from SlicerBMapDiffusionLib import scene as module

    return module


def noise(count: int, frame: Frame) -> np.ndarray:
    shape = (count, frame.rows, frame.columns)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def matrix_of(volume: Any) -> np.ndarray:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix))


def attributes_of(node: Any) -> dict[str, str]:
    return {name: node.GetAttribute(name) for name in ATTRIBUTES}


def nodes_by_id() -> set[str]:
    nodes = slicer.mrmlScene.GetNodes()
    return {nodes.GetItemAsObject(index).GetID() for index in range(nodes.GetNumberOfItems())}


def saved_and_loaded(scene: Any, application: Any, folder: Path) -> None:
    path = str(folder / "scene.mrb")
    assert scene.WriteToMRB(path)
    application.close_scene()
    assert scene.ReadFromMRB(path)


def node_named(kind: str, name: str) -> Any:
    (node,) = [node for node in slicer.util.getNodesByClass(kind) if node.GetName() == name]
    return node


# where it lies


@pytest.mark.parametrize("size", [SIZE, SWEEP], ids=["single", "sweep"])
def test_a_result_is_one_volume_with_the_frames_own_matrix_and_pixels(module, size):
    frame = phantom.marker_frame(size)
    images = noise(frame.count, frame)
    node = module.add_result(images, frame, RECORD, "neck synthetic")
    assert node.IsA("vtkMRMLScalarVolumeNode")
    assert np.array_equal(slicer.util.arrayFromVolume(node), images)
    assert matrix_of(node) == pytest.approx(frame.ijk_to_ras, abs=1e-12)


@pytest.mark.parametrize("label", [1, 2, 3])
def test_slicers_own_slices_show_each_marker_where_it_is(module, application, label):
    """Position, left and right, depth and elevation: what Slicer reslices from the result, against world points."""
    segmentation = phantom.add_segmentation(left_handed=True)
    frame = phantom.marker_frame(SWEEP)
    labels = module.labels_in_frame(segmentation, phantom.mapping_of(segmentation), frame)
    node = module.add_result((labels == label).astype(np.uint8) * 255, frame, RECORD, "markers")
    marker = phantom.in_world(MARKERS[label - 1])
    view = application.add_slice_view(size=(120, 110))
    plane = view.GetSliceNode()
    turn = phantom.AXES @ phantom.rotation(20, 0, 0)
    middle = marker + turn @ (3.0, -4.0, 0.0)
    plane.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(phantom.rigid(turn, middle)))
    plane.SetFieldOfView(120 * SWEEP.column_mm, 110 * SWEEP.column_mm, 1)
    plane.UpdateMatrices()
    view.GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    view.UpdatePipeline()
    reslice = view.GetBackgroundLayer().GetReslice()
    reslice.Update()
    shown = _pixels(reslice.GetOutput())
    weights = shown / shown.sum()
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]]
    seen = (x * weights).sum(), (y * weights).sum()
    to_screen = np.linalg.inv(slicer.util.arrayFromVTKMatrix(plane.GetXYToRAS()))
    expected = (to_screen @ (*marker, 1))[:2]
    assert np.abs(np.array(seen) - expected).max() < 0.5


def _pixels(image: Any) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width).astype(float)


def test_a_result_over_the_volumes_own_slices_has_the_volumes_voxels(module):
    voxels = np.random.default_rng(1).integers(0, 256, (4, 5, 6)).astype(np.uint8)
    volume = phantom.add_volume(voxels, phantom.grid(left_handed=True))
    frame = module.frame_from_slices(volume, count=4)
    node = module.add_result(module.image_in_frame(volume, frame), frame, RECORD, "copy")
    for i, j, k in ((0, 0, 0), (5, 2, 1), (3, 4, 3)):
        there = np.linalg.inv(matrix_of(node)) @ matrix_of(volume) @ (i, j, k, 1)
        i_there, j_there, k_there = there[:3].round().astype(int)
        assert there[:3] == pytest.approx((i_there, j_there, k_there), abs=1e-9)
        assert slicer.util.arrayFromVolume(node)[k_there, j_there, i_there] == voxels[k, j, i]


# how it looks, what it remembers


def test_a_result_is_shown_from_0_to_255_in_grey(module):
    frame = phantom.marker_frame()
    node = module.add_result(noise(1, frame) // 4, frame, RECORD, "dark")
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 255)
    assert not display.GetAutoWindowLevel()
    assert display.GetColorNode().GetName() == "Grey"


def test_a_result_carries_all_that_made_it(module):
    frame = phantom.marker_frame()
    node = module.add_result(noise(1, frame), frame, RECORD, "x")
    assert attributes_of(node) == ATTRIBUTES
    assert node.GetAttribute("BMapDiffusion.guidance") is None
    assert module.is_synthetic(node)
    assert module.record_of(node) == REQUEST


def test_a_request_given_as_a_mapping_is_read_back_too(module):
    frame = phantom.marker_frame()
    node = module.add_result(noise(1, frame), frame, {"request": REQUEST}, "x")
    assert module.record_of(node) == REQUEST


def test_other_nodes_have_no_record(module):
    node = phantom.add_volume(np.zeros((1, 2, 3), dtype=np.uint8), np.eye(4))
    assert module.record_of(None) is None
    assert module.record_of(node) is None
    assert not module.is_synthetic(node)
    for text in ("{ torn", "[1]"):
        node.SetAttribute("BMapDiffusion.request", text)
        assert module.record_of(node) is None


def test_results_of_one_name_are_told_apart(module):
    frame = phantom.marker_frame()
    names = {module.add_result(noise(1, frame), frame, RECORD, "neck synthetic").GetName() for _ in range(3)}
    assert len(names) == 3
    assert "neck synthetic" in names


@pytest.mark.parametrize("variants", [False, True])
def test_a_result_joins_the_folder_of_its_input(module, scene, variants):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient")
    beside = phantom.add_volume(np.zeros((1, 2, 3), dtype=np.uint8), np.eye(4))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(beside), folder)
    frame = phantom.marker_frame()
    node = module.add_result(noise(2 if variants else 1, frame), frame, RECORD, "x", beside, variants)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder


def test_a_result_needs_no_item_in_the_hierarchy(module, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    beside = phantom.add_volume(np.zeros((1, 2, 3), dtype=np.uint8), np.eye(4))
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(beside), False, False)
    frame = phantom.marker_frame()
    assert module.add_result(noise(1, frame), frame, RECORD, "x", beside) is not None


# variants


@pytest.mark.parametrize("size", [SIZE, SWEEP], ids=["single", "sweep"])
def test_variants_are_a_sequence_that_its_browser_steps_through(module, size):
    frame = phantom.marker_frame(size)
    images = noise(3 * frame.count, frame)
    node = module.add_result(images, frame, RECORD, "neck synthetic", variants=True)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
    assert browser.GetMasterSequenceNode().GetNumberOfDataNodes() == 3
    assert node.GetName() == "neck synthetic"
    for index, expected in enumerate(np.split(images, 3)):
        browser.SetSelectedItemNumber(index)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        assert np.array_equal(slicer.util.arrayFromVolume(node), expected)
        assert matrix_of(node) == pytest.approx(frame.ijk_to_ras, abs=1e-12)
        assert attributes_of(node) | {"BMapDiffusion.seed": "17"} == ATTRIBUTES
        assert node.GetAttribute("BMapDiffusion.seed") == str(RECORD["seeds"][index])
        assert (node.GetDisplayNode().GetWindowLevelMin(), node.GetDisplayNode().GetWindowLevelMax()) == (0, 255)


def test_seeds_of_every_image_of_a_sweep_give_each_variant_its_first(module):
    frame = phantom.marker_frame(SWEEP)
    images = noise(2 * SWEEP.count, frame)
    node = module.add_result(images, frame, {"seeds": list(range(2 * SWEEP.count))}, "x", variants=True)
    sequence = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node).GetMasterSequenceNode()
    seeds = [sequence.GetNthDataNode(index).GetAttribute("BMapDiffusion.seed") for index in range(2)]
    assert seeds == ["0", str(SWEEP.count)]


@pytest.mark.parametrize("seeds", [None, [], [5]])
def test_without_a_seed_for_each_variant_all_have_the_one_there_is(module, seeds):
    frame = phantom.marker_frame()
    node = module.add_result(noise(2, frame), frame, {"seed": 9, "seeds": seeds}, "x", variants=True)
    assert node.GetAttribute("BMapDiffusion.seed") == "9"


def test_one_variant_is_a_sequence_too(module):
    frame = phantom.marker_frame()
    node = module.add_result(noise(1, frame), frame, {}, "x", variants=True)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
    assert browser.GetMasterSequenceNode().GetNumberOfDataNodes() == 1


# saved and loaded


@pytest.mark.parametrize("size", [SIZE, SWEEP], ids=["single", "sweep"])
def test_a_saved_scene_gives_back_pixels_place_and_record(module, scene, application, tmp_path, size):
    frame = phantom.marker_frame(size)
    images = noise(frame.count, frame)
    module.add_result(images, frame, RECORD, "neck synthetic")
    saved_and_loaded(scene, application, tmp_path)
    node = node_named("vtkMRMLScalarVolumeNode", "neck synthetic")
    assert np.array_equal(slicer.util.arrayFromVolume(node), images)
    assert matrix_of(node) == pytest.approx(frame.ijk_to_ras, abs=1e-9)
    assert attributes_of(node) == ATTRIBUTES
    assert module.record_of(node) == REQUEST
    assert Frame.from_dict(json.loads(json.dumps(frame.to_dict()))).ijk_to_ras.tolist() == frame.ijk_to_ras.tolist()
    assert node.GetDisplayNode().GetWindowLevelMax() == 255


@pytest.mark.parametrize("size", [SIZE, SWEEP], ids=["single", "sweep"])
def test_a_saved_scene_gives_back_every_variant(module, scene, application, tmp_path, size):
    frame = phantom.marker_frame(size)
    images = noise(3 * frame.count, frame)
    module.add_result(images, frame, RECORD, "neck synthetic", variants=True)
    saved_and_loaded(scene, application, tmp_path)
    node = node_named("vtkMRMLScalarVolumeNode", "neck synthetic")
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
    for index, expected in enumerate(np.split(images, 3)):
        browser.SetSelectedItemNumber(index)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        assert np.array_equal(slicer.util.arrayFromVolume(node), expected)
        assert matrix_of(node) == pytest.approx(frame.ijk_to_ras, abs=1e-9)
        assert module.is_synthetic(node)
        assert node.GetAttribute("BMapDiffusion.seed") == str(RECORD["seeds"][index])
    assert module.record_of(node) == REQUEST
    assert module.record_of(browser.GetMasterSequenceNode()) == REQUEST
    assert json.loads(browser.GetMasterSequenceNode().GetAttribute("BMapDiffusion.seeds")) == RECORD["seeds"]


# bad input


@pytest.mark.parametrize(
    ("shape", "kind", "variants"),
    [
        ((2, 44, 40), np.uint8, False),
        ((0, 44, 40), np.uint8, False),
        ((0, 44, 40), np.uint8, True),
        ((1, 40, 44), np.uint8, False),
        ((44, 40), np.uint8, False),
        ((1, 44, 40), np.float32, False),
    ],
)
def test_images_that_do_not_fit_leave_the_scene_as_it_was(module, shape, kind, variants):
    before = nodes_by_id()
    with pytest.raises(ValueError, match="do not fit a frame of 1 x 44 x 40"):
        module.add_result(np.zeros(shape, dtype=kind), phantom.marker_frame(), RECORD, "x", variants=variants)
    assert nodes_by_id() == before


def test_a_sweeps_variants_must_be_whole_sweeps(module):
    frame = phantom.marker_frame(SWEEP)
    with pytest.raises(ValueError, match="do not fit a frame of 13 x 44 x 40"):
        module.add_result(noise(14, frame), frame, RECORD, "x", variants=True)


@pytest.mark.parametrize("variants", [False, True])
def test_a_failure_on_the_way_leaves_the_scene_as_it_was(module, monkeypatch, variants):
    from SlicerBMapDiffusionLib.scene import output as scene_output

    def fail(*_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(scene_output, "_file_beside", fail)
    frame, before = phantom.marker_frame(), nodes_by_id()
    with pytest.raises(MemoryError):
        module.add_result(noise(1, frame), frame, RECORD, "x", variants=variants)
    assert nodes_by_id() == before
