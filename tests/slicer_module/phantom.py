"""Markers that lie off every axis, in a segmentation whose voxels are oblique, uneven, and left-handed if asked.

The frame they are looked at from is known here by its face, lateral, depth and elevation directions alone; what a
kind of frame makes of the node that says so is then measured against where the markers must be.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from SlicerBMapDiffusionLib.geometry.frames import Frame, FrameSize

# mm from the middle of the face: lateral, depth, elevation, and radius. One for each label, none of them alike.
MARKERS = ((-6.0, 4.5, 0.0, 1.6), (4.0, 12.0, 0.0, 2.1), (1.5, 17.0, 3.0, 1.3))


def rotation(a: float, b: float, c: float) -> NDArray[np.float64]:
    """Turned about z, y and x, in degrees."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.radians((a, b, c))), np.sin(np.radians((a, b, c)))
    about_z = np.array(((ca, -sa, 0), (sa, ca, 0), (0, 0, 1)))
    about_y = np.array(((cb, 0, sb), (0, 1, 0), (-sb, 0, cb)))
    about_x = np.array(((1, 0, 0), (0, cc, -sc), (0, sc, cc)))
    return np.asarray(about_z @ about_y @ about_x)


def rigid(turn: NDArray[np.float64], origin: Any) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, origin
    return matrix


AXES = rotation(33, -21, 47)
LATERAL, DEPTH, ELEVATION = AXES.T
FACE = np.array((12.5, -31.25, 8.0))
SIZE = FrameSize(rows=44, columns=40, row_mm=0.5, column_mm=0.45, count=1, step_mm=1.0)
SWEEP = FrameSize(rows=44, columns=40, row_mm=0.5, column_mm=0.45, count=13, step_mm=0.6)


def in_world(marker: tuple[float, ...]) -> NDArray[np.float64]:
    return np.asarray(FACE + AXES @ marker[:3])


def expected_pixels(marker: tuple[float, ...], size: FrameSize) -> NDArray[np.float64]:
    """(frame, row, column) of a marker's centre."""
    middle = np.array((size.count - 1, 0, size.columns - 1)) / 2
    return np.asarray(middle + np.array(marker[2::-1]) / (size.step_mm, size.row_mm, size.column_mm))


def centroid(labels: NDArray[Any], label: int) -> NDArray[np.float64]:
    """(frame, row, column)."""
    return np.asarray(np.argwhere(labels == label).mean(axis=0))


def add_transform(matrix: NDArray[np.float64]) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(node, matrix)
    return node


def add_bend() -> Any:
    """A transform that is not linear."""
    import vtk

    bend = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for point in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (30, 30, 30)):
        points.InsertNextPoint(point)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(4, 35, 28, 31)
    bend.SetSourceLandmarks(points)
    bend.SetTargetLandmarks(moved)
    bend.SetBasisToR()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformFromParent(bend)
    return node


def grid(left_handed: bool, spacing: tuple[float, float, float] = (0.4, 0.35, 0.5)) -> NDArray[np.float64]:
    """Voxels about the markers, their axes unlike the frame's."""
    turn = rotation(-50, 15, 80) * spacing
    if left_handed:
        turn[:, 0] *= -1
    middle = FACE + AXES @ (0, 10, 1)
    return rigid(turn, middle - turn @ (np.array((75, 80, 60)) / 2))


def add_segmentation(left_handed: bool = False, parent: NDArray[np.float64] | None = None) -> Any:
    """A segmentation of the markers, imported from a label volume of 76 x 81 x 61 voxels; ids by label."""
    voxels, matrix = _markers(left_handed), grid(left_handed)
    under = np.eye(4) if parent is None else parent
    segmentation = import_labels(voxels, np.linalg.inv(under) @ matrix)
    if parent is not None:
        segmentation.SetAndObserveTransformNodeID(add_transform(parent).GetID())
    return segmentation


@cache
def _markers(left_handed: bool) -> NDArray[np.uint8]:
    matrix = grid(left_handed)
    k, j, i = np.mgrid[:61, :81, :76]
    points = np.stack((i, j, k), axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    voxels = np.zeros(points.shape[:3], dtype=np.uint8)
    for label, marker in enumerate(MARKERS, start=1):
        voxels[np.linalg.norm(points - in_world(marker), axis=-1) <= marker[3]] = label
    return voxels


def import_labels(voxels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> Any:
    scene = slicer.mrmlScene
    volume = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(volume, voxels)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "markers")
    segmentation.CreateDefaultDisplayNodes()
    assert slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(volume, segmentation)
    scene.RemoveNode(volume)
    return segmentation


def mapping_of(segmentation: Any) -> dict[str, int]:
    return {name: label for label, name in enumerate(segmentation.GetSegmentation().GetSegmentIDs(), start=1)}


def add_volume(voxels: NDArray[Any], matrix: NDArray[np.float64], name: str = "input") -> Any:
    kind = "vtkMRMLVectorVolumeNode" if voxels.ndim == 4 else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


def marker_frame(size: FrameSize = SIZE) -> Frame:
    """The frame that every kind must give."""
    turn = AXES * (size.column_mm, size.row_mm, size.step_mm)
    middle = ((size.columns - 1) / 2, 0, (size.count - 1) / 2)
    return Frame(rigid(turn, FACE - turn @ middle), size.rows, size.columns, size.count)
