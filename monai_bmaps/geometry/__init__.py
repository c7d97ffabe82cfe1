"""Beams: where the sound goes, which one a mask or a depth map shows, SlicerUltrasound's name for it."""

from monai_bmaps.geometry.beams import Beam, LinearBeam, SectorBeam, beam_from_dict
from monai_bmaps.geometry.checks import Shape, Spacing
from monai_bmaps.geometry.fitting import BeamKind, fit_beam
from monai_bmaps.geometry.reading import beam_from_depth
from monai_bmaps.geometry.slicer_ultrasound import beam_from_slicer_ultrasound, beam_to_slicer_ultrasound

__all__ = [
    "Beam",
    "BeamKind",
    "LinearBeam",
    "SectorBeam",
    "Shape",
    "Spacing",
    "beam_from_depth",
    "beam_from_dict",
    "beam_from_slicer_ultrasound",
    "beam_to_slicer_ultrasound",
    "fit_beam",
]
