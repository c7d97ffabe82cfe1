"""Frames from what the user chose in the scene: a slice view, a volume's own slices, a probe, a markup."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import ArrayLike, NDArray
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib.geometry.frames import Frame, FrameSize, frame_from_axes, square


def frame_from_view(view: Any, size: FrameSize) -> Frame:
    """The image that a probe would see at the top edge of a slice view, looking down the screen.

    Args:
        view: a vtkMRMLSliceNode.
        size: of the frame; a stack is centred about the view's plane.
    """
    matrix = _array(view.GetXYToRAS())
    width, height = view.GetDimensions()[:2]
    # XY runs from the view's edges, not from the centres of its corner pixels: the middle is (width / 2, height / 2).
    top = matrix @ (width / 2, height, 0, 1)
    return _placed(top[:3], matrix[:3, 0], -matrix[:3, 1], size)


def frame_from_slices(
    volume: Any, size: FrameSize | None = None, index: int | None = None, count: int = 1, upside_down: bool = False
) -> Frame:
    """A volume's own slices: its axis of one voxel is the normal, otherwise K; depth runs with the slice's rows.

    Args:
        volume: a vtkMRMLVolumeNode.
        size: None takes the volume's own pixels; otherwise the face lies on the middle of the slice's first row.
        index: the slice; None is the middle one.
        count: how many of the volume's own slices about it; only without ``size``, which has its own.
        upside_down: the probe is at the last row.

    Raises:
        ValueError: the volume is empty, its slices are no rectangles, the index is outside it, or it lies under a
            non-linear transform.
    """
    matrix, counts = _slices(volume)
    if upside_down:
        matrix = _turned(matrix, 1, counts[1])
    index = (counts[2] - 1) // 2 if index is None else index
    if not 0 <= index < counts[2]:
        raise ValueError(_("The volume has slices 0 to {last}, not {index}.").format(last=counts[2] - 1, index=index))
    if size is None:
        return _own_pixels(matrix, counts, index, count)
    top = matrix @ ((counts[0] - 1) / 2, 0, index, 1)
    return _placed(top[:3], *_in_plane(matrix), size)


def slice_through(volume: Any, point: ArrayLike) -> int:
    """Number of the volume's own slice that lies nearest to a point in RAS.

    Raises:
        ValueError: the volume is empty, or lies under a non-linear transform.
    """
    matrix, counts = _slices(volume)
    index = np.linalg.solve(matrix, (*np.asarray(point, dtype=np.float64), 1.0))[2]
    return int(np.clip(round(index), 0, counts[2] - 1))


def frame_from_probe(transform: Any, size: FrameSize) -> Frame:
    """The image of a tracked probe, as PLUS and SlicerIGT name its axes: X to the marked side, Y away, Z elevation.

    Args:
        transform: a linear vtkMRMLTransformNode from probe to world, whose origin is the middle of the probe's face.
        size: of the frame; a stack is centred about the probe.

    Raises:
        ValueError: the transform, or one above it, is not linear.
    """
    if not transform.IsTransformToWorldLinear():
        raise ValueError(_("The probe's transform is not linear; choose a rigid one."))
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    probe = _array(matrix)
    return _placed(probe[:3, 3], probe[:3, 0], probe[:3, 1], size)


def frame_from_markup(markup: Any, size: FrameSize, view: Any = None) -> Frame:
    """A line is the probe's face; a plane holds the image.

    A line's image lies to the right of the way from its first point to its second, as seen in ``view``: drawn from
    left to right, the beam points down. A plane's columns run along its first axis (red), depth along its second
    (green), from the edge of the plane where that starts.

    Args:
        markup: a vtkMRMLMarkupsLineNode or vtkMRMLMarkupsPlaneNode.
        size: of the frame; a stack is centred about the markup.
        view: the vtkMRMLSliceNode in which a line was drawn.

    Raises:
        ValueError: the markup is not yet drawn, of another kind, or under a non-linear transform; a line has no view
            or runs across its plane.
    """
    world_matrix(markup)
    if markup.IsA("vtkMRMLMarkupsLineNode"):
        return _on_line(markup, size, view)
    if not markup.IsA("vtkMRMLMarkupsPlaneNode"):
        raise ValueError(_("{name} is neither a line nor a plane.").format(name=markup.GetName()))
    if not markup.GetIsPlaneValid():
        raise ValueError(_("The plane {name} is not drawn yet; place its points.").format(name=markup.GetName()))
    lateral, depth, normal = np.eye(3)
    markup.GetAxesWorld(lateral, depth, normal)
    face = np.array(markup.GetCenterWorld()) - depth * (markup.GetSizeWorld()[1] / 2)
    return _placed(face, lateral, depth, size)


def volume_to_ras(volume: Any) -> NDArray[np.float64]:
    """(4, 4) from a volume's voxel centres to world RAS, parent transforms included.

    Raises:
        ValueError: there are no voxels, or a transform above the volume is not linear.
    """
    if volume is None or volume.GetImageData() is None or volume.GetImageData().GetNumberOfPoints() == 0:
        raise ValueError(_("The volume holds no voxels; choose one with an image."))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return world_matrix(volume) @ _array(matrix)


def world_matrix(node: Any) -> NDArray[np.float64]:
    """(4, 4) from a node's own coordinates to world RAS.

    Raises:
        ValueError: a transform above the node is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise ValueError(
            _("{name} lies under a non-linear transform; harden it first (Data module, Harden transform).").format(
                name=node.GetName()
            )
        )
    parent.GetMatrixTransformToWorld(matrix)
    return _array(matrix)


