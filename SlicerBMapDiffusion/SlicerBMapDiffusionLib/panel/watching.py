"""Nodes that are looked at again when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin


class Watch(VTKObservationMixin):
    """Calls when one of some nodes changes, in whatever way matters for its kind.

    Args:
        changed: called with VTK's (node, event).
    """

    def __init__(self, changed: Callable[..., object]) -> None:
        super().__init__()
        self._changed = changed
        self._watched: list[tuple[Any, int]] = []

    def nodes(self, nodes: Iterable[Any]) -> None:
        """Watch these, and no others; None among them is passed over."""
        watched = [(node, event) for node in nodes if node is not None for event in _events(node)]
        if watched == self._watched:
            return
        for node, event in self._watched:
            self.removeObserver(node, event, self._changed)
        for node, event in watched:
            self.addObserver(node, event, self._changed)
        self._watched = watched


def _events(node: Any) -> list[int]:
    events = [vtk.vtkCommand.ModifiedEvent]
    if node.IsA("vtkMRMLTransformableNode"):  # of a transform, or of one above the node
        events.append(slicer.vtkMRMLTransformableNode.TransformModifiedEvent)
    if node.IsA("vtkMRMLSegmentationNode"):
        held = slicer.vtkSegmentation
        events += [held.SegmentAdded, held.SegmentRemoved, held.SegmentModified]
    if node.IsA("vtkMRMLMarkupsNode"):
        events += [slicer.vtkMRMLMarkupsNode.PointModifiedEvent, slicer.vtkMRMLMarkupsNode.PointAddedEvent]
    return events
