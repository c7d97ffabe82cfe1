"""Which pixel centres of a frame lie in a closed surface: cut in the frame's own grid, so nothing is sampled twice.

VTK looks at every triangle anew for each frame. A stack is therefore cut a few frames at a time, each few with the
triangles near them: 200 frames and half a million triangles take a third of a second instead of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtkIdTypeArray, vtk_to_numpy

from SlicerBMapDiffusionLib.geometry.frames import Frame

_AT_ONCE = 8  # frames


def contained(surface: Any, to_world: NDArray[np.float64], frame: Frame) -> NDArray[np.bool_]:
    """Whether each pixel centre lies inside.

    Args:
        surface: a vtkPolyData.
        to_world: (4, 4), from the surface's points to RAS.
        frame: where to look.

    Returns:
        (count, rows, columns).
    """
    result = np.zeros((frame.count, frame.rows, frame.columns), dtype=np.bool_)
    if surface.GetNumberOfPolys() + surface.GetNumberOfStrips() == 0:
        return result
    points, triangles = _in_pixels(surface, np.linalg.inv(frame.ijk_to_ras) @ to_world)
    heights = vtk_to_numpy(points.GetData())[:, 2][triangles]
    low, high = heights.min(axis=1), heights.max(axis=1)
    for first in range(0, frame.count, _AT_ONCE):
        last = min(first + _AT_ONCE, frame.count) - 1
        near = triangles[(low < last + 1) & (high > first - 1)]
        if len(near):
            extent = (0, frame.columns - 1, 0, frame.rows - 1, first, last)
            result[first : last + 1] = _cut(points, near, extent)
    return result


def _in_pixels(surface: Any, to_pixels: NDArray[np.float64]) -> tuple[Any, NDArray[np.int64]]:
    """The surface's points as (column, row, frame), a vtkPoints, and three of their numbers for each triangle."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(to_pixels.ravel())
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetInputData(surface)
    moved.SetTransform(transform)
    split = vtk.vtkTriangleFilter()
    split.SetInputConnection(moved.GetOutputPort())
    split.PassVertsOff()
    split.PassLinesOff()
    split.Update()
    cells = vtk.vtkIdTypeArray()
    split.GetOutput().GetPolys().ExportLegacyFormat(cells)
    return split.GetOutput().GetPoints(), vtk_to_numpy(cells).reshape(-1, 4)[:, 1:]


def _cut(points: Any, triangles: NDArray[np.int64], extent: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which whole positions in an extent (i, i, j, j, k, k), ends included, the triangles go round: (K, J, I)."""
    counted = np.insert(triangles, 0, 3, axis=1)
    cells = vtk.vtkCellArray()
    cells.ImportLegacyFormat(numpy_to_vtkIdTypeArray(np.ascontiguousarray(counted).ravel(), deep=True))
    part = vtk.vtkPolyData()
    part.SetPoints(points)
    part.SetPolys(cells)
    stencil = vtk.vtkPolyDataToImageStencil()
    stencil.SetInputData(part)
    stencil.SetOutputWholeExtent(extent)
    image = vtk.vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.Update()
    shape = image.GetOutput().GetDimensions()[::-1]
    return np.asarray(vtk_to_numpy(image.GetOutput().GetPointData().GetScalars()).reshape(shape) > 0)