def _on_line(line: Any, size: FrameSize, view: Any) -> Frame:
    if line.GetNumberOfDefinedControlPoints() < 2:
        raise ValueError(_("The line {name} has fewer than two points; draw it.").format(name=line.GetName()))
    if view is None:
        raise ValueError(_("Say in which slice view the line was drawn: it alone gives no plane."))
    first, second = (np.array(line.GetNthControlPointPositionWorld(n)) for n in (0, 1))
    screen = _array(view.GetXYToRAS())[:3, :2]
    normal = np.cross(screen[:, 0], -screen[:, 1])
    depth = np.cross(normal, second - first)
    if np.linalg.norm(depth) < 1e-6 * np.linalg.norm(normal):
        raise ValueError(_("The line runs across the slice view; draw it within the view."))
    return _placed((first + second) / 2, second - first, depth, size)


def _slices(volume: Any) -> tuple[NDArray[np.float64], list[int]]:
    """(4, 4) from (column, row, slice) to RAS, and their counts: across an axis of one voxel, else across K."""
    matrix, counts = volume_to_ras(volume), volume.GetImageData().GetDimensions()
    normal = next((axis for axis in (2, 1, 0) if counts[axis] == 1), 2)
    order = [axis for axis in (0, 1, 2) if axis != normal] + [normal]
    return matrix[:, [*order, 3]], [counts[axis] for axis in order]


def _own_pixels(matrix: NDArray[np.float64], counts: list[int], index: int, count: int) -> Frame:
    """The grid itself where it is rectangular, from its last slice on where it is left-handed."""
    if not 1 <= count <= counts[2]:
        raise ValueError(_("The volume has {all} slices, not {count}.").format(all=counts[2], count=count))
    lateral, depth = _in_plane(matrix)
    matrix = matrix.copy()
    start = min(max(index - (count - 1) // 2, 0), counts[2] - count)
    matrix[:, 3] += start * matrix[:, 2]
    if count == 1:
        thickness = np.linalg.norm(matrix[:3, 2])
        across = np.cross(lateral, depth)
        matrix[:3, 2] = across / np.linalg.norm(across) * thickness
    elif not square(matrix):
        raise ValueError(_("The volume's slices are sheared against each other; resample it, or take single slices."))
    elif np.linalg.det(matrix[:3, :3]) < 0:
        matrix = _turned(matrix, 2, count)
    return Frame(matrix, counts[1], counts[0], count)


def _in_plane(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lateral, depth = matrix[:3, 0], matrix[:3, 1]
    across = np.cross(lateral, depth)
    if not across.any() or not square(np.column_stack((lateral, depth, across))):
        raise ValueError(_("The volume's rows and columns are not perpendicular; resample it (Resample module)."))
    return lateral, depth


def _turned(matrix: NDArray[np.float64], axis: int, count: int) -> NDArray[np.float64]:
    """The same grid of voxels, counted from the other end of an axis."""
    matrix = matrix.copy()
    matrix[:, 3] += (count - 1) * matrix[:, axis]
    matrix[:, axis] *= -1
    return matrix


def _placed(face: Any, lateral: Any, depth: Any, size: FrameSize) -> Frame:
    spacing = (size.row_mm, size.column_mm)
    return frame_from_axes(face, lateral, depth, size.rows, size.columns, spacing, size.count, size.step_mm)


def _array(matrix: Any) -> NDArray[np.float64]:
    return np.array(slicer.util.arrayFromVTKMatrix(matrix), dtype=np.float64)
