"""The beam in the slice views: its outline, and handles to pull at where its numbers are the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SlicerBMapDiffusionLib import planning, scene
from SlicerBMapDiffusionLib.beams import BeamSettings
from SlicerBMapDiffusionLib.bundles import Model
from SlicerBMapDiffusionLib.frames import Frame
from SlicerBMapDiffusionLib.handles import places, pulled
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
                if np.linalg.norm(np.subtract(position, self._position(index))) > _STILL_MM:
                    self._node.SetNthControlPointPositionWorld(index, *position)
        finally:
            self._placing = False

    def _add(self) -> None:
        self.removeObservers()
        node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetName(_("Handles of the beam"))
        node.SetAttribute(_ATTRIBUTE, "true")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self._node = slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetSelectedColor(*scene.BEAM_COLOUR)
        for label in (_("probe"), _("depth"), _("width")):
            node.AddControlPoint(0.0, 0.0, 0.0, label)
        node.SetFixedNumberOfControlPoints(True)
        self.addObserver(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._moved)

    def _moved(self, *_: Any) -> None:
        if self._placing or self._frame is None or self._beam is None:
            return
        for index, (name, place) in enumerate(places(self._beam).items()):
            now = _in_frame(self._frame, self._position(index))
            if np.hypot(now[0] - place[0], now[1] - place[1]) > _STILL_MM:
                self._beam = pulled(self._beam, name, now)
                self._told(self._beam)
                return

    def _position(self, index: int) -> Any:
        return self._node.GetNthControlPointPositionWorld(index)

    def _remove_handles(self) -> None:
        self.removeObservers()
        for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
            if node.GetAttribute(_ATTRIBUTE):
                slicer.mrmlScene.RemoveNode(node)
        self._node = None


def _in_world(frame: Frame, place: tuple[float, float]) -> Any:
    row_mm, column_mm, _step = frame.spacing
    return frame.ras((frame.columns - 1) / 2 + place[1] / column_mm, place[0] / row_mm, (frame.count - 1) / 2)


def _in_frame(frame: Frame, position: Any) -> tuple[float, float]:
    """The place in the frame's plane nearest to a point in RAS."""
    row_mm, column_mm, _step = frame.spacing
    column, row = np.linalg.solve(frame.ijk_to_ras, (*position, 1.0))[:2]
    return float(row * row_mm), float((column - (frame.columns - 1) / 2) * column_mm)
