"""MONAI transforms: frames with rows in depth, depth maps, conditions, augmentation along the beam, synthesis."""

from monai_bmaps.transforms.anatomy import (
    RandAnatomyDeform,
    RandAnatomyDeformD,
    RandAnatomyDeformd,
    RandAnatomyDeformDict,
)
from monai_bmaps.transforms.attenuation import (
    DepthAttenuation,
    DepthAttenuationD,
    DepthAttenuationd,
    DepthAttenuationDict,
)
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
from monai_bmaps.transforms.noise import RandBMapNoise, RandBMapNoiseD, RandBMapNoised, RandBMapNoiseDict
from monai_bmaps.transforms.pipelines import DrawingFrames, TrainingFrames
from monai_bmaps.transforms.random_attenuation import (
    RandDepthAttenuation,
    RandDepthAttenuationD,
    RandDepthAttenuationd,
    RandDepthAttenuationDict,
)
from monai_bmaps.transforms.synthesis import (
    BMapSynthesisMix,
    BMapSynthesisMixD,
    BMapSynthesisMixd,
    BMapSynthesisMixDict,
    RandBMapSynthesis,
    RandBMapSynthesisD,
    RandBMapSynthesisd,
    RandBMapSynthesisDict,
    SynthesisMixPrepareBatch,
    SynthesisModel,
)

__all__ = [
    "BMapSynthesisMix",
    "BMapSynthesisMixD",
    "BMapSynthesisMixDict",
    "BMapSynthesisMixd",
    "BeamDepth",
    "BeamDepthD",
    "BeamDepthDict",
    "BeamDepthd",
    "DepthAttenuation",
    "DepthAttenuationD",
    "DepthAttenuationDict",
    "DepthAttenuationd",
    "DrawingFrames",
    "LabelToCondition",
    "LabelToConditionD",
    "LabelToConditionDict",
    "LabelToConditiond",
    "LoadFrame",
    "LoadFrameD",
    "LoadFrameDict",
    "LoadFramed",
    "RandAnatomyDeform",
    "RandAnatomyDeformD",
    "RandAnatomyDeformDict",
    "RandAnatomyDeformd",
    "RandBMapNoise",
    "RandBMapNoiseD",
    "RandBMapNoiseDict",
    "RandBMapNoised",
    "RandBMapSynthesis",
    "RandBMapSynthesisD",
    "RandBMapSynthesisDict",
    "RandBMapSynthesisd",
    "RandBeamDeform",
    "RandBeamDeformD",
    "RandBeamDeformDict",
    "RandBeamDeformd",
    "RandDepthAttenuation",
    "RandDepthAttenuationD",
    "RandDepthAttenuationDict",
    "RandDepthAttenuationd",
    "SynthesisMixPrepareBatch",
    "SynthesisModel",
    "TrainingFrames",
    "deformations",
]
