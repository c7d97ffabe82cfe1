"""Beams that were found on a loaded image, in numbers of the panel: by the fit, or in a file of SlicerUltrasound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SlicerBMapDiffusionLib import planning, scene
from SlicerBMapDiffusionLib.geometry.beams import BeamSettings, carried, from_slicer_ultrasound
from SlicerBMapDiffusionLib.geometry.frames import Frame
from SlicerBMapDiffusionLib.models.bundles import Model


def beam_from_file(parameters: Any, model: Model, path: str) -> BeamSettings:
    """The beam of a file that SlicerUltrasound wrote for the loaded image.

    Raises:
        ValueError: no such file, or no loaded image that it belongs to.
    """
    if parameters.volume is None:
        raise ValueError(_("Choose the loaded image that the file belongs to (2. Image plane)."))
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(_("{path} cannot be read: {reason}").format(path=path, reason=error)) from error
    source = scene.frame_from_slices(parameters.volume)
    return carried_settings(from_slicer_ultrasound(_mask_of(content)), source, planning.frame_of(parameters, model))


def carried_settings(beam: Mapping[str, Any], source: Frame, target: Frame) -> BeamSettings:
    """A beam of an image's own slice, in mm of the frame; where that is another plane its shape alone, at the top.

    Args:
        beam: in pixels of ``source``.
        source: the image's own slice.
        target: the frame that is to be drawn.
    """
    try:
        return BeamSettings.from_pixels(carried(beam, source, target), target.size)
    except ValueError:
        return BeamSettings.from_pixels(beam, source.size).lowered()


def _mask_of(content: Any) -> dict[str, Any]:
    """The mask's parameters: at the file's top or one level below."""
    candidates = [content, *content.values()] if isinstance(content, dict) else []
    for candidate in candidates:
        if isinstance(candidate, dict) and {"mask_type", "center_rows_px", "rectangle_top"} & set(candidate):
            return candidate
    raise ValueError(_("The file holds no mask of SlicerUltrasound; save it there with Anonymize Ultrasound."))
