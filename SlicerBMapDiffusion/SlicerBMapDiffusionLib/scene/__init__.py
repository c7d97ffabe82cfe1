"""The scene as the rest of the module sees it: frames, labels and images read from nodes, results written back.

Everything is in world coordinates: parent transforms of what is read are included, results have none.
"""

from __future__ import annotations

from SlicerBMapDiffusionLib.scene.frames import (
    frame_from_markup,
    frame_from_probe,
    frame_from_slices,
    frame_from_view,
    slice_through,
)
from SlicerBMapDiffusionLib.scene.input import image_in_frame, labels_in_frame, middle_of, segments_of, warnings_for
from SlicerBMapDiffusionLib.scene.output import add_result, is_synthetic, record_of
from SlicerBMapDiffusionLib.scene.views import BEAM_COLOUR, aim, hide_outline, show, show_outline

__all__ = [
    "BEAM_COLOUR",
    "add_result",
    "aim",
    "frame_from_markup",
    "frame_from_probe",
    "frame_from_slices",
    "frame_from_view",
    "hide_outline",
    "image_in_frame",
    "is_synthetic",
    "labels_in_frame",
    "middle_of",
    "record_of",
    "segments_of",
    "show",
    "show_outline",
    "slice_through",
    "warnings_for",
]
