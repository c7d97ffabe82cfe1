"""The beam in the slice views: its outline, and handles to pull at where its numbers are the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SlicerBMapDiffusionLib import planning, scene
from SlicerBMapDiffusionLib.geometry.beams import BeamSettings
from SlicerBMapDiffusionLib.geometry.frames import Frame
from SlicerBMapDiffusionLib.geometry.handles import HANDLES, places, pulled
from SlicerBMapDiffusionLib.models.bundles import Model
from SlicerBMapDiffusionLib.parameters import BeamSource

_ATTRIBUTE = "BMapDiffusion.handles"
_STILL_MM = 1e-3  # what rounding moves a point by


class BeamDisplay(VTKObservationMixin):
    """Shows one beam at a time; nothing of it is saved with the scene.

    Args:
        pulled: told of the beam's new numbers while the user pulls at a handle.
    """

    def __init__(self, pulled: Callable[[BeamSettings], object]) -> None:
        super().__init__()
        self._told = pulled
        self._node: Any = None
        self._frame: Frame | None = None
        self._beam: BeamSettings | None = None
        self._seen: list[Any] = []  # where the handles were last
        self._placing = False

    def show(self, parameters: Any, model: Model | None) -> None:
        """Show the beam of these parameters, or nothing where it is not wanted or not known."""
        try:
            if model is None or not parameters.show_outline:
                raise ValueError("not wanted")
            frame = planning.frame_of(parameters, model)
            scene.show_outline(frame, planning.beam_of(parameters, model, frame.size))
        except ValueError:
            self.hide()
            return
        if parameters.beam_source is BeamSource.MANUAL:
            self._place(frame, planning.settings_of(parameters))
        else:
            self._remove_handles()

    def hide(self) -> None:
        """Take outline and handles away."""
        scene.hide_outline()
        self._remove_handles()

    def _place(self, frame: Frame, beam: BeamSettings) -> None:
        if self._node is None or not slicer.mrmlScene.IsNodePresent(self._node):
            self._add()
        self._frame, self._beam, self._placing = frame, beam, True
        try:
            for index, place in enumerate(places(beam).values()):
                position = _in_world(frame, place)
                if _apart(position, self._position(index)) or not self._is_there(index):
                    self._node.SetNthControlPointPositionWorld(index, *position)
            self._seen = [self._position(index) for index in range(len(HANDLES))]
        finally:
            self._placing = False

    def _add(self) -> None:
        self.removeObservers()
        node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetName(_("Handles of the beam"))
        node.SetAttribute(_ATTRIBUTE, "true")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        with _what_is_placed_next_unchanged():
            self._node = slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetSelectedColor(*scene.BEAM_COLOUR)
        # a click would move the slice views, and with one of them the beam: https://github.com/Slicer/Slicer/issues/8099
        display.RemoveObservers(display.JumpToPointEvent)
        for label in (_("probe"), _("depth"), _("width")):
            node.AddControlPoint(0.0, 0.0, 0.0, label)
        node.SetFixedNumberOfControlPoints(True)
        self.addObserver(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._moved)
        self.addObserver(node, slicer.vtkMRMLMarkupsNode.PointPositionUndefinedEvent, self._put_back)

    def _moved(self, *_: Any) -> None:
        """The handle that is not where it was last is the pulled one: the others have yet to follow."""
        if self._placing or self._frame is None or self._beam is None:
            return
        for index, name in enumerate(HANDLES):
            position = self._position(index)
            if _apart(position, self._seen[index]):
                self._seen[index] = position
                self._beam = pulled(self._beam, name, _in_frame(self._frame, position))
                self._told(self._beam)
                return

    def _put_back(self, *_: Any) -> None:
        if self._frame is not None and self._beam is not None:
            self._place(self._frame, self._beam)

    def _position(self, index: int) -> Any:
        return np.array(self._node.GetNthControlPointPositionWorld(index))

    def _is_there(self, index: int) -> bool:
        """False where something took its place away."""
        return bool(self._node.GetNthControlPointPositionStatus(index) == self._node.PositionDefined)

    def _remove_handles(self) -> None:
        self.removeObservers()
        for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
            if node.GetAttribute(_ATTRIBUTE):
                slicer.mrmlScene.RemoveNode(node)
        self._node = None


@contextmanager
def _what_is_placed_next_unchanged() -> Iterator[None]:
    """Markups makes each new node the one that the user's next clicks go to: a line that is being drawn would end."""
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    if selection is None:
        yield
        return
    kind, node = selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()
    try:
        yield
    finally:
        selection.SetReferenceActivePlaceNodeClassName(kind)
        selection.SetReferenceActivePlaceNodeID(node)


def _apart(position: Any, other: Any) -> bool:
    return bool(np.linalg.norm(np.subtract(position, other)) > _STILL_MM)


def _in_world(frame: Frame, place: tuple[float, float]) -> Any:
    row_mm, column_mm, _step = frame.spacing
    return frame.ras((frame.columns - 1) / 2 + place[1] / column_mm, place[0] / row_mm, (frame.count - 1) / 2)


def _in_frame(frame: Frame, position: Any) -> tuple[float, float]:
    """The place in the frame's plane nearest to a point in RAS."""
    row_mm, column_mm, _step = frame.spacing
    column, row = np.linalg.solve(frame.ijk_to_ras, (*position, 1.0))[:2]
    return float(row * row_mm), float((column - (frame.columns - 1) / 2) * column_mm)
