"""B-maps: diffusion whose noise follows an ultrasound beam (Dominguez et al., MICCAI 2024)."""

from monai_bmaps.bmaps import BMap
from monai_bmaps.geometry import LinearBeam, SectorBeam, fit_beam
from monai_bmaps.inferers import BMapDiffusionInferer, BMapSynthesisInferer, Edit, SynthesisNetwork
from monai_bmaps.schedulers import BMapDDIMScheduler, BMapDDPMScheduler, BMapDPMSolverScheduler
from monai_bmaps.transforms import BeamDepth, BeamDepthd, LabelToCondition, LabelToConditiond

__version__ = "0.1.0"

__all__ = [
    "BMap",
    "BMapDDIMScheduler",
    "BMapDDPMScheduler",
    "BMapDPMSolverScheduler",
    "BMapDiffusionInferer",
    "BMapSynthesisInferer",
    "BeamDepth",
    "BeamDepthd",
    "Edit",
    "LabelToCondition",
    "LabelToConditiond",
    "LinearBeam",
    "SectorBeam",
    "SynthesisNetwork",
    "fit_beam",
]
