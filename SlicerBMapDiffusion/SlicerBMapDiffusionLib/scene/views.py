"""What the slice views show: a result over its input, the view turned to a frame, the beam's outline."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from SlicerBMapDiffusionLib.geometry.beams import Beam, outline
from SlicerBMapDiffusionLib.geometry.frames import Frame

_OUTLINE = "BMapDiffusion.outline"
BEAM_COLOUR = (1.0, 0.75, 0.2)
"""Red, green, blue: amber, of the outline and its handles."""

_MARGIN = 1.1


def show(node: Any, beneath: Any = None) -> None:
    """Show a volume in every slice view, over another one if given: Slicer's own slider then fades between them."""
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        view.SetBackgroundVolumeID((beneath or node).GetID())
        view.SetForegroundVolumeID(node.GetID() if beneath is not None else None)
        view.SetForegroundOpacity(1.0)


def aim(view: Any, frame: Frame, hanging: bool = False) -> None:
    """Turn a slice view to the middle of a frame, its face up, the whole of it in the view.

    Args:
        view: a vtkMRMLSliceNode; its plane's normal follows the frame's stack.
        frame: where to look.
        hanging: put the face at the view's upper edge, where ``frame_from_view`` finds the frame again.
    """
    lateral, depth, across = frame.axes
    width, height = (float(max(side, 1)) for side in view.GetDimensions()[:2])
    row, column, _step = frame.spacing
    pixel = max(frame.columns * column / width, frame.rows * row / height) * _MARGIN
    middle = frame.centre_top + depth * (height * pixel / 2) if hanging else frame.centre
    matrix = np.eye(4)
    matrix[:3] = np.column_stack((lateral, -depth, across, middle))
    view.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
    view.SetFieldOfView(width * pixel, height * pixel, view.GetFieldOfView()[2])
    view.SetXYZOrigin(0, 0, 0)
    view.UpdateMatrices()


def show_outline(frame: Frame, beam: Beam | None = None) -> Any:
    """Draw the edge of a beam, or of the whole frame, in the views that cut it; one at a time, never saved.

    It is a wall half a step to each side of the frame: a slice view cuts it to a line, however the view is turned.

    Returns:
        The vtkMRMLModelNode, updated in place.

    Raises:
        ValueError: the dictionary is no beam.
    """
    node = _outline_node()
    if beam is None:
        beam = {"kind": "linear", "top": -0.5, "bottom": frame.rows - 0.5, "left": -0.5, "right": frame.columns - 0.5}
    surface = _wall(outline(beam, frame.rows, frame.columns), frame)
    if node is None:
        node = _add_outline_node()
    node.SetAndObservePolyData(surface)
    return node


def hide_outline() -> None:
    """Remove the outline, if there is one."""
    node = _outline_node()
    if node is not None:
        slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
        slicer.mrmlScene.RemoveNode(node)


def _outline_node() -> Any:
    models = slicer.util.getNodesByClass("vtkMRMLModelNode")
    return next((model for model in models if model.GetAttribute(_OUTLINE)), None)


def _add_outline_node() -> Any:
    node = slicer.vtkMRMLModelNode()
    node.SetName(_("Beam of the B-map diffusion"))
    node.SetAttribute(_OUTLINE, "true")
    node.SetHideFromEditors(True)
    node.SetSelectable(False)
    node.SetSaveWithScene(False)
    display = slicer.vtkMRMLModelDisplayNode()
    display.SetSaveWithScene(False)
    display.SetColor(*BEAM_COLOUR)
    display.SetVisibility2D(True)
    display.SetSliceIntersectionThickness(2)
    display.SetOpacity(0.4)
    display.SetBackfaceCulling(False)
    slicer.mrmlScene.AddNode(display)
    slicer.mrmlScene.AddNode(node)
    node.SetAndObserveDisplayNodeID(display.GetID())
    return node


def _wall(line: NDArray[np.float64], frame: Frame) -> Any:
    """The closed line (N, 2) as a strip of quadrilaterals from before the first frame to behind the last."""
    rows, columns = line.T
    points = np.concatenate([frame.ras(columns, rows, level) for level in (-0.5, frame.count - 0.5)])
    first = np.arange(len(line) - 1)
    quads = np.column_stack((first, first + 1, first + 1 + len(line), first + len(line)))
    surface, held, cells = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
    held.SetData(numpy_to_vtk(points, deep=True))
    for quad in quads.tolist():
        cells.InsertNextCell(4, quad)
    surface.SetPoints(held)
    surface.SetPolys(cells)
    return surface
