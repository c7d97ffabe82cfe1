"""MONAI transforms: frames and label maps with rows in depth, depth maps, conditioning channels, deformations."""

from monai_bmaps.transforms.beam import BeamDepth, BeamDepthD, BeamDepthd, BeamDepthDict
from monai_bmaps.transforms.condition import (
    LabelToCondition,
    LabelToConditionD,
    LabelToConditiond,
    LabelToConditionDict,
)
from monai_bmaps.transforms.deform import (
    RandBeamDeform,
    RandBeamDeformD,
    RandBeamDeformd,
    RandBeamDeformDict,
    deformations,
)
from monai_bmaps.transforms.frame import LoadFrame, LoadFrameD, LoadFramed, LoadFrameDict
from monai_bmaps.transforms.pipelines import DrawingFrames, TrainingFrames

__all__ = [
    "BeamDepth",
    "BeamDepthD",
    "BeamDepthDict",
    "BeamDepthd",
    "DrawingFrames",
    "LabelToCondition",
    "LabelToConditionD",
    "LabelToConditionDict",
    "LabelToConditiond",
    "LoadFrame",
    "LoadFrameD",
    "LoadFrameDict",
    "LoadFramed",
    "RandBeamDeform",
    "RandBeamDeformD",
    "RandBeamDeformDict",
    "RandBeamDeformd",
    "TrainingFrames",
    "deformations",
]
